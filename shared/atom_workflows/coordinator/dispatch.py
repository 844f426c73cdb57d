"""The dispatcher's two handlers: steps to dispatch, and attempts that ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from atom_workflows import decision_log
from atom_workflows.coordinator.advance import Advance, passed
from atom_workflows.coordinator.finish import finish_run
from atom_workflows.coordinator.forward import forward
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.saving import Decision, Held
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import may_claim, settled
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.documents import step_path
from atom_workflows.events import StepsCompleted, StepsEvent, StepsReady


def handle_steps(services: Services, event: StepsEvent) -> None:
    """Handle an event of the topic `steps`. It may come twice, at the same time, in any order."""
    # Outcomes come from a checker that is sweeping and will sweep again; released steps may find it asleep.
    outbox = Outbox(services, wakes_checker=isinstance(event, StepsReady))
    if isinstance(event, StepsReady):
        _dispatch(outbox, event)
    else:
        _settle(outbox, event)
    outbox.flush()


def _dispatch(outbox: Outbox, event: StepsReady) -> None:
    held = _load(outbox.services, event.run_id, [ready.step_id for ready in event.steps])
    asked = {ready.step_id: ready.attempt for ready in event.steps}
    now = outbox.services.clock.now()
    forward(outbox, event.run_id, [one.step for one in held if one.step.state.is_terminal])
    advance = Advance.of(outbox, event.run_id)
    if decisions := [decision for one in held if one.step.id != END_ID and (decision := passed(one, now))]:
        advance.settle(decisions)
    if any(one.step.id == END_ID and one.step.is_released for one in held):
        finish_run(outbox, event.run_id)
    advance.dispatch([one for one in held if _is_to_dispatch(one.step, asked[one.step.id], now)])


def _is_to_dispatch(step: StepRecord, attempt: int | None, now: datetime) -> bool:
    if step.is_barrier or step.state.is_terminal:
        return False
    if may_claim(step, now=now, attempt=attempt):
        return True
    decision_log.dropped(
        "step.ready.stale",
        f"step {step.id} is {step.state} and not to be dispatched now",
        run_id=step.run_id,
        step_id=step.id,
        attempt=step.attempt,
    )
    return False


def _settle(outbox: Outbox, event: StepsCompleted) -> None:
    outcomes = {outcome.step_id: outcome for outcome in event.outcomes}
    held = _load(outbox.services, event.run_id, outcomes)
    now = outbox.services.clock.now()
    changes = [(one, settled(one.step, outcomes[one.step.id], now=now)) for one in held]
    decisions = [Decision(held=one, change=change) for one, change in changes if change is not None]
    stale = [one.step for one, change in changes if change is None]
    advance = Advance.of(outbox, event.run_id)
    advance.settle(decisions)
    forward(outbox, event.run_id, [step for step in stale if step.state.is_terminal])
    if advance.refused:
        # Another instance settled the same outcomes and may have died before it published: look again.
        refused = _load(outbox.services, event.run_id, [decision.step.id for decision in advance.refused])
        forward(outbox, event.run_id, [one.step for one in refused if one.step.state.is_terminal])


def _load(services: Services, run_id: str, step_ids: Iterable[str]) -> Sequence[Held]:
    step_ids = list(step_ids)
    documents = services.store.get([step_path(run_id, step_id) for step_id in step_ids])
    for step_id, document in zip(step_ids, documents, strict=True):
        if document is None:
            decision_log.warned("step.unknown", f"there is no step {step_id}", run_id=run_id, step_id=step_id)
    return [Held.of(document) for document in documents if document is not None]
