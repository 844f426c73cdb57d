"""The dispatcher's two handlers: steps to dispatch, and attempts that ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from atom_workflows import log
from atom_workflows.coordinator.advance import Advance
from atom_workflows.coordinator.close import finish_run
from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.forward import forward
from atom_workflows.coordinator.loading import Held, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.repair import give_up_if_broken
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.core.transitions import apply_outcome, end_without_job, may_claim
from atom_workflows.messages.internal import StepsCompleted, StepsEvent, StepsReady


def handle_steps(services: Services, event: StepsEvent) -> None:
    """Handle an event of the topic `steps`. It may come twice, at the same time, in any order."""
    # Outcomes come from a checker that is awake and will look again; released steps may find it asleep.
    outbox = Outbox(services, wakes_checker=isinstance(event, StepsReady))
    if isinstance(event, StepsReady):
        _dispatch(outbox, event)
    else:
        _settle(outbox, event)
    outbox.flush()


def _dispatch(outbox: Outbox, event: StepsReady) -> None:
    asked = {ready.step_id: ready.attempt for ready in event.steps}
    held = _load(outbox.services, event.run_id, asked)
    now = outbox.services.clock.now()
    _forward_ended(outbox, event.run_id, held)
    if any(one.step.id == END_ID and one.step.is_released for one in held):
        finish_run(outbox, event.run_id)
    changes = [(one, end_without_job(one.step, now=now)) for one in held if one.step.id != END_ID]
    advance = Advance.of(outbox, event.run_id)
    advance.run(
        to_dispatch=[one for one in held if _is_to_dispatch(one.step, asked[one.step.id], now)],
        ended=[Decision(held=one, change=change) for one, change in changes if change is not None],
    )
    _forward_refused(outbox, advance)


def _settle(outbox: Outbox, event: StepsCompleted) -> None:
    outcomes = {outcome.step_id: outcome for outcome in event.outcomes}
    held = _load(outbox.services, event.run_id, outcomes)
    now = outbox.services.clock.now()
    changes = [(one, apply_outcome(one.step, outcomes[one.step.id], now=now)) for one in held]
    advance = Advance.of(outbox, event.run_id)
    advance.run(ended=[Decision(held=one, change=change) for one, change in changes if change is not None])
    _forward_ended(outbox, event.run_id, [one for one, change in changes if change is None])
    _forward_refused(outbox, advance)


def _is_to_dispatch(step: StepRecord, attempt: int | None, now: datetime) -> bool:
    if step.is_barrier or step.state.is_terminal:
        return False
    if may_claim(step, now=now, attempt=attempt):
        return True
    log.dropped("step.ready.stale", f"step {step.id} is {step.state} and not to be dispatched now", **step.names)
    return False


def _forward_ended(outbox: Outbox, run_id: str, held: Sequence[Held]) -> None:
    forward(outbox, run_id, [one.step for one in held if one.step.state.is_terminal])


def _forward_refused(outbox: Outbox, advance: Advance) -> None:
    """Look again at steps that another had changed: it may have died before it published what that released."""
    if not advance.refused:
        return
    versions = {decision.step.id: decision.held.version for decision in advance.refused}
    held = load_steps(outbox.services, advance.run_id, versions)
    _forward_ended(outbox, advance.run_id, held)
    if any(one.version == versions[one.step.id] for one in held):
        # Nobody had changed it, so it was a dependent that could not be written.
        give_up_if_broken(outbox, advance.run_id, advance.budget)


def _load(services: Services, run_id: str, step_ids: Collection[str]) -> list[Held]:
    held = load_steps(services, run_id, step_ids)
    for step_id in set(step_ids) - {one.step.id for one in held}:
        log.warned("step.unknown", f"there is no step {step_id}", run_id=run_id, step_id=step_id)
    return held
