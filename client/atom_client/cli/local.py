"""The local platform as started by the command line: its options, `local up`, and commands to copy."""

from __future__ import annotations

import _thread
import getpass
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from atom_client.cli.mock_script import read_mock_script
from atom_client.cli.platform import ask_no_proxy
from atom_client.deployment import PROJECT_FOLDER
from atom_client.errors import INTERRUPTED, Failure, Misuse
from atom_client.planning.params import pairs_of
from atom_client.text import clean, listing, name_of, one_line
from atom_client.views.as_json import json_document
from atom_workflows.errors import SettingsError, TaskRunnerError
from atom_workflows.hosts import is_this_machine
from atom_workflows.settings import ENV_PREFIX, from_environment
from atom_workflows.task_runner_urls import expected_instead, shown_url

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform
    from atom_emulator.platform.options import Emulators, Runner

TOKEN: Final = "WORKFLOW_TR_AUTH_JWT"  # noqa: S105 (the variable's name)
GRACE_S: Final = 1.0
"""How long the platform's parts may take to shut down on their own. What they keep is already stored in files."""

LOCAL_RUNNER: Final = "ATOM_LOCAL_RUNNER"
"""The variable that says how a local platform's jobs are run: `mock`, `scripted`, `process`, `docker` or `other`."""

NO_TOKEN: Final = "none"  # noqa: S105 (means: send no token)
CHECK_INTERVAL: Final = "WORKFLOW_CHECK_STATE_DURATION_SEC"

_OWN: Final = ("WORKFLOW_PROJECT", "WORKFLOW_DATABASE", "WORKFLOW_TOPIC_PREFIX")
"""Deployment settings that may be set in the shell and would point the functions away from the local platform."""

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_TRIAL_BYTES: Final = 65_536
"""The number of bytes written in order to detect a full disk."""

