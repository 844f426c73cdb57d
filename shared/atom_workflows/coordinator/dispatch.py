"""Handle the dispatcher's events: ready steps, ended attempts, and commands about runs.

Events may be delivered more than once, at the same time and in any order, and an earlier invocation may have died after
its commit but before it published anything. So if the work of an event is already done, the steps downstream are
searched (`republish_below`), and released steps that no dispatcher has taken are published again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.advance import Advance, judge
from atom_workflows.coordinator.close import close_run, finish_run
from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep, load_steps
from atom_workflows.coordinator.main_part import begin_finally
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import block_waiting, publish_next, seat
from atom_workflows.coordinator.repair import stop_if_broken
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.stopping import stop_abandoned, stop_orphans
from atom_workflows.core.kinds import Release
from atom_workflows.core.records import StepRecord, StopFor
from atom_workflows.core.transitions import apply_outcome, may_claim
from atom_workflows.messages.internal import ReadyStep, RunCommand, StepsCompleted, StepsEvent, StepsReady

MAX_FOLLOWED: Final = 200
"""The maximum number of steps that `republish_below` reads; the checker's audit finds steps further downstream."""


def handle_steps(services: Services, event: StepsEvent) -> None:
    """Handle an event from the topic `steps`.

    Events may be delivered more than once, concurrently, and in any order.
    """
    if isinstance(event, RunCommand):
        # Imported here, as commands are rare, and every import delays an instance's first event.
        from atom_workflows.coordinator.run_commands import handle_command  # noqa: PLC0415 - see above

        handle_command(services, event)
        return
    # Outcomes come from a checker that is running and will look again; when steps are released, it may not be running.
    outbox = Outbox(services, wakes_checker=isinstance(event, StepsReady))
    advance = _dispatch(outbox, event) if isinstance(event, StepsReady) else _apply_outcomes(outbox, event)
    if advance.refused:
        # Another instance has changed these steps, and may have died before it published the steps that this released.
        versions = {decision.step.id: decision.stored.version for decision in advance.refused}
        steps = load_steps(services, event.run_id, versions)
        stop_orphans(services, advance.refused, steps)
        _republish_below_ended(outbox, event.run_id, steps)
        if any(one.version == versions[one.step.id] for one in steps):
            # No one changed this step, so the commit failed because a dependent could not be written.
            stop_if_broken(outbox, event.run_id, advance.budget)
    outbox.flush()


def _dispatch(outbox: Outbox, event: StepsReady) -> Advance:
    asked = {ready.step_id: ready.attempt for ready in event.steps}
    steps = _load(outbox.services, event.run_id, asked)
    now = outbox.services.clock.now()
    _republish_below_ended(outbox, event.run_id, steps)
    releases = {one.step.release for one in steps}
    if Release.BEGIN_FINALLY in releases and not begin_finally(outbox, event.run_id):
        stop_if_broken(
            outbox, event.run_id, Budget.of_invocation(outbox.services.clock, outbox.services.settings.inline_budget)
        )
    if Release.CLOSE in releases:
        finish_run(outbox, event.run_id)
    stopped: list[StoredStep] = []
    if any(one.step.awaits_place for one in steps):
        steps, stopped = seat(outbox.services, steps)
    judged = judge(outbox.services, steps)
    if stopped:
        judged.ended += block_waiting(outbox, stopped)
    ended = {decision.step.id for decision in judged.ended}
    advance = Advance.of(outbox, event.run_id)
    advance.run(
        to_dispatch=[
            one for one in steps if one.step.id not in ended and _is_to_dispatch(one.step, asked[one.step.id], now)
        ],
        ended=judged.ended,
        because=judged.because,
    )
    if any(one.step.state.is_terminal for one in steps):
        stop_abandoned(outbox, steps)
    return advance


def _apply_outcomes(outbox: Outbox, event: StepsCompleted) -> Advance:
    outcomes = {outcome.step_id: outcome for outcome in event.outcomes}
    steps = _load(outbox.services, event.run_id, outcomes)
    now = outbox.services.clock.now()
    changes = [(one, apply_outcome(one.step, outcomes[one.step.id], now=now)) for one in steps]
    # If a Task Runner reported the end of a job, no checker may be awake to notice what follows.
    outbox.wakes_checker = any(one.step.hinted_at is not None for one in steps)
    advance = Advance.of(outbox, event.run_id)
    advance.run(ended=[Decision(stored=one, change=change) for one, change in changes if change is not None])
    if any(one.step.being_stopped_for == StopFor.RUN and change is not None for one, change in changes):
        # The run's end has waited for this job. If closing the run takes long, an audit continues it.
        close_run(outbox, event.run_id, advance.budget)
    _republish_below_ended(outbox, event.run_id, [one for one, change in changes if change is None])
    return advance


def _load(services: Services, run_id: str, step_ids: Collection[str]) -> list[StoredStep]:
    steps = load_steps(services, run_id, step_ids)
    for step_id in set(step_ids) - {one.step.id for one in steps}:
        log.warning("step.unknown", f"there is no step {step_id}", run_id=run_id, step_id=step_id)
    return steps


def _is_to_dispatch(step: StepRecord, attempt: int | None, now: datetime) -> bool:
    if step.rules.released is not Release.CLAIM or step.state.is_terminal:
        return False
    if may_claim(step, now=now, attempt=attempt):
        return True
    log.debug("step.ready.stale", f"step {step.id} is {step.state} and must not be dispatched now", **step.names)
    return False


def _republish_below_ended(outbox: Outbox, run_id: str, steps: Sequence[StoredStep]) -> None:
    republish_below(outbox, run_id, [one.step for one in steps if one.step.state.is_terminal])


def republish_below(outbox: Outbox, run_id: str, ended: Sequence[StepRecord]) -> None:
    """Publish every released step downstream of the ended steps.

    An invocation continues from step to step without events, so the step to publish may be several levels downstream of
    the step that the event named. The search continues through steps that have ended.
    """
    seen: set[str] = set()
    frontier = list(ended)
    if any(step.shard for step in ended):
        publish_next(outbox, ended)
    while frontier and len(seen) < MAX_FOLLOWED:
        wanted = [d for step in frontier for d in step.dependents if d not in seen]
        below = list(dict.fromkeys(wanted))[: MAX_FOLLOWED - len(seen)]
        seen.update(below)
        steps = [stored.step for stored in load_steps(outbox.services, run_id, below)]
        released = [step for step in steps if step.is_released]
        for step in released:
            log.info("step.ready.again", f"step {step.id} is being published again", run_id=run_id, step_id=step.id)
        outbox.add_ready(run_id, [ReadyStep(step_id=step.id) for step in released])
        frontier = [step for step in steps if step.state.is_terminal]
