"""Decide what to do about hints that a job has ended.

Hints cause at most one status call per job in each `HINT_GAP`. A hint says nothing about the job; only the Task
Runner's answer does. A hint may be forged, repeated, late, lost, or early: the Task Runner may not report the end yet.
So code that acts on a hint also schedules another check `HINT_GAP` later. Until then, further hints need no action.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from atom_workflows.core.changes import StepChange, change
from atom_workflows.core.polling import HINT_GAP
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent, StepState

LONGEST_WAIT: Final = timedelta(seconds=2)
"""How long a hint waits for its turn. A hint that would wait longer is redelivered."""


class Verdict(Enum):
    """What to do about a hint."""

    # It concerns no running job, or the next look at the job will soon be due anyway.
    IGNORE = auto()
    # The dispatcher has not recorded the job yet, so the hint is needed again.
    COME_AGAIN = auto()
    # Ask the Task Runner about the job.
    ASK = auto()


def judge_hint(step: StepRecord, attempt: int, *, now: datetime) -> Verdict:
    """Decide what to do about a hint that an attempt's job ended."""
    if attempt != step.attempt:
        return Verdict.IGNORE
    if step.state is StepState.DISPATCHING:
        # Otherwise the attempt will be submitted again, and the response will report the end.
        is_submitted_now = not step.answered and step.due_at is not None and step.due_at > now
        return Verdict.COME_AGAIN if is_submitted_now else Verdict.IGNORE
    if step.state is not StepState.RUNNING:
        return Verdict.IGNORE
    is_recent = step.hinted_at is not None and abs(now - step.hinted_at) < HINT_GAP
    return Verdict.IGNORE if is_recent else Verdict.ASK


def take_hint(step: StepRecord, *, now: datetime) -> StepChange:
    """Record a hint as handled, and schedule the follow-up check."""
    return change(step, StepEvent.OBSERVE, hinted_at=now, due_at=now + HINT_GAP)
