"""Closing a run: its end was released, since every leaf of its graph is terminal, or it was stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.loading import Held, HeldRun, load_run_and_end
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.records import RunRecord, StopKind
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.core.transitions import StepChange, clip, end_without_job, stop_step
from atom_workflows.documents import change_fields, run_path, step_path, steps_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Query, Update

MAX_ERRORS: Final = 100
"""Failed steps whose messages the run's own document repeats; the steps hold them all."""

MAX_ERROR_TEXT: Final = 500

_TRIES: Final = 5


def finish_run(outbox: Outbox, run_id: str) -> None:
    """Make the run terminal, once: its state follows from a stop that was asked for, else from its steps."""
    for _ in range(_TRIES):
        held, end = load_run_and_end(outbox.services, run_id)
        # A user may have retried the run since we were told that it has ended.
        if held is None or held.run.state is not RunState.RUNNING or end is None or not end.step.is_released:
            return
        if close(outbox, held, end):
            return
    # Left to the checker's audit, which finds the released end.
    log.warned("run.finish.contended", f"run {run_id} could not be closed yet", run_id=run_id)


def close(outbox: Outbox, held_run: HeldRun, end: Held | None) -> bool:
    """Make the run and its end terminal in one commit; False if either changed since they were read.

    Only a run that is to be stopped may be closed without an end: somebody has deleted that.
    """
    run, now = held_run.run, outbox.services.clock.now()
    change, event = _verdict(run, end, outbox.services)
    errors = _errors(outbox.services, run, end)
    closed = replace(run, state=next_run_state(run.state, event), finished_at=now, errors=errors)
    fields = {"state": closed.state.value, "finished_at": now, "errors": [dict(error) for error in errors]}
    writes = [Update(path=run_path(run.id), fields=fields, guard=held_run.version)]
    if end is not None:
        # The end of a run that was stopped before it was reset is terminal since its last round.
        end_fields = {"due_at": None} if change is None else change_fields(change)
        writes.append(Update(path=step_path(run.id, END_ID), fields=end_fields, guard=end.version))
    try:
        outbox.services.store.commit(writes)
    except Conflict:
        return False
    outbox.run_changed(closed)
    # A run that failed is for a person to look at, and so for alerts on severity.
    write = log.failed if closed.state is RunState.FAILED else log.decided
    write(f"run.{event}", f"run {run.id} is {closed.state}", run_id=run.id)
    return True


def _verdict(run: RunRecord, end: Held | None, services: Services) -> tuple[StepChange | None, RunEvent]:
    now = services.clock.now()
    if run.stop is not None:
        event = RunEvent.CANCEL if run.stop.kind is StopKind.CANCEL else RunEvent.FAIL
        if end is None or end.step.state.is_terminal:
            return None, event
        return stop_step(end.step, run.stop, now=now), event
    if end is None:
        return None, RunEvent.FAIL
    return end_without_job(end.step, now=now), RunEvent.FAIL if end.step.unsuccessful else RunEvent.SUCCEED


def _errors(services: Services, run: RunRecord, end: Held | None) -> tuple[dict[str, Any], ...]:
    """What went wrong: why the run was stopped, then every failed step's own message."""
    errors: list[dict[str, Any]] = []
    if run.stop is not None and run.stop.kind is not StopKind.CANCEL:
        errors.append({"step": None, "message": run.stop.reason})
    if run.stop is None and end is not None and not end.step.unsuccessful:
        return ()
    ended_badly = [StepState.FAILED.value] if run.stop else [StepState.FAILED.value, StepState.CANCELLED.value]
    failed = services.store.query(
        Query(
            collection=steps_path(run.id),
            where=[("state", "in", ended_badly)],
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
