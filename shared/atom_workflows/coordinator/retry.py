"""Retry-from-failed: keep what succeeded, run again what failed, was cancelled or was skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.commits import Decision, save_with
from atom_workflows.coordinator.loading import Held, all_steps, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retention import keep_all
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord
from atom_workflows.core.retention import is_nearly_gone, kept_after_retry
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.core.transitions import needs_reset, reset
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import Conflict, RunNotFound, RunStateError, TransitionError
from atom_workflows.ports import Update

NEXT_AUDIT: Final = timedelta(seconds=60)
"""How long after it was opened a run is first looked at as a whole."""


def first_audit(opened_at: datetime, deadline: datetime | None) -> datetime:
    """Return when a run is first audited, at its deadline at the latest."""
    audit = opened_at + NEXT_AUDIT
    return audit if deadline is None else min(audit, deadline)


def open_again(outbox: Outbox, run_id: str) -> None:
    """Set a FAILED or CANCELLED run back to SEEDING, for `seed.resume` to go on with.

    Raises `RunNotFound`, or `RunStateError` if the run has not ended badly.
    """
    held = load_run(outbox.services, run_id)
    if held is None:
        raise RunNotFound(run_id)
    try:
        state = next_run_state(held.run.state, RunEvent.RETRY)
    except TransitionError:
        message = f"run {run_id} is {held.run.state}; only a FAILED or CANCELLED run can be retried"
        raise RunStateError(message) from None
    if is_nearly_gone(held.run.expire_at, now=outbox.services.clock.now()):
        message = f"run {run_id} is kept until {held.run.expire_at:%Y-%m-%d %H:%M} UTC; start its workflow again"
        raise RunStateError(message)
    reopened = _reopened(outbox, held.run, state)
    writes = [
        Update(path=run_path(run_id), fields=reopened, guard=held.version),
        Update(
            path=step_path(run_id, END_ID),
            fields={"due_at": first_audit(reopened["reopened_at"], reopened["deadline"])},
        ),
    ]
    try:
        outbox.services.store.commit(writes)
    except Conflict:
        raise RunStateError(f"run {run_id} is being changed by somebody else; look at it again") from None
    log.decided("run.retry", f"run {run_id} is retried from what failed", run_id=run_id)
    outbox.run_changed(replace(held.run, state=state))


def reset_unsuccessful(outbox: Outbox, run: RunRecord, budget: Budget) -> bool:
    """Make every step that did not succeed PENDING again.

    The others, too, are kept for as long as the run will be.
    A step that is reset may be dispatched at once, by an event that was late. So steps are reset before what they
    depend on: whatever runs early finds its dependents waiting. The run's end changes with every commit, so that a
    stop, which closes the run by its end's version, comes before all of this or after (see `stop.close_run`).
    False if something changed meanwhile or the budget is spent: then look at the run again, and repeat if it is still
    to be reset. Steps that were reset are passed over then.
    """
    held = _dependents_first(list(all_steps(outbox.services, run.id)))
    succeeded = {one.step.id for one in held if one.step.state is StepState.SUCCEEDED}
    to_reset = [one for one in held if needs_reset(one.step, retries=run.retries)]
    ends = [one for one in held if one.step.id == END_ID]
    # Read after the end: a stop that is not seen here has its close refused by what is saved now, or refuses it.
    now = load_run(outbox.services, run.id)
    if now is None or now.run.state is not run.state or now.run.stop is not None or now.run.retries != run.retries:
        return False
    until = kept_until(outbox.services, run)
    left = [one for one in held if not needs_reset(one.step, retries=run.retries)]
    if until is not None and not keep_all(outbox.services, run, left, until, budget):
        return False
    kept = replace(run, expire_at=until)
    return not ends or save_with(outbox, ends[0], [_reset(outbox, one, succeeded, kept) for one in to_reset], budget)


def kept_until(services: Services, run: RunRecord) -> datetime | None:
    """Return until when a run is kept once it is RUNNING.

    That is for longer after a retry: the run's own date is renewed last.
    """
    if run.reopened_at is None:
        return run.expire_at
    return kept_after_retry(run.expire_at, reopened_at=run.reopened_at, keep=services.settings.keep_runs)


def _reopened(outbox: Outbox, run: RunRecord, state: RunState) -> dict[str, Any]:
    now = outbox.services.clock.now()
    return {
        "state": state.value,
        "retries": run.retries + 1,
        "reopened_at": now,
        "stop": None,
        "errors": [],
        "finished_at": None,
        "deadline": None if run.timeout is None else now + run.timeout,
    }


def _reset(outbox: Outbox, held: Held, succeeded: set[str], run: RunRecord) -> Decision:
    # What is not there has not succeeded: the step waits for it, until the run is found to be broken.
    remaining = sum(need not in succeeded for need in held.step.depends_on)
    change = reset(held.step, remaining=remaining, retries=run.retries, expire_at=run.expire_at)
    if held.step.id == END_ID:
        due_at = first_audit(outbox.services.clock.now(), run.deadline)
        change = replace(change, fields={**change.fields, "due_at": due_at})
    return Decision(held=held, change=change)


def _dependents_first(held: Sequence[Held]) -> list[Held]:
    by_id = {one.step.id: one for one in held}
    order = TopologicalSorter({one.step.id: one.step.dependents for one in held}).static_order()
    return [by_id[step_id] for step_id in order if step_id in by_id]
