"""Turn the result of a poll into a change to the step.

A poll has four possible results: the job ended (an `Outcome`, see outcomes.py), it is still running, the Task Runner
does not know it, or the call failed. A failed call says nothing about the job: it is repeated with back-off, and never
counts as a failure of the job. An unknown job gets a grace period, because a Task Runner may be slow to list a new job.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from zlib import crc32

from atom_workflows.core.changes import StepChange, apply_change, backoff_delay, change, not_after_deadline
from atom_workflows.core.outcomes import Outcome, OutcomeKind, clip, is_running
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.workflow import Backoff

MISSING_GRACE: Final = timedelta(seconds=60)
"""How long a Task Runner may keep reporting a job as unknown before the job counts as lost."""

POLL_BACKOFF: Final = Backoff(initial=timedelta(seconds=5), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2)
"""The wait before the next poll after one or more polls have failed."""

SOONEST_POLL: Final = 0.2
"""The wait before the first poll, and the shortest wait between two polls, as a fraction of the checker's interval."""

WORTH_WAITING: Final = 1.5
"""The maximum number of intervals that a burst waits for its next check; a later check is left to the next tick."""

LONGEST_POLL: Final = timedelta(seconds=60)
_SHARE_OF_AGE: Final = 20
_SHARE_OF_YOUNG_AGE: Final = 2


def poll_interval(age: timedelta, check_interval: timedelta) -> timedelta:
    """Return the wait between two polls of a job, given its age.

    Young jobs are polled often, since many end soon; a job that has run for an hour is unlikely to end in the next ten
    seconds. At first, the wait is half the job's age; then it is `check_interval`; later it is a twentieth of the age,
    but no longer than a minute.
    """
    while_young = min(max(age / _SHARE_OF_YOUNG_AGE, check_interval * SOONEST_POLL), check_interval)
    return max(while_young, min(age / _SHARE_OF_AGE, LONGEST_POLL))


NOTIFIED_POLL: Final = timedelta(minutes=5)
"""The wait between two polls of a job if its Task Runner sends hints (see hints.py), which may get lost."""


HINT_GAP: Final = timedelta(seconds=5)
"""The wait between acting on a hint and the next check of its job, and the minimum time between two such actions."""


def first_wait(check_interval: timedelta, *, notifies: bool) -> timedelta:
    """Return the wait before the first poll of a job."""
    return NOTIFIED_POLL if notifies else poll_interval(timedelta(0), check_interval)


def young_age(check_interval: timedelta) -> timedelta:
    """Return the age up to which jobs count as young.

    Young jobs are polled at least once every `WORTH_WAITING` intervals.
    """
    return _SHARE_OF_AGE * WORTH_WAITING * check_interval


def record_progress(  # noqa: PLR0913 (the fields of a response, for which the core has no single type)
    step: StepRecord, *, job_state: str, message: str, now: datetime, logs_url: str = "", notifies: bool = False
) -> StepChange | None:
    """Record the progress of a job that has not ended.

    Returns None if the response contains nothing new, so that nothing is written. A changed message alone is ignored.
    Only the first log address and the first time at which the job was RUNNING are recorded.
    """
    learnt: dict[str, Any] = {"notifies": True} if notifies and not step.notifies else {}
    if logs_url and not step.logs_url:
        learnt["logs_url"] = logs_url
    if job_state == step.job_state and step.missing_since is None and not step.unanswered:
        return change(step, StepEvent.OBSERVE, **learnt) if learnt else None
    fields: dict[str, Any] = {"job_state": job_state, "message": clip(message), "missing_since": None}
    if is_running(job_state) and not is_running(step.job_state) and step.running_at is None:
        fields["running_at"] = now
    if step.unanswered:
        # The back-off has moved `due_at` into the future; return to the normal pace.
        fields |= {"unanswered": 0, "due_at": now}
    return change(step, StepEvent.OBSERVE, **fields, **learnt)


def back_off_poll(step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None) -> StepChange:
    """Back off after a failed poll.

    A failed poll says nothing about the job's state. It also restarts the grace period of an unknown job, which counts
    as lost only if the Task Runner reports it as unknown without interruption.
    """
    polls = step.unanswered + 1
    seed = f"{step.idempotency_key}/poll/{polls}"
    wait = backoff_delay(POLL_BACKOFF, tries=polls, seed=seed, at_least_s=retry_after_s)
    times = "" if polls == 1 else f" {polls} times in a row"
    since = step.unanswered_since if step.unanswered else None
    return change(
        step,
        StepEvent.OBSERVE,
        message=clip(f"polling job {step.job_id} failed{times}: {reason}"),
        due_at=not_after_deadline(step, now + wait, now=now),
        unanswered=polls,
        unanswered_since=since or now,
        missing_since=None,
    )


