"""Closing a run: its end was released, since every leaf of its graph is terminal, or it was stopped.

From outside it is stopped because a user cancelled it, or it is out of time. A large run takes more than one invocation
to close: each ends some of its steps, and the next goes on with the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.loading import Held, HeldRun, load_run, load_run_and_end, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import OPEN_STEP_STATES, RunEvent, RunState, StepState, next_run_state
from atom_workflows.core.transitions import StepChange, clip, passed, stopped
from atom_workflows.documents import change_fields, run_path, step_path, steps_path, stop_fields
from atom_workflows.errors import Conflict, RunNotFound, RunStateError
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
        return stopped(end.step, run.stop, now=now), event
    if end is None:
        return None, RunEvent.FAIL
    return passed(end.step, now=now), RunEvent.FAIL if end.step.unsuccessful else RunEvent.SUCCEED


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


PAGE: Final = 200
_STOP_TRIES: Final = 20


def request_stop(outbox: Outbox, run_id: str, stop: Stop, budget: Budget | None = None) -> bool:
    """Ask for the run to be closed, then close it. If this dies in between, the checker's audit goes on.

    False if the budget was spent before it was closed. A second request finds the first one's reason and goes on with
    that. Raises `RunNotFound`, or `RunStateError` if the run has ended, or was given more time.
    """
    for _ in range(_STOP_TRIES):
        held = load_run(outbox.services, run_id)
        if held is None:
            raise RunNotFound(run_id)
        if held.run.state.is_terminal:
            raise RunStateError(f"run {run_id} has ended: it is {held.run.state}")
        if stop.kind is StopKind.TIMEOUT and not _is_overdue(held.run, stop):
            raise RunStateError(f"run {run_id} was given more time")
        if held.run.stop is not None or _set_stop(outbox, held, stop):
            return close_run(outbox, run_id, budget)
    raise RunStateError(f"run {run_id} could not be stopped: it keeps changing; try again")


def close_run(outbox: Outbox, run_id: str, budget: Budget | None = None) -> bool:
    """End every open step of a run that is to be stopped, then the run itself. May be repeated.

    With the budget spent, return False: the rest is to be handed on. Without one, go on to the end.
    Steps that change while we look are found by the next look, and a step that has ended stays so. The order of the
    reads matters. The run comes after its steps: once a user has retried it, they are no longer ours to end. Its end
    comes before them: it is the first that a retry resets, so if it is still the same, no step was opened again.
    """
    budget = budget or Budget(services=outbox.services)
    while True:
        ends = load_steps(outbox.services, run_id, [END_ID])
        open_steps = _open_steps(outbox, run_id, budget.page(PAGE))
        held = load_run(outbox.services, run_id)
        if held is None or held.run.stop is None:
            return True
        if not open_steps and (held.run.state.is_terminal or close(outbox, held, ends[0] if ends else None)):
            return True
        stop, now = held.run.stop, outbox.services.clock.now()
        saved = save_alone(outbox, [Decision(held=one, change=stopped(one.step, stop, now=now)) for one in open_steps])
        budget.spend(calls=3 + saved.commits, written=saved.written)
        if budget.is_spent:
            return False


def _open_steps(outbox: Outbox, run_id: str, limit: int) -> list[Held]:
    query = Query(
        collection=steps_path(run_id),
        where=[("state", "in", [state.value for state in OPEN_STEP_STATES])],
        # Its end comes last, and is not one of them.
        limit=limit + 1,
    )
    found = [Held.without_task(document) for document in outbox.services.store.query(query) if document.id != END_ID]
    return found[:limit]


def _is_overdue(run: RunRecord, stop: Stop) -> bool:
    return run.deadline is not None and run.deadline <= stop.requested_at


def _set_stop(outbox: Outbox, held: HeldRun, stop: Stop) -> bool:
    run_id = held.run.id
    update = Update(path=run_path(run_id), fields={"stop": stop_fields(stop)}, guard=held.version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        return False
    log.decided(f"run.stop.{stop.kind}", f"run {run_id} is stopped: {stop.reason}", run_id=run_id)
    return True
