"""What one invocation has to publish once its state is saved: state first, publish second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import is_internal
from atom_workflows.core.oddities import oddity_of
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import StepChange, apply_change
from atom_workflows.messages.internal import ReadyStep, TickOrigin, changes_messages, ready_messages, tick_message
from atom_workflows.ports import Message

MAX_TOLD_TEXT = 500
TELL_AFTER_S = 0.5


@dataclass(slots=True)
class Outbox:
    """Messages of one invocation, gathered so that they leave in few requests.

    Ready steps must not be lost, so they leave as soon as `flush` is called; what the outside world is told may wait
    for the end of the invocation and leaves in the same request. `wakes_checker` says that the checker may not know yet
    that there is work, so that it is woken when a job is put in flight.
    """

    services: Services
    wakes_checker: bool = False
    _ready: dict[str, list[ReadyStep]] = field(default_factory=dict)
    _changes: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _messages: list[Message] = field(default_factory=list)
    _has_work_for_checker: bool = False
    _told_at: datetime | None = None

    def ready(self, run_id: str, steps: Sequence[ReadyStep]) -> None:
        """Steps for a dispatcher to claim."""
        if steps:
            self._ready.setdefault(run_id, []).extend(steps)

    def add(self, messages: Sequence[Message]) -> None:
        """Any other messages."""
        self._messages.extend(messages)

    def step_changed(self, step: StepRecord, change: StepChange) -> None:
        """Tell the outside world, and the checker if it now has to look at the step."""
        if change.state in {StepState.RUNNING, StepState.RETRYING} or change.fields.get("deferrals"):
            self._has_work_for_checker = True
        if is_internal(step.id):
            return
        told = {
            "step": step.id,
            "state": change.state.value,
            "attempt": change.fields.get("attempt", step.attempt),
            "job_state": change.fields.get("job_state", step.job_state),
            "message": self._message(step, change)[:MAX_TOLD_TEXT],
            "at": self.services.clock.now().isoformat(),
        }
        self._changes.setdefault(step.run_id, []).append(told)

    def _message(self, step: StepRecord, change: StepChange) -> str:
        """Return what the change says, before it what is odd about the step."""
        said = str(change.fields.get("message", ""))
        if change.state is not StepState.RUNNING and not change.fields.get("deferrals"):
            return said  # The step is not at a Task Runner that could be odd.
        odd = oddity_of(apply_change(step, change), now=self.services.clock.now())
        return said if odd is None else ": ".join(filter(None, (odd.what, said)))

    def run_changed(self, run: RunRecord) -> None:
        """Tell the outside world that the run has another state."""
        told = {"run": run.id, "state": run.state.value, "at": self.services.clock.now().isoformat()}
        self._changes.setdefault(run.id, []).append(told)

    def flush(self) -> None:
        """Publish all that was gathered, in one request as far as the bus can."""
        messages = self._messages + self._take_ready() + self._take_changes() + self._take_wake_up()
        self._messages = []
        if messages:
            self.services.bus.publish(messages)

    def flush_ready(self) -> None:
        """Publish what others are to do; what they are only told can wait, but not for long."""
        now = self.services.clock.now()
        self._told_at = self._told_at or now
        if (now - self._told_at).total_seconds() >= TELL_AFTER_S:
            self._told_at = now
            self.flush()
        elif messages := self._take_ready():
            self.services.bus.publish(messages)

    def _take_ready(self) -> list[Message]:
        taken, self._ready = self._ready, {}
        return [message for run_id, steps in taken.items() for message in ready_messages(run_id, steps)]

    def _take_wake_up(self) -> list[Message]:
        taken, self._has_work_for_checker = self._has_work_for_checker and self.wakes_checker, False
        wakes = taken and self.services.wake_limit.lets_through(self.services.clock.now())
        return [tick_message(TickOrigin.DISPATCHER)] if wakes else []

    def _take_changes(self) -> list[Message]:
        taken, self._changes = self._changes, {}
        return [message for run_id, changes in taken.items() for message in changes_messages(run_id, changes)]
