"""Start the local platform that the options describe, and keep it up."""

from __future__ import annotations

import _thread
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from atom_client.cli.platform import ask_no_proxy
from atom_client.cli.platform_choice import NO_TOKEN, TOKEN, PlatformChoice, check, function_environment
from atom_client.deployment import PROJECT_FOLDER
from atom_client.errors import INTERRUPTED, Misuse
from atom_client.text import name_of, one_line
from atom_workflows.errors import SettingsError
from atom_workflows.settings import from_environment

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform

GRACE_S: Final = 1.0
"""How long the platform's parts may take to stop by themselves.

Their data is already stored in files.
"""

_TRIAL_BYTES: Final = 65_536
"""The number of bytes written in order to detect a full disk."""

_LOGS: Final = frozenset({".log", ".jsonl"})


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


def exports(environment: Mapping[str, str]) -> str:
    """Return the lines to paste into another terminal.

    A token is secret, so it is left out.
    """
    shown = {name: value for name, value in environment.items() if name != TOKEN or value == NO_TOKEN}
    return "\n".join(f"export {name}={shlex.quote(one_line(value))}" for name, value in shown.items())
