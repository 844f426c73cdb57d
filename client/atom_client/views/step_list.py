"""A run's steps, as `runs show` filters, sorts and pages them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from atom_client.text import between, counted, listing, one_line
from atom_workflows.core.consistency import UNDER_WAY
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.outcomes import OutcomeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

if TYPE_CHECKING:
    from atom_client.views.loops import LoopView

RUNNING_STATES: Final = tuple(UNDER_WAY)
"""The states of steps in progress: they have been claimed and have not ended."""

_NEVER: Final = timedelta(-1)


class StepOrder(StrEnum):
    """The ways to sort steps: by start, or longest first."""

    STARTED = "started"
    DURATION = "duration"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """The steps to show: those in one of the states.

    All are shown if no state is given.
    """

    states: Sequence[StepState] = ()
    order: StepOrder = StepOrder.STARTED

    def choose(self, steps: Sequence[StepRecord], now: datetime) -> list[StepRecord]:
        """Return the steps to show.

        `steps` must be in the order in which they were started.
        """
        chosen = [step for step in steps if not self.states or step.state in self.states]
        if self.order is StepOrder.DURATION:
            chosen.sort(key=lambda step: taken_by(step, now) or _NEVER, reverse=True)
        return chosen


def taken_by(step: StepRecord, now: datetime) -> timedelta | None:
    """Return how long a step took, or has taken so far."""
    return between(step.started_at, step.finished_at if step.state.is_terminal else now)


def count_line(steps: Sequence[StepRecord], total: int) -> str:
    """Return a line that counts the steps in each state.

    For example `273 of 300 steps ended: 27 RUNNING, 273 SUCCEEDED`. Of the `total` steps, those that are not among
    `steps` have not been written yet.
    """
    states = Counter(step.state for step in steps)
    states[StepState.PENDING] += max(0, total - len(steps))
    ended = sum(count for state, count in states.items() if state.is_terminal)
    counts = ", ".join(f"{states[state]:,} {state}" for state in StepState if states[state])
    return f"{ended:,} of {counted(max(total, len(steps)), 'step')} ended: {counts}"


def remark(step: StepRecord, loop: LoopView | None = None) -> str:
    """Return a step's message on one line.

    The message is preceded by whichever of the following apply: the run from which the step was kept, a note that the
    failure is tolerated, the state of a job that the Task Runner has not started yet, the reason why the step ended,
    and the counts of its items. The counts replace the message if the step has not ended, or if it failed because too
    many of its items did. For a waiting step, the message is the mark with which it will end, if any.
    """
    job_state = one_line(step.job_state) if step.state is StepState.RUNNING else ""
    not_running = job_state if job_state != StepState.RUNNING.value else ""
    kept = f"kept from {step.kept_from}" if step.kept_from else ""
    marks = (kept, "tolerated" if step.tolerated else "", not_running, one_line(step.reason))
    items = "" if loop is None else loop.describe()
    message = "" if items and (not step.state.is_terminal or loop_failed(step)) else one_line(step.message)
    if step.is_marked and step.state is StepState.PENDING:
        from atom_workflows.core.marks import read_mark  # noqa: PLC0415 (people mark few steps)

        message = "" if (mark := read_mark(step)) is None else one_line(mark.sentence)
    return ": ".join(filter(None, (*marks, items, message)))


def loop_failed(step: StepRecord) -> bool:
    """Return True if too many failed items made the step fail."""
    return step.last_kind == OutcomeKind.ITEMS


def unstopped_jobs(steps: Iterable[StepRecord]) -> Iterator[str]:
    """Yield lines about jobs that may still be running."""
    for step in steps:
        if step.unstopped:
            named, jobs = shown_id(step.id), listing(step.unstopped)
            yield f"Warning: the Task Runner did not stop these jobs of `{named}`, which may still be running: {jobs}"
