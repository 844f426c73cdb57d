"""The local platform as the command line starts it: the one file that knows its options."""

from __future__ import annotations

import _thread
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from atom_client.cli.platform import ask_no_proxy
from atom_client.errors import Misuse
from atom_client.text import name_of, one_line
from atom_workflows.errors import SettingsError
from atom_workflows.settings import from_environment
from atom_workflows.task_runner_urls import expected_instead, shown_url

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform
    from atom_emulator.platform.options import Emulators

TOKEN: Final = "WORKFLOW_TR_AUTH_JWT"  # noqa: S105 (the variable's name)
GRACE_S: Final = 1.0
"""How long the parts may take to end by themselves: what they hold in memory is to be forgotten anyway."""

NO_TOKEN: Final = "none"  # noqa: S105 (means: send no token)
CHECK_INTERVAL: Final = "WORKFLOW_CHECK_STATE_DURATION_SEC"

_OWN: Final = ("WORKFLOW_PROJECT", "WORKFLOW_DATABASE", "WORKFLOW_TOPIC_PREFIX")
"""Settings of a deployment, which a shell may hold, that would lead the functions away from the platform."""

_TRIAL_BYTES: Final = 65_536
"""Enough that a full disk shows."""

_LOGS: Final = frozenset({".log", ".jsonl"})

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformChoice:
    """What a user may choose of a local platform.

    Without `task_runner_url` it has a mock Task Runner, and without `bucket` no Cloud Storage of its own.
    """

    task_runner_url: str | None = None
    token: str | None = None
    mock_script: Path | None = None
    mock_duration_s: float | None = None
    log_dir: Path | None = None
    emulators: Emulators | None = None
    bucket: str | None = None

    @property
    def chosen(self) -> list[str]:
        """The options that are set, by their names on the command line."""
        options = {
            "--tr-auth-jwt": self.token,
            "--mock-script": self.mock_script,
            "--mock-duration": self.mock_duration_s,
            "--log-dir": self.log_dir,
            "--emulators": self.emulators,
        }
        return [name for name, value in options.items() if value is not None]


def local_platform(choice: PlatformChoice, environment: Mapping[str, str], *, watched: bool) -> LocalPlatform:
    """The platform, not yet started. If it is `watched`, a crash interrupts whatever the main thread does."""
    from atom_emulator.platform.google import with_running_emulators  # noqa: PLC0415 (not installed everywhere)
    from atom_emulator.platform.local import LocalPlatform  # noqa: PLC0415 (likewise)
    from atom_emulator.platform.options import PlatformOptions  # noqa: PLC0415 (likewise)

    check(choice)
    _check_settings(environment)
    ask_no_proxy()
    default = PlatformOptions()
    duration_s = choice.mock_duration_s
    where = with_running_emulators(PlatformOptions(emulators=choice.emulators or default.emulators), environment)
    options = replace(
        where,
        bucket=choice.bucket,
        task_runner_url=choice.task_runner_url,
        task_runner_script=choice.mock_script,
        task_runner_duration_s=default.task_runner_duration_s if duration_s is None else duration_s,
        environment=function_environment(choice, environment, project=where.project),
        log_dir=choice.log_dir,
        grace_s=GRACE_S,
        on_crash=(lambda _: _thread.interrupt_main()) if watched else None,
    )
    try:
        platform = LocalPlatform(options)
    except FileNotFoundError as error:
        raise Misuse("this working folder does not exist any more; go to another, or give --log-dir") from error
    require_log_dir(platform.log_dir)
    return platform


def emulators_used(platform: LocalPlatform) -> str | None:
    """A sentence about the emulators that were running before, None if the platform starts all of them."""
    options = platform.options
    given = {"Firestore": options.firestore_address, "Pub/Sub": options.pubsub_address}
    used = [f"the {name} emulator at {name_of(address)}" for name, address in given.items() if address]
    if not used:
        return None
    return f"Using {' and '.join(used)}, as the environment says, in project {name_of(options.project)}."


