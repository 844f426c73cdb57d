"""Decide when the checker looks at a job or audits a run next, and in which order it polls many jobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

from atom_workflows.core.polling import LONGEST_POLL, poll_interval
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import StepChange, apply_change, change

NEXT_AUDIT: Final = timedelta(seconds=60)
"""The time from the start or retry of a run to its first audit."""

SHORTEST_AUDIT: Final = timedelta(seconds=60)
LONGEST_AUDIT: Final = timedelta(minutes=5)
_AUDIT_SHARE_OF_AGE: Final = 10

_GOLDEN_SECTION: Final = 0.6180339887498949


def next_look(step: StepRecord, *, now: datetime, check_interval: timedelta) -> datetime:
    """Return the time of the next look at a job.

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
    """Add a distant next look to the result of a poll.

    Each burst, once a minute, looks at every step that is due, so only a longer wait has to stand in the document.
    """
    look_at = next_look(step if found is None else apply_change(step, found), now=now, check_interval=check_interval)
    if look_at - now <= LONGEST_POLL:
        return found
    fields = {} if found is None else dict(found.fields)
    return change(step, StepEvent.OBSERVE, **fields | {"due_at": look_at})


def first_audit(opened_at: datetime, deadline: datetime | None) -> datetime:
    """Return the time of a run's first audit.

    It is at the latest the run's deadline.
    """
    audit_at = opened_at + NEXT_AUDIT
    return audit_at if deadline is None else min(audit_at, deadline)


def next_audit(run: RunRecord, now: datetime) -> datetime:
    """Return the time of a run's next audit.

    It is at the latest the run's deadline. The wait is a tenth of the run's age, between `SHORTEST_AUDIT` and
    `LONGEST_AUDIT`.
    """
    age = now - (run.reopened_at or run.created_at)
    audit_at = now + min(max(age / _AUDIT_SHARE_OF_AGE, SHORTEST_AUDIT), LONGEST_AUDIT)
    return audit_at if run.deadline is None else min(audit_at, run.deadline)


def poll_order(step: StepRecord, *, now: datetime) -> float:
    """Return a sort key that shuffles polls differently each minute.

    Each minute's order starts a golden section further on than the last one's. If a slow Task Runner leaves time to
    poll only a share of its jobs, all of them get their turn within three times as many minutes as that would take.
    """
    place = crc32(f"{step.run_id}/{step.id}".encode()) / 2**32
    return (place - now.timestamp() // 60 * _GOLDEN_SECTION) % 1
