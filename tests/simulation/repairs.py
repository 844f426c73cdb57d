"""Counts what set a run going again. A simulation that never needs a repair does not show that repairs work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from logging import WARNING
from typing import Any, Final

from atom_workflows import log
from atom_workflows.core.item_ids import parse_item_id
from atom_workflows.core.outcomes import OutcomeKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.ports import Message, Update, Write
from simulation.trace import Trace


class Repair(StrEnum):
    """The kinds of repairs."""

    STARTED_AGAIN = "start came again and went on with its run"
    BATCH_KNOWN = "batch of steps was found written"
    SEED_RESUMED = "seeding or retry resumed by the audit"
    AUDITED = "released step published by the audit"
    FORWARDED = "released step published on redelivery"
    HANDED_ON = "step handed on when its dispatcher's lease was over"
    REFUSED = "decision refused, as another one came first"
    DEFERRED = "submission put off"
    POLL_PUT_OFF = "look at a job put off"
    JOB_LOST = "job given up as lost"
    LOST_IN_DISPATCH = "attempt failed, as no one knows its job"
    ATTEMPT_TIMED_OUT = "attempt ended by its timeout"
    RUN_TIMED_OUT = "run ended by its timeout"
    CANCELLED_BY_AUDIT = "cancelled run closed by the audit"
    BURST_TAKEN_OVER = "burst's lease taken over from one that died"
    PAGED = "page of a sweep handed to another instance"
    CORRECTED = "counters corrected by the consistency check"
    WATCHED_AGAIN = "step or run's end made due again by the doctor"
    ENDED_AS_BROKEN = "run ended, as documents of it are gone"
    EXPANSION_RESUMED = "creation of items continued by another handler"
    EXPANSION_OVERTAKEN = "creation of items left to another handler"
    EXPANDED_ANEW = "items created anew, as their list may have changed"
    ITEM_RETRIED = "item run again by a retry, from the same list"
    GIVEN_UP = "event given up after its last delivery"


_BY_ACTION: Final[Mapping[str, Repair]] = {
    "run.start.again": Repair.STARTED_AGAIN,
    "run.seed.again": Repair.BATCH_KNOWN,
    "run.seed.repair": Repair.SEED_RESUMED,
    "run.stop.timeout": Repair.RUN_TIMED_OUT,
    "step.defer": Repair.DEFERRED,
    "step.miscounted.fixed": Repair.CORRECTED,
    "step.unwatched.fixed": Repair.WATCHED_AGAIN,
    "step.expand.overtaken": Repair.EXPANSION_OVERTAKEN,
    "run.broken": Repair.ENDED_AS_BROKEN,
    "event.given_up": Repair.GIVEN_UP,
}


@dataclass(slots=True)
class Repairs:
    """Counts the repairs of one simulation by what is decided and published."""

    trace: Trace
    counts: Counter[Repair] = field(default_factory=Counter)
    mixed_pages: int = 0
    _expanded_by: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive log records instead of the log."""
        before = log._write
        log._write = self._on_log
        try:
            yield
        finally:
            log._write = before

    def _on_log(
        self,
        level: int,
        action: str,
        message: str,
        details: dict[str, Any],  # noqa: ARG002 - of no use here
        trace_of: BaseException | None = None,  # noqa: ARG002 - of no use here
    ) -> None:
        if level >= WARNING or action.endswith(".again"):
            self.trace.note("says", f"{action}: {message}")
        if action == "step.ready.again":
            self.counts[Repair.HANDED_ON if level >= WARNING else Repair.FORWARDED] += 1
        elif action.startswith("step.") and action.endswith(".refused"):
            self.counts[Repair.REFUSED] += 1
        elif action in _BY_ACTION:
            self.counts[_BY_ACTION[action]] += 1

    def on_accepted(self, message: Message, by: str) -> None:
        """Count the repairs that a published message shows.

        `by` is the name of the handler that published it.
        """
        kind = message.body.get("type")
        if kind == "sweep.page":
            self.counts[Repair.PAGED] += 1
        elif kind == "step.ready" and by.startswith("tick"):
            self.counts[Repair.AUDITED] += sum(step["attempt"] is None for step in message.body["steps"])
        elif kind == "steps.completed":
            for outcome in message.body["outcomes"]:
                self._on_outcome(outcome)

    def on_due(self, paths: Iterable[str]) -> None:
        """Note a page of due steps that the checker got."""
        self.mixed_pages += len({path.split("/")[1] for path in paths}) > 1

    def on_commit(self, writes: Iterable[Write], by: str) -> None:
        """Count the repairs that a commit shows.

        `by` is the name of the handler that made it.
        """
        for write in writes:
            if not isinstance(write, Update):
                continue
            self._on_update_of_loop(write, by)
            fields = write.fields
            if fields.get("unanswered"):
                self.counts[Repair.POLL_PUT_OFF] += 1
            if by.startswith("tick") and fields.get("state") == RunState.CANCELLED and "errors" in fields:
                self.counts[Repair.CANCELLED_BY_AUDIT] += 1

    def _on_update_of_loop(self, write: Update, by: str) -> None:
        fields, before = write.fields, self._expanded_by.get(write.path)
        if fields.get("state") == StepState.PENDING.value:
            self.counts[Repair.EXPANDED_ANEW] += fields.get("expansion", 1) > 1
            self.counts[Repair.ITEM_RETRIED] += parse_item_id(write.path.rpartition("/")[2]) is not None
            self._expanded_by.pop(write.path, None)
        elif fields.get("written"):
            self.counts[Repair.EXPANSION_RESUMED] += before not in {None, by}
            self._expanded_by[write.path] = by

    def _on_outcome(self, outcome: Mapping[str, Any]) -> None:
        if outcome["kind"] == OutcomeKind.TIMED_OUT:
            self.counts[Repair.ATTEMPT_TIMED_OUT] += 1
        elif outcome["kind"] == OutcomeKind.LOST:
            self.counts[Repair.JOB_LOST if outcome["job_id"] else Repair.LOST_IN_DISPATCH] += 1
