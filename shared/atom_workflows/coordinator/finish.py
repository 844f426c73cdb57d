"""Closing a run whose end was released: every leaf of its graph is terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from atom_workflows import decision_log
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.saving import Held
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import StepChange, barrier_passed, clip, skipped, stopped
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.records import RunRecord, StopKind
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.documents import change_fields, run_path, run_record, step_path, step_record, steps_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Query, Update

MAX_ERRORS: Final = 100
"""Failed steps whose messages the run's own document repeats; the steps hold them all."""

_TRIES: Final = 5


def finish_run(outbox: Outbox, run_id: str) -> None:
    """Make the run terminal, once: its state follows from a stop that was asked for, else from its steps."""
    for _ in range(_TRIES):
        if _try_to_finish(outbox, run_id):
            return
    # Left to the checker's audit, which finds the released end.
    decision_log.warned("run.finish.contended", f"run {run_id} could not be closed yet", run_id=run_id)


def _try_to_finish(outbox: Outbox, run_id: str) -> bool:
    """One try; False if the run or its end changed in between."""
    services = outbox.services
    run_document, end_document = services.store.get([run_path(run_id), step_path(run_id, END_ID)])
    if run_document is None or end_document is None:
        return True
    run, end = run_record(run_document), Held.of(end_document)
    may_end = run.state is RunState.RUNNING or (run.state is RunState.SEEDING and run.stop is not None)
    if not may_end or end.step.state.is_terminal:
        return True
    now = services.clock.now()
    change, event = _verdict(run, end, services)
    closed = replace(run, state=next_run_state(run.state, event), finished_at=now, errors=_errors(services, run, end))
    writes = [
        Update(path=step_path(run_id, END_ID), fields=change_fields(change), guard=end.version),
        Update(
            path=run_path(run_id),
            fields={
                "state": closed.state.value,
                "finished_at": now,
                "errors": [dict(e) for e in closed.errors],
            },
            guard=run_document.version,
        ),
    ]
    try:
        services.store.commit(writes)
    except Conflict:
        return False
    outbox.run_changed(closed)
    decision_log.decided(f"run.{event}", f"run {run_id} is {closed.state}", run_id=run_id)
    return True


def _verdict(run: RunRecord, end: Held, services: Services) -> tuple[StepChange, RunEvent]:
    now = services.clock.now()
    if run.stop is not None:
        event = RunEvent.CANCEL if run.stop.kind is StopKind.CANCEL else RunEvent.FAIL
        return stopped(end.step, run.stop, now=now), event
    if end.step.unsuccessful:
        return skipped(end.step, now=now), RunEvent.FAIL
    return barrier_passed(end.step, now=now), RunEvent.SUCCEED


def _errors(services: Services, run: RunRecord, end: Held) -> tuple[dict[str, Any], ...]:
    """What went wrong: why the run was stopped, then every failed step's own message."""
    errors: list[dict[str, Any]] = []
    if run.stop is not None and run.stop.kind is not StopKind.CANCEL:
        errors.append({"step": None, "message": run.stop.reason})
    if run.stop is None and not end.step.unsuccessful:
        return ()
    ended_badly = [StepState.FAILED.value] if run.stop else [StepState.FAILED.value, StepState.CANCELLED.value]
    failed = services.store.query(
        Query(collection=steps_path(run.id), where=[("state", "in", ended_badly)], limit=MAX_ERRORS)
    )
    steps = [step_record(document) for document in failed]
    errors += [{"step": s.id, "message": clip(s.message)[:500]} for s in steps if not is_internal(s.id)]
    return tuple(errors)
