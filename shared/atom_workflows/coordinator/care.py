"""Looking after steps that are due: they are polled, handed on or repaired; what ended is published, batched per run.

A Task Runner answers when it likes. So its answers are awaited while other steps are looked after, and those of a slow
one delay nothing but its own jobs. Audits of whole runs are calls like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from atom_workflows import log as decision_log
from atom_workflows.coordinator.audit import audit_run
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.in_flight import InFlight
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import Polls
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.looks import next_look, put_off, turn
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.timeouts import end_dispatch
from atom_workflows.core.transitions import Outcome, StepChange, after
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, StoreUnavailable
from atom_workflows.messages.internal import ReadyStep, completed_messages


class Care:
    """What one instance does about steps that are due, and the calls that it waits for.

    What goes wrong with one run or step keeps nothing from the others. `published` counts events for the dispatcher.
    """

    def __init__(self, services: Services, polls: Polls, in_flight: InFlight) -> None:
        self.published = 0
        self._services = services
        self._polls = polls
        self._in_flight = in_flight
        self._outbox = Outbox(services)
        self._calls = services.workers.calls(self._look_at, lane=lambda held: held.step.task_runner_url)
        self._outage: AtomWorkflowsError | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether calls are still to be answered."""
        return bool(self._calls.pending)

    def begin(self, due: Sequence[Held]) -> None:
        """Publish what can be done about these steps at once, and begin calls about the others."""
        now = self._services.clock.now()
        outcomes: list[tuple[str, Outcome]] = []
        calls: list[Held] = []
        for one in due:
            step = one.step
            if step.id == END_ID or step.state is StepState.RUNNING:
                calls.append(one)
            elif outcome := end_dispatch(step, now=now):
                outcomes.append((step.run_id, outcome))
            elif step.state in {StepState.DISPATCHING, StepState.RETRYING}:
                self._outbox.ready(step.run_id, [_again(step)])
                self.published += 1
        self._publish(outcomes)
        if len(calls) > self._services.settings.poll_workers:
            # Not all can be asked about at once, so those asked about first are others each minute.
            calls.sort(key=lambda one: turn(one.step, now=now))
        self._in_flight.ask(calls)
        self._calls.begin(calls)

    def hear(self, until: datetime | None = None) -> None:
        """Take what is answered by then, as soon as something is.

        When the last call is answered, raises the outage that an audit met, or what a call raised.
        """
        now = self._services.clock.now()
        wave = self._calls.wave(None if until is None else max(0.0, (until - now).total_seconds()))
        self._in_flight.heard(held for held, _ in wave)
        self.published += sum(found for _, found in wave if isinstance(found, int))
        outages = (found for _, found in wave if isinstance(found, AtomWorkflowsError))
        self._outage = self._outage or next(outages, None)
        self._publish([(held.step.run_id, found) for held, found in wave if isinstance(found, Outcome)])
        self._keep([(held, found) for held, found in wave if found is None or isinstance(found, StepChange)])
        self._outbox.flush()
        if not self.is_waiting:
            self._calls.wave()  # Raises what a call raised.
            if self._outage is not None:
                raise self._outage

    def hear_all(self) -> None:
        """Take every answer."""
        while self.is_waiting:
            self.hear()

    def _look_at(self, held: Held) -> StepChange | Outcome | AtomWorkflowsError | int | None:
        if held.step.id != END_ID:
            return self._polls(held.step)
        return 0 if self._polls.are_over else _audit(self._services, held)

    def _publish(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        by_run: dict[str, list[Outcome]] = {}
        for run_id, outcome in outcomes:
            by_run.setdefault(run_id, []).append(outcome)
        for run_id, ended in by_run.items():
            self._outbox.add(completed_messages(run_id, ended))
        self.published += len(outcomes)
        self._outbox.flush()

    def _keep(self, going_on: Sequence[tuple[Held, StepChange | None]]) -> None:
        """Save what changed of jobs that go on, and look at them again.

        Jobs that another instance changed meanwhile are left to it.
        """
        now, interval = self._services.clock.now(), self._services.settings.check_interval
        changes: dict[str, list[Decision]] = {}
        kept: list[tuple[Held, Held]] = []
        for held, found in going_on:
            change = put_off(held.step, found, now=now, check_interval=interval)
            if change is None:
                kept.append((held, held))
            else:
                changes.setdefault(held.step.run_id, []).append(Decision(held=held, change=change))
        for decisions in changes.values():
            versions = save_alone(self._outbox, decisions).versions
            kept += [
                (one.held, Held(step=after(one.step, one.change), version=versions[one.step.id]))
                for one in decisions
                if one.step.id in versions
            ]
        for held, changed in kept:
            self._in_flight.look_again(held, changed, next_look(changed.step, now=now, check_interval=interval))


def _again(step: StepRecord) -> ReadyStep:
    """Ask for the same attempt if its dispatcher left it, for the next one if its back-off is over."""
    if step.state is StepState.RETRYING:
        return ReadyStep(step_id=step.id, attempt=step.attempt + 1)
    decision_log.warned("step.ready.again", f"step {step.id} is handed to another dispatcher", **step.names)
    return ReadyStep(step_id=step.id, attempt=step.attempt)


def _audit(services: Services, end: Held) -> int | AtomWorkflowsError:
    """Audit a run; return how many events that published, or the outage that it met."""
    outbox = Outbox(services)
    try:
        published = audit_run(outbox, end)
        outbox.flush()
    except (StoreUnavailable, BusUnavailable) as error:
        return error
    except (AtomWorkflowsError, LookupError, TypeError, ValueError) as error:
        # The last three come of documents that someone else has written to.
        run_id, reason = end.step.run_id, f"{type(error).__name__}: {error}"
        decision_log.warned("run.audit.failed", f"run {run_id} could not be looked after: {reason}", run_id=run_id)
        return 0
    return published
