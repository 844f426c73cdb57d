"""Decide when to look at a job next, and in which order to poll many."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

from atom_workflows.core.polling import LONGEST_POLL, poll_interval
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import StepChange, apply_change, change

_GOLDEN_SECTION: Final = 0.6180339887498949


def next_look(step: StepRecord, *, now: datetime, check_interval: timedelta) -> datetime:
    """Return the time of the next look at a job that goes on.

    It is later while polls fail, and never after the attempt's deadline unless that has passed.
    """
    look_at = now + poll_interval(now - (step.claimed_at or now), check_interval)
    if (step.unanswered or step.unheard_since) and step.due_at is not None and step.due_at > now:
        look_at = step.due_at
    deadline = step.attempt_deadline
    return look_at if deadline is None or deadline <= now else min(look_at, deadline)


def with_next_look(
    step: StepRecord, found: StepChange | None, *, now: datetime, check_interval: timedelta
) -> StepChange | None:
    """Add the next look to the result of a poll if it is over a minute away.

    Each burst, once a minute, looks at every step that is due, so only a longer wait has to stand in the document.
    """
    look_at = next_look(step if found is None else apply_change(step, found), now=now, check_interval=check_interval)
    if look_at - now <= LONGEST_POLL:
        return found
    fields = {} if found is None else dict(found.fields)
    return change(step, StepEvent.OBSERVE, **fields | {"due_at": look_at})


def poll_order(step: StepRecord, *, now: datetime) -> float:
    """Return a sort key that shuffles polls differently each minute.

    Each minute's order starts a golden section further on than the last one's. If a slow Task Runner leaves time to
    poll only a share of its jobs, all of them get their turn within three times as many minutes as that would take.
    """
    place = crc32(f"{step.run_id}/{step.id}".encode()) / 2**32
    return (place - now.timestamp() // 60 * _GOLDEN_SECTION) % 1
