"""Retry-from-failed: keep what succeeded, run again what failed, was cancelled or was skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from atom_workflows import decision_log
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.saving import Decision, Held, save_alone
from atom_workflows.core.decide import reset
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunEvent, StepState, next_run_state
from atom_workflows.documents import run_path, run_record, step_path, steps_path
from atom_workflows.errors import Conflict, RunNotFound, RunStateError, TransitionError
from atom_workflows.ports import Query, Update

PAGE: Final = 500
NEXT_AUDIT: Final = timedelta(seconds=60)


def open_again(outbox: Outbox, run_id: str) -> None:
    """Set a FAILED or CANCELLED run back to SEEDING, for `seed.resume` to go on with.

    Raises `RunNotFound`, or `RunStateError` if the run has not ended badly.
    """
    services = outbox.services
    document = services.store.get([run_path(run_id)])[0]
    if document is None:
        raise RunNotFound(run_id)
    run = run_record(document)
    try:
        state = next_run_state(run.state, RunEvent.RETRY)
    except TransitionError:
        message = f"run {run_id} is {run.state}; only a FAILED or CANCELLED run can be retried"
        raise RunStateError(message) from None
    now = services.clock.now()
    fields: dict[str, Any] = {
        "state": state.value,
        "retries": run.retries + 1,
        "stop": None,
        "errors": [],
        "finished_at": None,
        "deadline": None if run.timeout is None else now + run.timeout,
        "expire_at": now + services.settings.keep_runs,
    }
    writes = [
        Update(path=run_path(run_id), fields=fields, guard=document.version),
        Update(path=step_path(run_id, END_ID), fields={"due_at": now + NEXT_AUDIT}),
    ]
    try:
        services.store.commit(writes)
    except Conflict:
        raise RunStateError(f"run {run_id} is being changed by somebody else; look at it again") from None
    decision_log.decided("run.retry", f"run {run_id} is retried from what failed", run_id=run_id)
    outbox.run_changed(replace(run, state=state))


def reset_unsuccessful(outbox: Outbox, run: RunRecord) -> None:
    """Make every step that did not succeed PENDING again, with counters that tell what it waits for.

    May be repeated: which steps run again follows from what succeeded, and that does not change meanwhile.
    """
    refused = True
    while refused:
        held = list(_all_steps(outbox, run.id))
        again = {one.step.id for one in held if one.step.state is not StepState.SUCCEEDED}
        decisions = [_reset(outbox, one, again, run.retries) for one in held if _is_to_reset(one.step, run.retries)]
        refused = bool(save_alone(outbox, decisions).refused)


def _is_to_reset(step: StepRecord, retries: int) -> bool:
    return step.state.is_terminal and step.state is not StepState.SUCCEEDED and step.retries < retries


def _reset(outbox: Outbox, held: Held, again: set[str], retries: int) -> Decision:
    remaining = sum(need in again for need in held.step.depends_on)
    change = reset(held.step, remaining=remaining, retries=retries)
    if held.step.id == END_ID:
        due_at = outbox.services.clock.now() + NEXT_AUDIT
        change = replace(change, fields={**change.fields, "due_at": due_at})
    return Decision(held=held, change=change)


def _all_steps(outbox: Outbox, run_id: str) -> Iterator[Held]:
    after: tuple[str] | None = None
    while True:
        page = outbox.services.store.query(Query(collection=steps_path(run_id), after=after, limit=PAGE))
        yield from map(Held.of, page)
        if len(page) < PAGE:
            return
        after = (page[-1].path,)