@contextmanager
def up(platform: LocalPlatform) -> Iterator[None]:
    """Keep the platform up while the block lasts; raises the crash of a part rather than what follows from it."""
    try:
        with platform:
            yield
    except BaseException as error:
        crash = platform.crash
        if crash is None or crash is error:
            raise
        raise crash from None


def check(choice: PlatformChoice) -> None:
    """Refuse, before anything is started, what cannot work."""
    if choice.task_runner_url is not None:
        check_url(choice.task_runner_url)
        if choice.mock_script is not None or choice.mock_duration_s is not None:
            raise Misuse(
                "--mock-script and --mock-duration are for the mock Task Runner, which --tr-url replaces; "
                "leave one of them out",
            )
    if choice.mock_script is not None:
        _check_script(choice.mock_script)


def _check_settings(environment: Mapping[str, str]) -> None:
    """Refuse settings of this shell that the functions would refuse at each event."""
    try:
        from_environment({**environment, "WORKFLOW_TASK_RUNNER_URL": "http://localhost"})
    except SettingsError as error:
        raise Misuse(f"{error}, or `unset {error.name}`") from error


def require_log_dir(log_dir: Path) -> None:
    """Make the folder for logs, its owner's alone; refuses one that takes no file, holds links, or has no room."""
    from atom_emulator.log_files import make_folder  # noqa: PLC0415 (not installed everywhere)

    try:
        make_folder(log_dir)
        links = [one.name for one in log_dir.iterdir() if one.suffix in _LOGS and one.is_symlink()]
        with tempfile.TemporaryFile(dir=log_dir) as trial:
            trial.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
        raise Misuse(
            f"logs cannot be written to {name_of(log_dir)}: {reason}; choose another folder with --log-dir"
        ) from error
    if links:
        raise Misuse(
            f"logs cannot be written to {name_of(log_dir)}: {name_of(links[0])} is a link; "
            "remove it, or choose another folder with --log-dir"
        )


def incomplete(log_dir: Path) -> str:
    """Return what to add to the logs' place if their disk has become full.

    Nothing else fails because of that.
    """
    try:
        is_full = shutil.disk_usage(log_dir).free < _TRIAL_BYTES
    except OSError:
        return ""
    return " (their disk is full, so they may be incomplete)" if is_full else ""


def function_environment(choice: PlatformChoice, environment: Mapping[str, str], *, project: str) -> dict[str, str]:
    """What the functions are told beyond what every local platform tells them."""
    told = {"WORKFLOW_PROJECT": project, "WORKFLOW_DATABASE": "", "WORKFLOW_TOPIC_PREFIX": ""}
    own = {name: told[name] for name in _OWN if name in environment}
    kept = {CHECK_INTERVAL: environment[CHECK_INTERVAL]} if environment.get(CHECK_INTERVAL) else {}
    return {**own, **kept, TOKEN: token_for(choice, environment)}


def token_for(choice: PlatformChoice, environment: Mapping[str, str]) -> str:
    """The token for the Task Runner; empty means an identity token of the user's own service account.

    The mock, and a Task Runner on this machine, ask for none.
    """
    if choice.token is not None:
        return choice.token
    if choice.task_runner_url is None:
        return NO_TOKEN
    here = urlsplit(choice.task_runner_url).hostname in _LOOPBACK
    return environment.get(TOKEN) or (NO_TOKEN if here else "")


def exports(environment: Mapping[str, str]) -> str:
    """What to paste into another terminal; a token is a secret and stays out."""
    shown = {name: value for name, value in environment.items() if name != TOKEN or value == NO_TOKEN}
    return "\n".join(f"export {name}={shlex.quote(one_line(value))}" for name, value in shown.items())


def check_url(url: str) -> None:
    """Refuse what cannot be a Task Runner's URL."""
    if expected := expected_instead(url):
        raise Misuse(f"--tr-url is {shown_url(url)!r}; it must be {expected}")


def _check_script(path: Path) -> None:
    from atom_emulator.task_runner.script_file import InvalidScript, load_script  # noqa: PLC0415 (only if there is one)

    try:
        load_script(path)
    except InvalidScript as error:
        raise Misuse(f"{name_of(path)}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Misuse(f"--mock-script {name_of(path)} cannot be read: {reason}") from error
