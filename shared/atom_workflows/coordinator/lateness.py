"""Report each run that misses its file's deadline, once, as `run.late`.

The first to notice that a run is late reports it: the audit of an open run, the commit that ends the run, or, if the
run does not exist, the checker when it checks the schedule. The event's id is derived from the run and its deadline, so
a report that is repeated after an instance has died can be recognized.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from atom_workflows import log
from atom_workflows.coordinator.loading import StoredRun, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.errors import Conflict
from atom_workflows.messages.internal import late_message
from atom_workflows.ports import Update

if TYPE_CHECKING:
    from atom_workflows.core.schedules import Watch

_NEVER_RAN = frozenset({RunState.INVALID, RunState.SKIPPED})
"""The states of runs that ended without having been started."""


def report_late(outbox: Outbox, run: RunRecord) -> None:
    """Report that a run is late."""
    if run.late_at is None:
        return
    scheduled_at = run.scheduled_at or run.created_at
    outbox.add(
        [
            late_message(
                run.id, path=run.source.get("path", ""), state=run.state.value, at=scheduled_at, late_at=run.late_at
            )
        ]
    )
    log.error("run.late", f"run {run.id} is late: it did not end by {run.late_at.isoformat()}", run_id=run.id)


def mark_late(outbox: Outbox, stored: StoredRun) -> StoredRun:
    """Mark an open run as late and report it.

    Returns the run as it is now.

    The report is published first, since it would not be repeated once the run is marked.
    """
    report_late(outbox, stored.run)
    outbox.flush()
    try:
        update = Update(
            path=run_path(stored.run.id), fields={"late": True, "late_at": stored.run.late_at}, guard=stored.version
        )
        outbox.services.store.commit([update])
    except Conflict:
        log.debug("run.late.again", f"run {stored.run.id} changed in the meantime", run_id=stored.run.id)
    return load_run(outbox.services, stored.run.id) or stored


def report_missing(services: Services, path: str, watch: Watch) -> None:
    """Report an overdue run that does not exist or did not start."""
    stored, outbox = load_run(services, watch.run_id), Outbox(services)
    if stored is None:
        outbox.add([late_message(watch.run_id, path=path, state=None, at=watch.at, late_at=watch.late_at)])
        log.error("run.late", f"run {watch.run_id} of {path} is late: it does not exist", run_id=watch.run_id)
        outbox.flush()
    elif stored.run.state in _NEVER_RAN and not stored.run.late:
        # An invalid file told no deadline, but the schedule did.
        mark_late(outbox, stored._replace(run=replace(stored.run, late_at=watch.late_at)))
