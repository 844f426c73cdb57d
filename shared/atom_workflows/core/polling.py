"""What a look at a job tells of its step: it goes on, it is unknown, or nobody answered.

How it ended is an `Outcome`, as in transitions.py.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from zlib import crc32

from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import (
    Outcome,
    OutcomeKind,
    StepChange,
    after,
    changed,
    clip,
    delayed,
    not_after_deadline,
)
from atom_workflows.core.workflow import Backoff

MISSING_GRACE: Final = timedelta(seconds=60)
"""How long a Task Runner may say, and nothing else, that it does not know a job before the job counts as lost."""

POLL_BACKOFF: Final = Backoff(initial=timedelta(seconds=5), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2)
"""The wait before a job is looked at again after status calls that failed."""

SOONEST_POLL: Final = 0.2
"""The first look at a job and the shortest wait between two, as a share of the checker's interval."""

WORTH_WAITING: Final = 1.5
"""Intervals that a burst waits for its next look: with nothing to do for longer it leaves that to the next tick."""

LONGEST_POLL: Final = timedelta(seconds=60)
_SHARE_OF_AGE: Final = 20
_SHARE_OF_YOUNG_AGE: Final = 2


def poll_interval(age: timedelta, check_interval: timedelta) -> timedelta:
    """How long after a look at a job of that age the next one is due.

    A job that has just begun may end soon; one that has run for an hour will hardly end in the next ten seconds. So its
    end is noticed within half its age while it is young, then within the checker's interval, then within a twentieth of
    its age, and never later than a minute.
    """
    young = min(max(age / _SHARE_OF_YOUNG_AGE, check_interval * SOONEST_POLL), check_interval)
    return max(young, min(age / _SHARE_OF_AGE, LONGEST_POLL))


def young_age(check_interval: timedelta) -> timedelta:
    """The age up to which a job is looked at at least every `WORTH_WAITING` intervals."""
    return _SHARE_OF_AGE * WORTH_WAITING * check_interval


def observed(step: StepRecord, *, job_state: str, message: str, now: datetime) -> StepChange | None:
    """A job that goes on; None if that told nothing new, so that nothing is written."""
    if job_state == step.job_state and step.missing_since is None and not step.unanswered:
        return None
    learnt: dict[str, Any] = {
        "job_state": job_state,
        "message": clip(message),
        "missing_since": None,
    }
    if step.unanswered:
        learnt |= {"unanswered": 0, "due_at": now}
    return changed(step, StepEvent.OBSERVE, **learnt)


def unanswered(step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None) -> StepChange:
    """A status call that failed: it says nothing of the job, which is looked at again after a wait that grows.

    Nor does it let the Task Runner's word go on that it does not know the job: that must be uninterrupted.
    """
    calls = step.unanswered + 1
    wait = delayed(POLL_BACKOFF, tries=calls, seed=f"{step.idempotency_key}/poll/{calls}", at_least_s=retry_after_s)
    often = "" if calls == 1 else f", {calls} times in a row"
    message = clip(f"its job {step.job_id} could not be looked at{often}: {reason}")
    due_at = not_after_deadline(step, now + wait, now=now)
    since = step.unanswered_since if step.unanswered else None
    heard = {"unanswered": calls, "unanswered_since": since or now, "missing_since": None}
    return changed(step, StepEvent.OBSERVE, message=message, due_at=due_at, **heard)


def missing(step: StepRecord, *, now: datetime) -> StepChange | Outcome | None:
    """A poll that the Task Runner answered with "unknown job": if it says nothing else for a while, the job is lost."""
    since = step.missing_since or now
    if now - since < MISSING_GRACE:
        if step.missing_since is not None and not step.unanswered:
            return None
        heard = {"unanswered": 0, "due_at": now} if step.unanswered else {}
        return changed(step, StepEvent.OBSERVE, missing_since=since, **heard)
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=OutcomeKind.LOST,
        message=f"the Task Runner no longer knows job {step.job_id}",
        job_id=step.job_id,
        job_state=step.job_state,
        missing_since=since,
    )


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
