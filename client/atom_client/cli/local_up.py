"""`local up` and `local env`: run a platform and print its variables."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from atom_client.cli.local import emulators_used, exports, keep_up, local_platform
from atom_client.cli.platform_choice import PlatformChoice, credential_problem, runner_note
from atom_client.deployment import PROJECT_FOLDER
from atom_client.errors import Failure
from atom_client.text import clean, listing, name_of
from atom_client.views.as_json import json_document

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform

_HOW_TO_START = """\
# In another terminal, paste the lines above, or change to this folder, where the platform is found without them; then
#   atom-workflows run FILE
#   atom-workflows runs list"""

_HOW_TO_START_IN_MEMORY = """\
# In another terminal, paste the lines above; then
#   atom-workflows run FILE
#   atom-workflows runs list"""

_MOST_NAMED: Final = 5


def print_variables(*, as_json: bool) -> None:
    """Print the variables of the platform that is up in this folder."""
    from atom_emulator.platform.project_folder import ProjectFolder  # noqa: PLC0415 (not installed everywhere)

    found = ProjectFolder.of(Path.cwd()).running_platform()
    if found is None:
        raise Failure(
            "no platform is up in this folder. `atom-workflows local up` starts one; a platform that was started with "
            "--in-memory or with `run` prints its variables itself."
        )
    click.echo(json_document({"environment": found}) if as_json else exports(found))


def local_up(choice: PlatformChoice, *, as_json: bool, has_console: bool = True) -> None:
    """Run the platform and its console until Ctrl-C.

    Raises `PlatformError` if it cannot start or a part crashes.
    """
    platform = local_platform(choice, os.environ, watched=False)
    if problem := credential_problem(choice, os.environ):
        click.echo(f"Warning: {problem}. Without a token, steps wait until they time out.", err=True)
    if choice.runs_jobs:
        others = "Anyone who can publish messages to the platform or upload files to its bucket can run programs here."
        click.echo(f"{runner_note(choice)} {others}", err=True)
    with suppress(KeyboardInterrupt), keep_up(platform), _console(platform, is_wanted=has_console) as address:
        if platform.cancelled:
            click.echo(f"Cancelled runs that need another Task Runner: {_name_some(platform.cancelled)}.", err=True)
        if platform.missing_script:
            click.echo(f"Warning: {_script_note(platform.missing_script)}", err=True)
        if as_json:
            described = {
                "environment": platform.shown_environment,
                "addresses": {str(name): address for name, address in platform.addresses.items()},
                **({"console": address} if address else {}),
                "commands": {recipe.name: recipe.command for recipe in recipes(platform)},
                "log_dir": str(platform.log_dir),
                "resumed": platform.resumed,
                "cancelled": platform.cancelled,
                **({"jobs_dir": str(platform.jobs_dir)} if choice.runs_jobs else {}),
            }
            click.echo(json_document(described))
        else:
            click.echo("\n".join(map(clean, _lines(platform, choice, address))))
        platform.wait()


@contextmanager
def _console(platform: LocalPlatform, *, is_wanted: bool) -> Iterator[str]:
    """Yield the console's address, or "" if the console is not wanted."""
    if not is_wanted:
        yield ""
        return
    from atom_client.cli.console import console_of_platform  # noqa: PLC0415 (imported only when needed)

    with console_of_platform(platform.environment) as server:
        yield server.address


def _name_some(runs: Sequence[str]) -> str:
    more = len(runs) - _MOST_NAMED
    return f"{listing(runs[:_MOST_NAMED])}{f' and {more:,} more' if more > 0 else ''}"


def _script_note(script: str) -> str:
    again = clean(f"--mock-script {shlex.quote(script)}")
    return (
        f"some open runs were started with {again}, which was not given this time. Their jobs keep using it, but steps "
        f"that have not begun will run without a script. To use it, press Ctrl-C and repeat the command with {again}."
    )


def _lines(platform: LocalPlatform, choice: PlatformChoice, console: str) -> Iterator[str]:
    """Yield the lines to paste, with comments that are harmless when pasted."""
    yield exports(platform.environment)
    yield _HOW_TO_START if platform.options.keeps_history else _HOW_TO_START_IN_MEMORY
    for recipe in recipes(platform):
        yield f"# {recipe.purpose}:\n#   {recipe.command}"
    if platform.storage_missing:
        yield f"# There is no Cloud Storage to upload to: {platform.storage_missing}."
    if used := emulators_used(platform):
        yield f"# {used}"
    if note := runner_note(choice):
        yield f"# {note}"
    if platform.resumed:
        yield f"# Resuming the runs that were open: {_name_some(platform.resumed)}."
    for name, address in platform.addresses.items():
        yield f"# {name:12} {address}"
    if console:
        yield f"# {'console':12} {console}"
    yield f"# {'logs':12} {name_of(platform.log_dir)}"
    if choice.runs_jobs:
        yield f"# {'jobs':12} {name_of(platform.jobs_dir)}"
    if platform.options.keeps_history:
        yield f"# {'history':12} {name_of(Path.cwd() / PROJECT_FOLDER)}"
    yield "# Ctrl-C stops the platform."


_FILE = "FILE.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A shell command with the placeholder `FILE.yaml` for the user's file."""

    name: str
    purpose: str
    command: str


def recipes(platform: LocalPlatform) -> list[Recipe]:
    """Return the commands that start a run or delete a file."""
    storage = platform.storage
    bucket = "BUCKET" if storage is None else storage.bucket
    message = shlex.quote(json.dumps({"workflow_path": f"gs://{bucket}/workflows/{_FILE}"}))
    gcloud = _gcloud_at("PUBSUB", f"{platform.pubsub_url}/")
    publish = Recipe(
        name="publish",
        purpose="Start a run from a file in a bucket",
        command=f"{gcloud} pubsub topics publish start --project={platform.options.project} --message={message}",
    )
    if storage is None:
        return [publish]
    target = f"gs://{bucket}/workflows/"
    to_storage = f"{_gcloud_at('STORAGE', f'{storage.url}/storage/v1/')} storage"
    upload = f"{to_storage} cp {_FILE} {target}"
    # gsutil supports only HTTPS, and no authority has signed the platform's certificate, so the certificate is not
    # validated. gsutil's own credentials are not used.
    options = (
        f"Credentials:gs_json_host={storage.address.rsplit(':', 1)[0]}",
        f"Credentials:gs_json_port={storage.https_port}",
        "Boto:https_validate_certificates=False",
    )
    flags = " ".join(f"-o {option}" for option in options)
    quiet = "BOTO_CONFIG=/dev/null CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL=false"
    gsutil = f"{quiet} gsutil {flags} cp {_FILE} {target}"
    return [
        Recipe(
            name="upload",
            purpose="Upload a file, which starts a run or registers its schedules",
            command=f"atom-workflows upload {_FILE} {target}",
        ),
        Recipe(name="gsutil", purpose="Start a run by uploading a file", command=gsutil),
        Recipe(name="gcloud-storage", purpose="Start a run by uploading a file with gcloud", command=upload),
        Recipe(
            name="delete",
            purpose="Delete an uploaded file, which ends its schedules",
            command=f"{to_storage} rm {target}{_FILE}",
        ),
        publish,
    ]


def _gcloud_at(api: str, url: str) -> str:
    return f"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}={url} gcloud"
