"""The steps of a run as `runs show` lists them: filtered, sorted, and a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from atom_client.text import between, counted
from atom_workflows.core.consistency import UNDER_WAY
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

RUNNING_STATES: Final = tuple(UNDER_WAY)
"""The states of steps in progress: they have been claimed and have not ended."""

_NEVER: Final = timedelta(-1)


class StepOrder(StrEnum):
    """The ways to sort steps: in the order in which they were started, or longest first."""

    STARTED = "started"
    DURATION = "duration"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """The steps to show: those in one of the states, or all if no state is given."""

    states: Sequence[StepState] = ()
    order: StepOrder = StepOrder.STARTED

    def choose(self, steps: Sequence[StepRecord], now: datetime) -> list[StepRecord]:
        """Return the steps to show, which are given in the order in which they were started."""
        chosen = [step for step in steps if not self.states or step.state in self.states]
        if self.order is StepOrder.DURATION:
            chosen.sort(key=lambda step: taken_by(step, now) or _NEVER, reverse=True)
        return chosen


def taken_by(step: StepRecord, now: datetime) -> timedelta | None:
    """Return how long a step took, or has taken so far."""
    return between(step.started_at, step.finished_at if step.state.is_terminal else now)


def count_line(steps: Sequence[StepRecord], total: int) -> str:
    """Return a line such as `273 of 300 steps ended: 27 RUNNING, 273 SUCCEEDED`.

    Of the `total` steps, those that are not among `steps` have not been written yet.
    """
    states = Counter(step.state for step in steps)
    states[StepState.PENDING] += max(0, total - len(steps))
    ended = sum(count for state, count in states.items() if state.is_terminal)
    counts = ", ".join(f"{states[state]:,} {state}" for state in StepState if states[state])
    return f"{ended:,} of {counted(max(total, len(steps)), 'step')} ended: {counts}"
