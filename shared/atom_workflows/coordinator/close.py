"""Close a run: its end node was released, since every leaf of its graph is terminal, or it was stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.loading import StoredRun, StoredStep, load_run_and_end
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.records import RunRecord, StopKind
from atom_workflows.core.states import RunState, StepState, next_run_state
from atom_workflows.core.transitions import clip, end_run
from atom_workflows.documents import change_fields, run_path, step_path, steps_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Query, Update

MAX_ERRORS: Final = 100
"""Failed steps whose messages the run's own document repeats; the steps hold them all."""

MAX_ERROR_TEXT: Final = 500

_TRIES: Final = 5


def finish_run(outbox: Outbox, run_id: str) -> None:
    """Close the run if its end is released.

    May be repeated. If the run keeps changing it is left to the checker's audit, which finds the released end.
    """
    for _ in range(_TRIES):
        stored, end = load_run_and_end(outbox.services, run_id)
        # A user may have retried the run since the event was published.
        if stored is None or stored.run.state is not RunState.RUNNING or end is None or not end.step.is_released:
            return
        if close(outbox, stored, end):
            return
    log.warned("run.finish.contended", f"run {run_id} could not be closed yet", run_id=run_id)


def close(outbox: Outbox, stored: StoredRun, end: StoredStep | None) -> bool:
    """Make the run and its end terminal in one commit.

    Returns False if either has changed since it was read. Only a run that is to be stopped may be closed without an
    end, which someone must have deleted.
    """
    run, now = stored.run, outbox.services.clock.now()
    event, change = end_run(run, None if end is None else end.step, now=now)
    errors = _load_errors(outbox.services, run, end)
    closed = replace(run, state=next_run_state(run.state, event), finished_at=now, errors=errors)
    fields = {"state": closed.state.value, "finished_at": now, "errors": [dict(error) for error in errors]}
    writes = [Update(path=run_path(run.id), fields=fields, guard=stored.version)]
    if end is not None:
        # The end of a run that was stopped before it was reset is terminal since its last round.
        end_fields = {"due_at": None} if change is None else change_fields(change)
        writes.append(Update(path=step_path(run.id, END_ID), fields=end_fields, guard=end.version))
    try:
        outbox.services.store.commit(writes)
    except Conflict:
        return False
    outbox.report_run(closed)
    # Someone has to look at a failed run, so alerts on severity must see it.
    write = log.failed if closed.state is RunState.FAILED else log.decided
    write(f"run.{event}", f"run {run.id} is {closed.state}", run_id=run.id)
    return True


def _load_errors(services: Services, run: RunRecord, end: StoredStep | None) -> tuple[dict[str, Any], ...]:
    """Return the reason for a stop, then the messages of failed steps."""
    errors: list[dict[str, Any]] = []
    if run.stop is not None and run.stop.kind is not StopKind.CANCEL:
        errors.append({"step": None, "message": run.stop.reason})
    if run.stop is None and end is not None and not end.step.unsuccessful:
        return ()
    # In a run that was stopped, the stop itself cancels steps.
    states = [StepState.FAILED.value] if run.stop else [StepState.FAILED.value, StepState.CANCELLED.value]
    failed = services.store.query(
        Query(
            collection=steps_path(run.id),
            where=[("state", "in", states)],
            limit=MAX_ERRORS,
            fields=("state", "message"),
        )
    )
    errors += [
        {"step": document.id, "message": clip(document.fields.get("message", ""))[:MAX_ERROR_TEXT]}
        for document in failed
        if not is_internal(document.id)
    ]
    return tuple(errors)
