"""Decide when to look at a job next, and in which order to ask about many."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

from atom_workflows.core.polling import LONGEST_POLL, poll_interval
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import StepChange, after, changed

_GOLDEN_SECTION: Final = 0.6180339887498949


def next_look(step: StepRecord, *, now: datetime, check_interval: timedelta) -> datetime:
    """Return when to look next at a job that goes on.

    Later if it was asked about in vain, sooner if its time is up.
    """
    look_at = now + poll_interval(now - (step.claimed_at or now), check_interval)
    if (step.unanswered or step.unheard_since) and step.due_at is not None and step.due_at > now:
        look_at = step.due_at
    deadline = step.attempt_deadline
    return look_at if deadline is None or deadline <= now else min(look_at, deadline)


def put_off(
    step: StepRecord, found: StepChange | None, *, now: datetime, check_interval: timedelta
) -> StepChange | None:
    """Add the next look to what a poll found, if it is over a minute away.

    Each burst, once a minute, looks at every step that is due. So a longer wait has to stand in the document.
    """
    look_at = next_look(step if found is None else after(step, found), now=now, check_interval=check_interval)
    if look_at - now <= LONGEST_POLL:
        return found
    fields = {} if found is None else dict(found.fields)
    return changed(step, StepEvent.OBSERVE, **fields | {"due_at": look_at})


def turn(step: StepRecord, *, now: datetime) -> float:
    """Return the step's place in the order of this minute's polls.

    Each minute's order begins a golden section further on than the last one's. If a slow Task Runner leaves time to ask
    about a share of its jobs only, all of them have their turn within three times as many minutes as that takes.
    """
    place = crc32(f"{step.run_id}/{step.id}".encode()) / 2**32
    return (place - now.timestamp() // 60 * _GOLDEN_SECTION) % 1
