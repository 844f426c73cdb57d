"""End runs that no platform is to continue, while no platform is up.

A platform that is killed leaves its run open, and `local up` goes on with it. One that was started for a single run,
and is stopped in order, ends it: whoever presses Ctrl-C does not expect the run's jobs to begin days later. `local up
--cancel-others` ends the runs that need another Task Runner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.history import History, KeptDatabase
from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.firestore.writes import Record
from atom_emulator.sqlite_file import SqliteFileError
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, steps_path
from atom_workflows.errors import AtomWorkflowsError
from atom_workflows.ports import Message, Query, Update

REASON: Final = "its platform was stopped"

_log = logging.getLogger(__name__)


def end_abandoned_run(file: Path, database: str, run_id: str, *, jobs_ended: bool) -> None:
    """Cancel a run in a history, unless it has ended. No part of its platform may be running any more.

    `jobs_ended` says that the run's jobs have ended, as they do with a Task Runner of the platform's own.
    """
    with _logged(run_id), closing(History(file)) as history:
        kept = history.database(database)
        for run in kept.get([run_path(run_id)]):
            if not RunState(run.fields["state"]).is_terminal:
                store = MemoryStore(database=Database(_now, _OneRun(kept, run_path(run_id))))
                _cancel(store, run_id, REASON, jobs_ended=jobs_ended)


def cancel_open_runs(file: Path, database: str, run_ids: Sequence[str], reason: str, *, jobs_ended: bool) -> None:
    """Cancel open runs in a history, as `end_abandoned_run` does. Their places in groups go to other runs."""
    with closing(History(file)) as history:
        store = MemoryStore(database=Database(_now, history.database(database)))
        for run_id in run_ids:
            with _logged(run_id):
                _cancel(store, run_id, reason, jobs_ended=jobs_ended)


@contextmanager
def _logged(run_id: str) -> Iterator[None]:
    """Log an error that leaves a run open."""
    try:
        yield
    except (SqliteFileError, Unavailable, AtomWorkflowsError, LookupError, ValueError) as error:
        _log.warning("run %s stays open in the history, where `local up` goes on with it: %s", run_id, error)


def _cancel(store: MemoryStore, run_id: str, reason: str, *, jobs_ended: bool) -> None:
    # Only a run that is interrupted needs the coordinator in this process.
    from atom_workflows.coordinator.close import Closing, close_run, request_stop  # noqa: PLC0415 - see above
    from atom_workflows.coordinator.limits import WakeLimit  # noqa: PLC0415 - see above
    from atom_workflows.coordinator.outbox import Outbox  # noqa: PLC0415 - see above
    from atom_workflows.coordinator.services import Services  # noqa: PLC0415 - see above
    from atom_workflows.core.records import Stop, StopKind  # noqa: PLC0415 - see above
    from atom_workflows.core.stopping import RUN_WAIT  # noqa: PLC0415 - see above
    from atom_workflows.settings import Settings  # noqa: PLC0415 - see above

    settings, nothing, clock = Settings(), _Nothing(), _SlowClock()
    absent: Any = nothing
    services = Services(
        store=store,
        bus=nothing,
        task_runner=absent,
        source=absent,
        clock=clock,
        workers=absent,
        settings=settings,
        wake_limit=WakeLimit(settings.check_interval),
    )
    outbox = Outbox(services)
    # Nothing is left that could stop a job, so the time for which the coordinator waits for jobs is over already.
    clock.behind = 2 * RUN_WAIT
    stop = Stop(kind=StopKind.CANCEL, reason=reason, requested_at=_now(), now=True)
    closing = request_stop(outbox, run_id, stop)
    clock.behind = timedelta(0)
    if closing is Closing.WAITS:
        close_run(outbox, run_id)
    if jobs_ended:
        _forget_unstopped_jobs(store, run_id)


def _forget_unstopped_jobs(store: MemoryStore, run_id: str) -> None:
    """Do not warn of jobs that no one had to stop, since they ended with their Task Runner."""
    for step in store.query(Query(collection=steps_path(run_id))):
        if step.fields.get("unstopped"):
            store.commit([Update(path=step.path, fields={"unstopped": []})])


class _SlowClock:
    """A clock that may be behind."""

    def __init__(self) -> None:
        self.behind = timedelta(0)

    def now(self) -> datetime:
        return _now() - self.behind

    def sleep(self, seconds: float) -> None:
        """Return at once, since nothing changes anymore."""


class _Nothing:
    """A bus without subscribers, since the platform's own is gone."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Drop the messages."""


class _OneRun:
    """The documents of one run in a history; see `history.Kept`."""

    def __init__(self, kept: KeptDatabase, path: str) -> None:
        self._kept = kept
        self._path = path

    def records(self) -> Iterator[Record]:
        yield from self._kept.get([self._path])
        yield from self._kept.below(self._path)

    def last_commit(self) -> int:
        return self._kept.last_commit()

    def save(self, staged: Mapping[str, Record | None], time: int) -> None:
        self._kept.save(staged, time)


def _now() -> datetime:
    return datetime.now(UTC)
