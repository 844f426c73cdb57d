"""Looking after steps that are due: they are polled, handed on or repaired; what ended is published, batched per run.

A Task Runner answers when it likes. So its answers are awaited while other steps are looked after, and those of a slow
one delay nothing but its own jobs. Audits of whole runs are calls like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.checker.audit import audit_run
from atom_workflows.coordinator.checker.due_steps import read_again
from atom_workflows.coordinator.checker.in_flight import InFlight
from atom_workflows.coordinator.checker.polls import poll
from atom_workflows.coordinator.circuit_breaker import CircuitBreaker
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.looks import next_look, poll_order, with_next_look
from atom_workflows.core.polling import POLL_BACKOFF
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.timeouts import end_dispatch
from atom_workflows.core.transitions import Outcome, StepChange, apply_change
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, StoreUnavailable
from atom_workflows.messages.internal import ReadyStep, completed_messages

_Look: TypeAlias = tuple[Held, datetime]
"""A step, and until when the call about it may begin."""


class DueHandler:
    """What one instance does about steps that are due, and the calls that it waits for.

    What goes wrong with one run or step keeps nothing from the others. A Task Runner that does not answer is left
    alone, for longer each time. `published` counts events for the dispatcher.
    """

    def __init__(self, services: Services, in_flight: InFlight) -> None:
        self.published = 0
        self._services = services
        self._in_flight = in_flight
        self._outbox = Outbox(services)
        self._breaker = CircuitBreaker(POLL_BACKOFF)
        self._calls = services.workers.calls(self._look_at, lane=lambda look: look[0].step.task_runner_url)

    @property
    def asked(self) -> list[Held]:
        """The steps about which calls are still to be answered."""
        return [held for held, _ in self._calls.pending]

    def begin(self, due: Sequence[Held], until: datetime) -> None:
        """Publish what can be done at once, and begin calls about the others.

        Those that have not begun by `until` are not made.
        """
        now = self._services.clock.now()
        outcomes: list[tuple[str, Outcome]] = []
        calls: list[_Look] = []
        for one in due:
            step = one.step
            if step.id == END_ID or step.state is StepState.RUNNING:
                calls.append((one, until))
            elif outcome := end_dispatch(step, now=now):
                outcomes.append((step.run_id, outcome))
            elif step.state in {StepState.DISPATCHING, StepState.RETRYING}:
                self._outbox.ready(step.run_id, [_again(step)])
                self.published += 1
        self._publish(outcomes)
        if len(calls) > self._services.settings.poll_workers:
            # Not all can be asked about at once, so those asked about first are others each minute.
            calls.sort(key=lambda look: poll_order(look[0].step, now=now))
        self._calls.begin(calls)

    def hear(self, until: datetime | None = None) -> None:
        """Take what is answered by then, as soon as something is.

        When the last call is answered, raises what a call raised: an audit, say, that met an outage.
        """
        now = self._services.clock.now()
        wave = self._calls.wave(None if until is None else max(0.0, (until - now).total_seconds()))
        self.published += sum(found for _, found in wave if isinstance(found, int))
        self._publish([(held.step.run_id, found) for (held, _), found in wave if isinstance(found, Outcome)])
        self._keep([(held, found) for (held, _), found in wave if found is None or isinstance(found, StepChange)])
        self._outbox.flush()
        if not self._calls.pending:
            self._calls.wave()

    def hear_all(self) -> None:
        """Take every answer."""
        while self._calls.pending:
            self.hear()

    def _look_at(self, look: _Look) -> StepChange | Outcome | int | None:
        held, until = look
        if self._services.clock.now() >= until:
            return None
        if held.step.id == END_ID:
            return _audit(self._services, held)
        return poll(self._services, self._breaker, held.step)

    def _publish(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        by_run: dict[str, list[Outcome]] = {}
        for run_id, outcome in outcomes:
            by_run.setdefault(run_id, []).append(outcome)
        for run_id, ended in by_run.items():
            self._outbox.add(completed_messages(run_id, ended))
        self.published += len(outcomes)
        self._outbox.flush()

    def _keep(self, going_on: Sequence[tuple[Held, StepChange | None]]) -> None:
        """Save what changed of jobs that go on, and look at them again."""
        now, interval = self._services.clock.now(), self._services.settings.check_interval
        changes: dict[str, list[Decision]] = {}
        kept: list[tuple[Held, Held]] = []
        refused: list[Held] = []
        for held, found in going_on:
            change = with_next_look(held.step, found, now=now, check_interval=interval)
            if change is None:
                kept.append((held, held))
            else:
                changes.setdefault(held.step.run_id, []).append(Decision(held=held, change=change))
        for decisions in changes.values():
            saved = save_alone(self._outbox, decisions)
            refused += [one.held for one in saved.refused if self._in_flight.knows(one.held)]
            kept += [
                (one.held, Held(step=apply_change(one.step, one.change), version=saved.versions[one.step.id]))
                for one in decisions
                if one.step.id in saved.versions
            ]
        for held, changed in kept:
            self._in_flight.look_again(held, changed, next_look(changed.step, now=now, check_interval=interval))
        # Another instance changed these. No query finds them again, as they were due before the last look.
        for held, fresh in zip(refused, read_again(self._services, refused), strict=True):
            if fresh is not None and fresh.step.due_at is not None:
                self._in_flight.look_again(held, fresh, fresh.step.due_at)


def _again(step: StepRecord) -> ReadyStep:
    """Ask for the same attempt if its dispatcher left it, for the next one if its back-off is over."""
    if step.state is StepState.RETRYING:
        return ReadyStep(step_id=step.id, attempt=step.attempt + 1)
    log.warned("step.ready.again", f"step {step.id} is handed to another dispatcher", **step.names)
    return ReadyStep(step_id=step.id, attempt=step.attempt)


def _audit(services: Services, end: Held) -> int:
    """Audit a run; return how many events that published. Raises an outage that it met."""
    outbox = Outbox(services)
    try:
        published = audit_run(outbox, end)
        outbox.flush()
    except (StoreUnavailable, BusUnavailable):
        raise
    except (AtomWorkflowsError, LookupError, TypeError, ValueError) as error:
        # The last three come of documents that someone else has written to.
        run_id, reason = end.step.run_id, f"{type(error).__name__}: {error}"
        log.warned("run.audit.failed", f"run {run_id} could not be looked after: {reason}", run_id=run_id)
        return 0
    return published
