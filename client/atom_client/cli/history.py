"""This folder's history, for commands used while no platform is up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NoReturn

import click

from atom_client.deployment import PROJECT_FOLDER, names_no_place
from atom_client.errors import Failure
from atom_client.text import listing
from atom_workflows.coordinator.limits import WakeLimit
from atom_workflows.coordinator.services import Services
from atom_workflows.settings import Settings

UNCHANGED: Final = f"its history, {PROJECT_FOLDER}, can be read but not changed"
NO_MESSAGES: Final = "there are no dead letters to look at: they are messages, which only a platform has"
NOTHING_TO_CHECK: Final = "there is nothing to check"


class NoPlatform:
    """Stands in for a missing platform's service; any use raises `Failure`."""

    def __getattr__(self, name: str) -> Any:
        """Raise `Failure` for any attribute."""
        refuse()


def refuse(why: str = UNCHANGED) -> NoReturn:
    """Say that a platform is needed, why, and how to start one."""
    raise Failure(
        f"no platform is up in this folder, so {why}. "
        "`atom-workflows local up` in another terminal starts one, which resumes the open runs; then repeat the "
        "command. For a deployment on Google Cloud, give --project."
    )


def require_platform(services: Services, why: str = UNCHANGED) -> None:
    """Refuse services that can only read a history."""
    if isinstance(services.bus, NoPlatform):
        refuse(why)


def has_history() -> bool:
    """Return True if this folder has a history to use.

    Returns False if the options or the environment name another place. Raises `Failure` if the folder cannot be read.
    """
    if not names_no_place():
        return False
    try:
        (PROJECT_FOLDER / "history.db").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise Failure(
            f"the history of this folder, {PROJECT_FOLDER}, cannot be read: {(error.strerror or str(error)).lower()}. "
            "Give yourself permission to read it, or work in another folder; for a deployment on Google Cloud, give "
            "--project."
        ) from error
    return True


def history_services() -> Services:
    """Return services that read this folder's history and refuse everything else."""
    from atom_emulator.firestore.history_store import HistoryStore  # noqa: PLC0415 (not installed everywhere)
    from atom_emulator.platform.options import PlatformOptions  # noqa: PLC0415 (see above)
    from atom_emulator.platform.project_folder import ProjectFolder  # noqa: PLC0415 (see above)
    from atom_workflows.adapters.system import SystemClock  # noqa: PLC0415 (only needed here)

    file = ProjectFolder.of(Path.cwd()).history
    database = f"projects/{PlatformOptions().project}/databases/(default)"
    absent: Any = NoPlatform()
    settings = Settings()
    services = Services(
        store=HistoryStore(file, database=database, refuse=refuse),
        bus=absent,
        task_runner=absent,
        source=absent,
        clock=SystemClock(),
        workers=absent,
        settings=settings,
        wake_limit=WakeLimit(settings.check_interval),
    )
    if not click.get_current_context().resilient_parsing:  # The shell is completing a command.
        under_way = ProjectFolder.of(Path.cwd()).runs_under_way()
        also = (
            f"Each `run` has its own platform (under way: {listing(under_way)})" if under_way else "No platform is up"
        )
        click.echo(f"{also}; this is the history in {PROJECT_FOLDER}.", err=True)
    return services
