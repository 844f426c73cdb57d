"""Looking after steps that are due: they are polled, handed on or repaired; what ended is published, batched per run.

A Task Runner answers when it likes. So its answers are awaited while other steps are looked after, and those of a slow
one delay nothing but its own jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from atom_workflows import decision_log
from atom_workflows.coordinator.audit import audit_run
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import Polls
from atom_workflows.coordinator.saving import Decision, save_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.waves import waves
from atom_workflows.core.decide import Outcome, OutcomeKind, StepChange, after, overdue
from atom_workflows.core.graph import END_ID
from atom_workflows.core.polling import poll_interval
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, StoreUnavailable
from atom_workflows.events import ReadyStep, completed_messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A job that goes on: its step as it was when it was asked for and as it is now, and when to look at it again."""

    asked: Held
    held: Held
    look_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What some answers led to: how many events were published, and the jobs that go on."""

    published: int
    kept: Sequence[Kept]


@dataclass(slots=True)
class _Work:
    """What is to be done about the steps that are due."""

    polls: list[Held] = field(default_factory=list)
    audits: list[Held] = field(default_factory=list)
    ready: list[tuple[str, ReadyStep]] = field(default_factory=list)
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)


class Care:
    """What one instance does about steps that are due, and the status calls that it waits for.

    What goes wrong with one run or step keeps nothing from the others.
    """

    def __init__(self, services: Services, polls: Polls) -> None:
        self._services = services
        self._outbox = Outbox(services)
        self._calls = services.workers.calls(lambda held: polls(held.step), lane=_task_runner)

    @property
    def is_waiting(self) -> bool:
        """Whether Task Runners are still to answer."""
        return bool(self._calls.pending)

    def begin(self, due: Sequence[Held]) -> int:
        """Do what can be done about these steps, and ask Task Runners about the others; how many events it took.

        One that is being asked for is not asked for again. An outage that a look at a run meets is raised after all
        answers were heard.
        """
        work = _sort(due, self._services.clock.now())
        asked = {_name(held): held.version for held in self._calls.pending}
        published = _publish(self._outbox, work.ready, work.outcomes)
        self._calls.begin([one for one in work.polls if asked.get(_name(one)) != one.version])
        try:
            published += _audit(self._services, work.audits)
        except (StoreUnavailable, BusUnavailable):
            self.hear_all()
            raise
        self._outbox.flush()
        return published

    def hear(self, until: datetime | None = None) -> Heard:
        """Take what Task Runners answer by then, as soon as some have."""
        now = self._services.clock.now()
        wave = self._calls.wave(None if until is None else max(0.0, (until - now).total_seconds()))
        ended = [(one.step.run_id, found) for one, found in wave if isinstance(found, Outcome)]
        published = _publish(self._outbox, [], ended)
        kept = _kept(self._outbox, [(one, found) for one, found in wave if not isinstance(found, Outcome)])
        self._outbox.flush()
        if not self.is_waiting:
            self._calls.wave()  # raises what a call raised
        return Heard(published=published, kept=kept)

    def hear_all(self, until: datetime | None = None) -> None:
        """Take every answer, or those by then."""
        while self.is_waiting and (until is None or self._services.clock.now() < until):
            self.hear(until)


def _name(held: Held) -> tuple[str, str]:
    return held.step.run_id, held.step.id


def _task_runner(held: Held) -> str:
    return held.step.task_runner_url


def _audit(services: Services, ends: Sequence[Held]) -> int:
    """Look after the runs whose ends are due, many at the same time; how many events that took."""
    published = 0
    outage: AtomWorkflowsError | None = None
    for wave in waves(services.workers, partial(_audited, services), ends):
        published += sum(found for _, found in wave if isinstance(found, int))
        outage = outage or next((found for _, found in wave if isinstance(found, AtomWorkflowsError)), None)
    if outage is not None:
        raise outage
    return published


def _audited(services: Services, end: Held) -> int | AtomWorkflowsError:
    """How many events it took to look after a run, or the outage that it met."""
    outbox = Outbox(services)
    try:
        published = audit_run(outbox, end)
        outbox.flush()
    except (StoreUnavailable, BusUnavailable) as error:
        return error
    except (AtomWorkflowsError, LookupError, TypeError, ValueError) as error:
        # The last three come of documents that somebody else has written to.
        run_id, reason = end.step.run_id, f"{type(error).__name__}: {error}"
        decision_log.warned("run.audit.failed", f"run {run_id} could not be looked after: {reason}", run_id=run_id)
        return 0
    return published


def _sort(due: Sequence[Held], now: datetime) -> _Work:
    work = _Work()
    for one in due:
        step = one.step
        outcome = overdue(step, now=now) or _lost_in_dispatch(step)
        if step.id == END_ID:
            work.audits.append(one)
        elif outcome is not None:
            work.outcomes.append((step.run_id, outcome))
        elif step.state is StepState.RUNNING:
            work.polls.append(one)
        elif step.state in {StepState.DISPATCHING, StepState.RETRYING}:
            work.ready.append((step.run_id, _again(step)))
    return work


def _again(step: StepRecord) -> ReadyStep:
    """A step to dispatch: the same attempt if a dispatcher left it, the next one if its back-off is over."""
    if step.state is StepState.RETRYING:
        return ReadyStep(step_id=step.id, attempt=step.attempt + 1)
    decision_log.warned(
        "step.ready.again",
        f"step {step.id} is handed to another dispatcher",
        run_id=step.run_id,
        step_id=step.id,
        attempt=step.attempt,
    )
    return ReadyStep(step_id=step.id, attempt=step.attempt)


def _lost_in_dispatch(step: StepRecord) -> Outcome | None:
    """A dispatcher died and nobody knows whether it submitted; None if the step may be submitted again."""
    if step.state is not StepState.DISPATCHING or step.answered or step.policies.on_lost is OnLost.RETRY:
        return None
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=OutcomeKind.LOST,
        message="its dispatcher died before it recorded whether the job was submitted, and onLost is fail",
    )


def _kept(outbox: Outbox, wave: Sequence[tuple[Held, StepChange | None]]) -> list[Kept]:
    """Save what changed of jobs that go on; answer these jobs as they stand then, without those that others changed."""
    changes: dict[str, list[Decision]] = {}
    for held, change in wave:
        if change is not None:
            changes.setdefault(held.step.run_id, []).append(Decision(held=held, change=change))
    going_on = [(held, held) for held, change in wave if change is None]
    for decisions in changes.values():
        versions = save_alone(outbox, decisions).versions
        going_on += [
            (one.held, Held(step=after(one.step, one.change), version=versions[one.step.id]))
            for one in decisions
            if one.step.id in versions
        ]
    return [Kept(asked=asked, held=now, look_at=_next_look(outbox.services, now.step)) for asked, now in going_on]


def _next_look(services: Services, step: StepRecord) -> datetime:
    """When a job that goes on is to be looked at again: later if nobody answered just now, sooner if its time is up."""
    now = services.clock.now()
    look_at = now + poll_interval(age_of(step, now), services.settings.check_interval)
    if step.unanswered and step.due_at is not None and step.due_at > now:
        look_at = step.due_at
    return look_at if step.attempt_deadline is None else min(look_at, step.attempt_deadline)


def age_of(step: StepRecord, now: datetime) -> timedelta:
    """How long ago the step's attempt began."""
    return now - (step.claimed_at or now)


def _publish(outbox: Outbox, ready: Sequence[tuple[str, ReadyStep]], outcomes: Sequence[tuple[str, Outcome]]) -> int:
    by_run: dict[str, list[Outcome]] = {}
    for run_id, outcome in outcomes:
        by_run.setdefault(run_id, []).append(outcome)
    for run_id, ended in by_run.items():
        outbox.add(completed_messages(run_id, ended))
    for run_id, step in ready:
        outbox.ready(run_id, [step])
    if ready or outcomes:
        outbox.flush()
    return len(ready) + len(outcomes)
