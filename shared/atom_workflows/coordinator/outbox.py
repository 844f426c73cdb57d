"""Collect an invocation's messages, to be published once its state is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.oddities import oddity_of
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.messages.internal import ReadyStep, TickOrigin, changes_messages, ready_messages, tick_message
from atom_workflows.ports import Message

MAX_REPORTED_TEXT = 500
REPORT_AFTER_S = 0.5
_TOLD_IF_SET = ("reason", "because", "by_choice", "tolerated", "logs_url")


@dataclass(slots=True)
class Outbox:
    """The messages of one invocation, collected to be published in few requests.

    Other instances are waiting for ready steps, so these are published early. Reports to the outside world may wait
    until the end of the invocation, and share its last request. `wakes_checker` is True if the checker may not have
    noticed yet that there is work; it is then woken when a job has been submitted.
    """

    services: Services
    wakes_checker: bool = False
    _ready: dict[str, list[ReadyStep]] = field(default_factory=dict)
    _changes: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _messages: list[Message] = field(default_factory=list)
    _has_work_for_checker: bool = False
    _reported_at: datetime | None = None

    def add_ready(self, run_id: str, steps: Sequence[ReadyStep]) -> None:
        """Add steps for dispatchers to claim."""
        if steps:
            self._ready.setdefault(run_id, []).extend(steps)

    def add(self, messages: Sequence[Message]) -> None:
        """Add any other messages."""
        self._messages.extend(messages)

    def report_step(self, step: StepRecord, change: StepChange) -> None:
        """Report a step's change to the outside world.

        The checker is woken if it now has to handle the step. If the step has an oddity, the message describes it.
        """
        is_at_task_runner = change.state is StepState.RUNNING or bool(change.fields.get("deferrals"))
        # Whoever reports the end of a job wakes the checker then.
        is_quiet = change.event is StepEvent.SUBMIT and bool(change.fields.get("notifies"))
        if (is_at_task_runner and not is_quiet) or change.state is StepState.RETRYING:
            self._has_work_for_checker = True
        now = self.services.clock.now()
        if step.kind is NodeKind.EXPAND and change.event is StepEvent.SUCCEED and "items" in change.fields:
            self._changes.setdefault(step.run_id, []).append(_report_of_items(step, change, now))
        if is_internal(step.id):
            return
        message = str(change.fields.get("message", ""))
        if is_at_task_runner and (odd := oddity_of(apply_change(step, change), now=now)):
            message = ": ".join(filter(None, (odd.what, message)))
        report = {
            "step": shown_id(step.id),
            "state": change.state.value,
            "attempt": change.fields.get("attempt", step.attempt),
            "job_state": change.fields.get("job_state", step.job_state),
            "message": message[:MAX_REPORTED_TEXT],
            "at": now.isoformat(),
            **{name: change.fields[name] for name in _TOLD_IF_SET if change.fields.get(name)},
        }
        self._changes.setdefault(step.run_id, []).append(report)

    def report_run(self, run: RunRecord) -> None:
        """Report a run's new state to the outside world."""
        report: dict[str, Any] = {
            "run": run.id,
            "state": run.state.value,
            "at": self.services.clock.now().isoformat(),
            **({"outputs": dict(run.outputs)} if run.outputs else {}),
            **({"because": run.because} if run.because else {}),
        }
        self._changes.setdefault(run.id, []).append(report)

    def flush(self) -> None:
        """Publish everything, in as few requests as the bus allows."""
        messages = self._messages + self._take_ready()
        for run_id, changes in self._changes.items():
            messages += changes_messages(run_id, changes)
        has_work, self._has_work_for_checker = self._has_work_for_checker, False
        if has_work and self.wakes_checker and self.services.wake_limit.lets_through(self.services.clock.now()):
            messages.append(tick_message(TickOrigin.DISPATCHER))
        self._messages, self._changes = [], {}
        if messages:
            self.services.bus.publish(messages)

    def flush_ready(self) -> None:
        """Publish the ready steps, and reports that have waited long enough."""
        now = self.services.clock.now()
        self._reported_at = self._reported_at or now
        if (now - self._reported_at).total_seconds() >= REPORT_AFTER_S:
            self._reported_at = now
            self.flush()
        elif messages := self._take_ready():
            self.services.bus.publish(messages)

    def _take_ready(self) -> list[Message]:
        taken, self._ready = self._ready, {}
        return [message for run_id, steps in taken.items() for message in ready_messages(run_id, steps)]


def _report_of_items(expander: StepRecord, change: StepChange, now: datetime) -> dict[str, Any]:
    """Return the change that shows a loop as RUNNING."""
    return {
        "step": expander.each,
        "state": StepState.RUNNING.value,
        "attempt": expander.attempt,
        "job_state": "",
        "message": "",
        "at": now.isoformat(),
        "items": change.fields["items"],
    }