def await_unknown_job(step: StepRecord, *, now: datetime) -> StepChange | Outcome | None:
    """Count down the grace period of an unknown job.

    Returns a LOST outcome once the period is over, or None if there is nothing new to write.
    """
    since = step.missing_since or now
    if now - since >= MISSING_GRACE:
        return Outcome(
            step_id=step.id,
            attempt=step.attempt,
            kind=OutcomeKind.LOST,
            message=f"the Task Runner no longer knows job {step.job_id}",
            job_id=step.job_id,
            job_state=step.job_state,
            missing_since=since,
        )
    if step.missing_since is not None and not step.unanswered:
        return None
    fields = {"unanswered": 0, "due_at": now} if step.unanswered else {}
    return change(step, StepEvent.OBSERVE, missing_since=since, **fields)


NEXT_AUDIT: Final = timedelta(seconds=60)
"""The time from the start or retry of a run to its first audit."""

SHORTEST_AUDIT: Final = timedelta(seconds=60)
LONGEST_AUDIT: Final = timedelta(minutes=5)
_AUDIT_SHARE_OF_AGE: Final = 10

_GOLDEN_SECTION: Final = 0.6180339887498949


def next_look(step: StepRecord, *, now: datetime, check_interval: timedelta) -> datetime:
    """Return the time at which to check a job next.

    The time is later while polls fail, but never after the attempt's deadline, unless that has already passed.
    """
    if step.being_stopped_for:
        if step.is_stop_over and step.due_at is not None and step.due_at > now:
            return step.due_at
        return now + poll_interval(now - (step.stop_since or now), check_interval)
    age = now - (step.claimed_at or now)
    look_at = now + (NOTIFIED_POLL if step.notifies else poll_interval(age, check_interval))
    if step.due_at is not None and step.due_at > now:
        # After a hint, the step is to be looked at again.
        is_hinted = step.hinted_at is not None and step.due_at - step.hinted_at <= HINT_GAP
        if step.unanswered or step.unheard_since or is_hinted:
            look_at = step.due_at
    deadline = step.attempt_deadline
    return look_at if deadline is None or deadline <= now else min(look_at, deadline)


def with_next_look(
    step: StepRecord, found: StepChange | None, *, now: datetime, check_interval: timedelta
) -> StepChange | None:
    """Add the time of the next check to a poll's result.

    This is done only if needed: there is a burst every minute, and it checks every step that is due, so only a longer
    wait has to be stored in the document.
    """
    look_at = next_look(step if found is None else apply_change(step, found), now=now, check_interval=check_interval)
    if look_at - now <= LONGEST_POLL:
        return found
    fields = {} if found is None else dict(found.fields)
    return change(step, StepEvent.OBSERVE, **fields | {"due_at": look_at})


def first_audit(opened_at: datetime, *limits: datetime | None) -> datetime:
    """Return the time of a run's first audit.

    It is never later than the run's limits: its deadline, and the time from which it is late.
    """
    return min([opened_at + NEXT_AUDIT, *(one for one in limits if one is not None)])


def next_audit(run: RunRecord, now: datetime) -> datetime:
    """Return the time of a run's next audit.

    The wait is a tenth of the run's age, but no shorter than `SHORTEST_AUDIT` and no longer than `LONGEST_AUDIT`. The
    audit is never later than the run's deadline, or the time from which it is late.
    """
    age = now - (run.reopened_at or run.created_at)
    audit_at = now + min(max(age / _AUDIT_SHARE_OF_AGE, SHORTEST_AUDIT), LONGEST_AUDIT)
    limits = (run.deadline, None if run.late else run.late_at)
    return min([audit_at, *(one for one in limits if one is not None)])


def poll_order(step: StepRecord, *, now: datetime) -> float:
    """Return a sort key that shuffles polls differently each minute.

    Each minute's order starts one golden section further along than the previous minute's. Even if a slow Task Runner
    leaves time to poll only one job in n each minute, all of its jobs are polled within 3n minutes.
    """
    place = crc32(f"{step.run_id}/{step.id}".encode()) / 2**32
    return (place - now.timestamp() // 60 * _GOLDEN_SECTION) % 1