_LOGS: Final = frozenset({".log", ".jsonl"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformChoice:
    """The options of a local platform.

    Without `task_runner_url` and `runner`, the platform has a mock Task Runner; without `bucket`, it has no Cloud
    Storage of its own. `env` holds strings of the form `NAME=VALUE`, whose values workflow files read as `env.NAME`.
    With `in_memory`, nothing of the platform's state is kept in this folder. With `cancel_others`, open runs that need
    another Task Runner are cancelled.
    """

    task_runner_url: str | None = None
    token: str | None = None
    runner: Runner | None = None
    slots: int | None = None
    mock_script: Path | None = None
    mock_duration_s: float | None = None
    log_dir: Path | None = None
    emulators: Emulators | None = None
    bucket: str | None = None
    env: tuple[str, ...] = ()
    in_memory: bool = False
    cancel_others: bool = False

    @property
    def chosen(self) -> list[str]:
        """The command-line names of the options that are set."""
        options = {
            "--tr-auth-jwt": self.token,
            "--runner": self.runner,
            "--slots": self.slots,
            "--mock-script": self.mock_script,
            "--mock-duration": self.mock_duration_s,
            "--log-dir": self.log_dir,
            "--emulators": self.emulators,
            "--env": self.env or None,
        }
        return [name for name, value in options.items() if value is not None]

    @property
    def has_mock(self) -> bool:
        """True if a mock Task Runner stands in for a real one."""
        return self.task_runner_url is None and not self.runs_jobs

    @property
    def runs_jobs(self) -> bool:
        """True if jobs actually run on this machine."""
        return self.runner not in {None, "mock"}


def local_platform(
    choice: PlatformChoice, environment: Mapping[str, str], *, watched: bool, only_run: str = ""
) -> LocalPlatform:
    """Return the platform without starting it.

    If `watched` is True, the main thread is interrupted when any part crashes. With `only_run`, a Task Runner that
    actually runs jobs refuses jobs of any other run.
    """
    from atom_emulator.platform.google import use_running_emulators  # noqa: PLC0415 (not installed everywhere)
    from atom_emulator.platform.local import LocalPlatform  # noqa: PLC0415 (not installed everywhere)
    from atom_emulator.platform.options import PlatformOptions  # noqa: PLC0415 (not installed everywhere)

    check(choice)
    try:  # With invalid settings, the functions would fail on every event.
        from_environment({**environment, "WORKFLOW_TASK_RUNNER_URL": "http://localhost"})
    except SettingsError as error:
        raise Misuse(f"{error}, or `unset {error.name}`") from error
    ask_no_proxy()
    default = PlatformOptions()
    history = None
    with suppress(FileNotFoundError):  # The working folder may no longer exist.
        history = None if choice.in_memory else Path.cwd()
    duration_s = choice.mock_duration_s
    where = use_running_emulators(PlatformOptions(emulators=choice.emulators or default.emulators), environment)
    options = replace(
        where,
        bucket=choice.bucket,
        task_runner_url=choice.task_runner_url,
        runner=choice.runner or default.runner,
        slots=choice.slots or default.slots,
        only_run=only_run,
        task_runner_script=choice.mock_script,
        task_runner_duration_s=default.task_runner_duration_s if duration_s is None else duration_s,
        environment=function_environment(choice, environment, project=where.project),
        log_dir=choice.log_dir,
        history=history,
        cancel_others=choice.cancel_others,
        grace_s=GRACE_S,
        # This interrupts whatever the main thread is waiting for.
        on_crash=(lambda _: _thread.interrupt_main()) if watched else None,
    )
    try:
        platform = LocalPlatform(options)
    except FileNotFoundError as error:
        raise Misuse("the working folder no longer exists; change to another folder, or give --log-dir") from error
    require_log_dir(platform.log_dir)
    return platform


def emulators_used(platform: LocalPlatform) -> str | None:
    """Describe the emulators that were already running.

    Returns None if the platform starts all of them.
    """
    options = platform.options
    given = {"Firestore": options.firestore_address, "Pub/Sub": options.pubsub_address}
    used = [f"the {name} emulator at {name_of(address)}" for name, address in given.items() if address]
    if not used:
        return None
    return f"Using {' and '.join(used)}, as set in the environment, in project {name_of(options.project)}."


@contextmanager
def keep_up(platform: LocalPlatform, *, announce: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep the platform up for the duration of the block.

    Calls `announce` right before starting. Ctrl-C during startup is reported and ends the command. If a part crashes,
    its error is raised instead of any error that results from the crash.
    """
    try:
        with ExitStack() as stack:
            try:
                announce()
                stack.enter_context(platform)
            except KeyboardInterrupt:
                if platform.crash is not None:  # The crash of a part also interrupts the main thread.
                    raise
                click.echo("Interrupted; nothing was started.", err=True)
                raise click.exceptions.Exit(INTERRUPTED) from None
            yield
    except BaseException as error:
        crash = platform.crash
        if crash is None or crash is error:
            raise
        raise crash from None


def check(choice: PlatformChoice) -> None:
    """Reject options that cannot work, before anything is started."""
    if choice.task_runner_url is not None:
        check_url(choice.task_runner_url)
        for_mock = [name for name in choice.chosen if name.startswith("--mock")]
        if for_mock:
            named = f"{' and '.join(for_mock)} {'is' if len(for_mock) == 1 else 'are'}"
            raise Misuse(f"{named} for the mock Task Runner, which --tr-url replaces; leave out one or the other")
    _check_runner(choice)
    if choice.slots is not None and not choice.runs_jobs:
        raise Misuse("--slots applies only to jobs that actually run; add --runner process or --runner docker")
    if choice.mock_script is not None:
        read_mock_script(choice.mock_script)


def _check_runner(choice: PlatformChoice) -> None:
    if choice.runner is None:
        return
    if choice.task_runner_url is not None:
        raise Misuse("--runner and --tr-url both choose the Task Runner; leave out one or the other")
    if choice.token is not None:
        raise Misuse("--tr-auth-jwt is for the Task Runner at --tr-url; the one started by --runner has its own token")
    if choice.runs_jobs and (for_mock := [name for name in choice.chosen if name.startswith("--mock")]):
        raise Misuse(f"{' and '.join(for_mock)} cannot be used with --runner {choice.runner}, which actually runs jobs")
    if choice.runner == "docker":
        from atom_emulator.laptop_runner.container_tool import NoContainerTool, find_tool  # noqa: PLC0415 (not installed everywhere)

        try:
            find_tool()
        except NoContainerTool as error:
            raise Misuse(f"--runner docker needs docker or podman: {error}") from error
        if ":" in str(Path.cwd()):  # It separates the parts of a mount.
            raise Misuse("--runner docker cannot be used in a folder whose path contains a colon; use another folder")


def runner_note(choice: PlatformChoice) -> str:
    """Return a sentence about how jobs are run."""
    if choice.task_runner_url is not None:
        return ""
    if choice.runner == "docker":
        return "Task images run as containers on this machine and can use its network and processors."
    if choice.runs_jobs:
        # Whatever FIRESTORE_EMULATOR_HOST names, the embedded Firestore is started. It answers only this user's
        # processes, so other users cannot change a run.
        is_guarded = sys.platform == "linux" and choice.emulators != "google"
        try:
            user = name_of(getpass.getuser())
        except (KeyError, OSError):
            user = str(os.getuid())
        return (
            f"Tasks with `engine: process` run as programs on this machine, as user {user}, and can do whatever "
            f"that user can.{'' if is_guarded else _NOT_GUARDED}"
        )
    return "No jobs actually run: a mock Task Runner simulates them. `--runner process` runs programs on this machine."


_NOT_GUARDED: Final = " Other users of this machine could also use the local platform to run programs."


def require_log_dir(log_dir: Path) -> None:
    """Create the log folder, readable only by its owner.

    Refuses a folder that cannot be written to, has no space left or contains links.
    """
    from atom_emulator.log_files import make_folder  # noqa: PLC0415 (not installed everywhere)

    try:
        make_folder(log_dir)
        links = [one.name for one in log_dir.iterdir() if one.suffix in _LOGS and one.is_symlink()]
        with tempfile.TemporaryFile(dir=log_dir) as trial:
            trial.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
        # The history would be in the same folder.
        is_own = PROJECT_FOLDER.name in log_dir.parts
        way_out = "work in another folder, or give --in-memory and --log-dir" if is_own else _CHOOSE_ANOTHER
        raise Misuse(f"logs cannot be written to {name_of(log_dir)}: {reason}; {way_out}") from error
    if links:
        raise Misuse(
            f"logs cannot be written to {name_of(log_dir)}: {name_of(links[0])} is a link; "
            f"remove it, or {_CHOOSE_ANOTHER}"
        )


_CHOOSE_ANOTHER: Final = "choose another folder with --log-dir"


def disk_full_note(log_dir: Path) -> str:
    """Return a note if the disk that holds the logs is full.

    Nothing else reports a full disk.
    """
    try:
        is_full = shutil.disk_usage(log_dir).free < _TRIAL_BYTES
    except OSError:
        return ""
    return " (their disk is full, so they may be incomplete)" if is_full else ""


def function_environment(choice: PlatformChoice, environment: Mapping[str, str], *, project: str) -> dict[str, str]:
    """Return the functions' variables apart from those that every platform sets."""
    local = {"WORKFLOW_PROJECT": project, "WORKFLOW_DATABASE": "", "WORKFLOW_TOPIC_PREFIX": ""}
    own = {name: local[name] for name in _OWN if name in environment}
    kept = {CHECK_INTERVAL: environment[CHECK_INTERVAL]} if environment.get(CHECK_INTERVAL) else {}
    env = {f"{ENV_PREFIX}{name}": value for name, value in env_variables(choice, environment).items()}
    # The platform makes a token for a Task Runner of its own.
    token = {} if choice.runs_jobs else {TOKEN: token_for(choice, environment)}
    return {**own, **kept, **env, **token}


def env_variables(choice: PlatformChoice, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values available to workflow files as `env`.

    The options take precedence over the shell's variables.
    """
    return {**env_of(environment), **read_env(choice.env)}


def env_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values of `env` that these environment variables set."""
    return {name.removeprefix(ENV_PREFIX): value for name, value in environment.items() if name.startswith(ENV_PREFIX)}


def read_env(written: Sequence[str]) -> dict[str, str]:
    """Read the `--env NAME=VALUE` options."""
    found = pairs_of("--env", written)
    for name, value in found.items():
        if not _ENV_NAME.fullmatch(name) or not value.isprintable():
            raise Misuse(
                f"--env is {f'{name}={value}'!r:.100}; a name may contain only letters, "
                "digits and _, and a value must be a single line"
            )
    return found


def token_for(choice: PlatformChoice, environment: Mapping[str, str]) -> str:
    """Return the token for the Task Runner.

    An empty string means an ID token for the user's own service account. Neither the mock nor a Task Runner on this
    machine needs a token.
    """
    if choice.token is not None:
        return choice.token
    if choice.task_runner_url is None:
        return NO_TOKEN
    here = is_this_machine(urlsplit(choice.task_runner_url).hostname or "")
    return environment.get(TOKEN) or (NO_TOKEN if here else "")


def exports(environment: Mapping[str, str]) -> str:
    """Return the lines to paste into another terminal.

    A token is secret, so it is left out.
    """
    shown = {name: value for name, value in environment.items() if name != TOKEN or value == NO_TOKEN}
    return "\n".join(f"export {name}={shlex.quote(one_line(value))}" for name, value in shown.items())


def check_url(url: str) -> None:
    """Reject a string that cannot be a Task Runner's URL."""
    if expected := expected_instead(url):
        raise Misuse(f"--tr-url is {shown_url(url)!r}; it must be {expected}")


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


def local_up(choice: PlatformChoice, *, as_json: bool) -> None:
    """Run the platform until Ctrl-C.

    Raises `PlatformError` if it cannot start or a part crashes.
    """
    platform = local_platform(choice, os.environ, watched=False)
    if problem := credential_problem(choice, os.environ):
        click.echo(f"Warning: {problem}. Without a token, steps wait until they time out.", err=True)
    if choice.runs_jobs:
        others = "Anyone who can publish messages to the platform or upload files to its bucket can run programs here."
        click.echo(f"{runner_note(choice)} {others}", err=True)
    with suppress(KeyboardInterrupt), keep_up(platform):
        if platform.cancelled:
            click.echo(f"Cancelled runs that need another Task Runner: {_name_some(platform.cancelled)}.", err=True)
        if as_json:
            described = {
                "environment": platform.shown_environment,
                "addresses": {str(name): address for name, address in platform.addresses.items()},
                "commands": {recipe.name: recipe.command for recipe in recipes(platform)},
                "log_dir": str(platform.log_dir),
                "resumed": platform.resumed,
                **({"jobs_dir": str(platform.jobs_dir)} if choice.runs_jobs else {}),
            }
            click.echo(json_document(described))
        else:
            click.echo("\n".join(map(clean, _lines(platform, choice))))
        platform.wait()


def _name_some(runs: Sequence[str]) -> str:
    more = len(runs) - _MOST_NAMED
    return f"{listing(runs[:_MOST_NAMED])}{f' and {more:,} more' if more > 0 else ''}"


def _lines(platform: LocalPlatform, choice: PlatformChoice) -> Iterator[str]:
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
    yield f"# {'logs':12} {name_of(platform.log_dir)}"
    if choice.runs_jobs:
        yield f"# {'jobs':12} {name_of(platform.jobs_dir)}"
    if platform.options.keeps_history:
        yield f"# {'history':12} {name_of(Path.cwd() / PROJECT_FOLDER)}"
    yield "# Ctrl-C stops the platform."


def credential_problem(choice: PlatformChoice, environment: Mapping[str, str]) -> str:
    """Explain why there is no ID token, and what to do.

    Returns an empty string if there is a token or none is needed. Without a token, a step would wait until its timeout,
    as it does in a deployment while the metadata server is unavailable.
    """
    url = choice.task_runner_url
    if url is None or token_for(choice, environment):
        return ""
    from atom_workflows.adapters.task_runner.tokens import tokens_for  # noqa: PLC0415 (Google's clients take a second to import)

    settings = from_environment({**environment, TOKEN: "", "WORKFLOW_TASK_RUNNER_URL": url})
    try:
        tokens_for(settings).token_for(url)
    except TaskRunnerError as error:
        return f"{error}; if the Task Runner needs no token, give --tr-auth-jwt=none"
    return ""


_FILE = "FILE.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A shell command in which `FILE.yaml` is a placeholder for the user's file."""

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
