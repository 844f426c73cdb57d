"""Decide whether and how long a job being stopped delays its step.

A job is stopped in four situations:

- Its attempt has timed out (`StopFor.TIMEOUT`). The step stays RUNNING until the job has ended; only then does the
  timeout count, and the next attempt may begin.
- Its run is being closed (`StopFor.RUN`). The step stays RUNNING until the job has ended, but for no longer than
  `RUN_WAIT`: closing a run ends its steps in any case.
- A person has marked its step as succeeded or skipped (`StopFor.MARK`). The step stays RUNNING until the job has ended,
  and then ends as marked (see marks.py), whatever the job reports.
- A new attempt begins although earlier ones may have left jobs running (`leftovers`), for example after a user has
  retried a cancelled run. The attempt waits until these have ended, one after the other, before it submits its own.

The id of an earlier attempt's job may be unknown: its dispatcher died, or is still waiting for an answer while a user
has cancelled and retried the run, or the answer was lost. Such an attempt is `unresolved`, and its job is looked up by
its key. Known jobs are stopped first; then unresolved attempts are handled one after the other.

If there is no such job, a dispatcher may still submit it, but only during its lease, which began before the attempt
ended (`unresolved_since`). Once enough time has passed for even the last job that it could have started to be listed
(`MISSING_GRACE`), the answer "none" is final. Until then, `onLost` decides. `retry` takes the key away from that
dispatcher by submitting the earlier attempt: a Task Runner that honors keys starts a job, which is stopped at once, and
no late submission can start another. `fail` waits.

A Task Runner that cannot look up keys answers such a submission with the job that it has already started, or starts
one, which is stopped at once. With `onLost: fail`, this happens only after the lease: a user retried the run, so
another submission is allowed, but a report from the dispatcher, if it is still alive, makes it unnecessary.

An answer that there is no such job is not trusted at once: a Task Runner may be slow to list a new job (see
polling.py).

Stopping is best effort. Each wait is bounded, whatever the Task Runner does: after `stop_timeout`, the step fails if
the Task Runner had accepted the request, because another attempt would run alongside the job; otherwise, the step goes
on as if the Task Runner could not stop jobs. A marked step then ends, and its job is listed as one that may still run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.changes import MAX_LEFTOVERS, StepChange, add_unstopped, change
from atom_workflows.core.durations import format_duration
from atom_workflows.core.kinds import Phase
from atom_workflows.core.outcomes import NOT_STOPPED, Outcome, OutcomeKind, clip
from atom_workflows.core.polling import MISSING_GRACE, poll_interval
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopFor, StopStage
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.transitions import apply_outcome, time_out_stopped
from atom_workflows.core.workflow import OnLost

RUN_WAIT: Final = timedelta(seconds=30)
"""How long the end of a run waits for its jobs to stop."""

_LONGEST_SUBMISSION: Final = timedelta(seconds=60)


class JobFate(StrEnum):
    """The possible states of a job after a request to stop it."""

    ENDED = "ended"
    # The Task Runner does not know the job (any longer), so it does not run.
    GONE = "gone"
    # The Task Runner says that it does not know the job, and has not accepted a request to stop it. A new job may not
    # be listed yet.
    UNKNOWN = "unknown"
    # The Task Runner cannot stop jobs.
    CANNOT = "cannot"
    # The Task Runner has accepted the request, but the job has not ended as far as is known.
    ACCEPTED = "accepted"
    # The Task Runner has not accepted the request, and the job has not ended as far as is known.
    UNANSWERED = "unanswered"


class KeyLookup(StrEnum):
    """The possible results of looking up an earlier attempt's job by key."""

    FOUND = "found"
    # There is no such job, unless it is too new to be listed or a submission that is still on its way starts one.
    NONE = "none"
    # The Task Runner cannot look keys up.
    CANNOT = "cannot"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """The result of one check of a job that is being stopped.

    `outcome` is the result of a job that has ended; `job_state` is the latest state of a job that has not ended, or ""
    if the Task Runner has not reported any.
    """

    fate: JobFate
    outcome: Outcome | None = None
    job_state: str = ""


# -- the job of a RUNNING step ---------------------------------------------------------------------------------------


def stop_after_timeout(step: StepRecord, *, now: datetime) -> StepChange:
    """Begin to stop the job of an attempt that has timed out."""
    late = f"timed out after {format_duration(step.policies.timeout)}"
    return _begin(step, StopFor.TIMEOUT, late, now)


def stop_with_run(step: StepRecord, stop: Stop, *, now: datetime) -> StepChange | None:
    """Begin to stop a step's job because its run is being closed.

    Returns None if the step is to be ended now: it has no job, or its job has stopped or has had enough time to stop.
    """
    if step.state is not StepState.RUNNING or not step.job_id or step.is_stop_over:
        return None
    if step.being_stopped_for != StopFor.RUN:
        return _begin(step, StopFor.RUN, stop.reason, now)
    return None


def stop_for_mark(step: StepRecord, reason: str, *, now: datetime) -> StepChange:
    """Begin to stop the job of a step that a person marked."""
    return _begin(step, StopFor.MARK, reason, now)


def waits_for_stop(step: StepRecord, *, now: datetime) -> bool:
    """Return True if the run's end must wait for the step's job."""
    if step.being_stopped_for != StopFor.RUN or step.is_stop_over or step.stop_since is None:
        return False
    # The clock that set the time may be ahead.
    return abs(now - step.stop_since) < RUN_WAIT


def _begin(step: StepRecord, why: StopFor, reason: str, now: datetime) -> StepChange:
    accepted = step.being_stopped_for and step.stop_stage == StopStage.ACCEPTED
    return change(
        step,
        StepEvent.OBSERVE,
        stop_for=why.value,
        stop_attempt=step.attempt,
        stop_stage=StopStage.ACCEPTED.value if accepted else StopStage.REQUESTED.value,
        stop_since=now,
        due_at=now,
        message=clip(f"{reason}; job {step.job_id} is being stopped"),
    )


def without_stop(outcome: Outcome) -> Outcome:
    """Add to a timeout's message that the job cannot be stopped."""
    return replace(outcome, message=clip(f"{outcome.message}; its Task Runner cannot stop jobs"), may_run=True)


def forget_run_stop(step: StepRecord, *, now: datetime) -> StepChange:
    """Resume polling a job whose run is not being closed after all."""
    return change(step, StepEvent.OBSERVE, stop_for="", due_at=now)


def was_stopped(step: StepRecord, run: RunRecord) -> bool:
    """Return True if stopping the step's part of the run has begun."""
    return run.stop is not None or (step.phase is not Phase.FINALLY and run.stop_reason is not None)


def is_close_late(step: StepRecord, *, now: datetime) -> bool:
    """Return True if closing the run should have ended the step."""
    return step.being_stopped_for == StopFor.RUN and now - (step.stop_since or now) > RUN_WAIT


def judge_stop(
    step: StepRecord, report: StopReport, *, now: datetime, stop_timeout: timedelta
) -> StepChange | Outcome | None:
    """Decide how to proceed after checking a job that is being stopped.

    A job that turns out to have succeeded counts as a success, unless a person marked its step. Returns None if there
    is nothing new.
    """
    if report.outcome is not None and report.outcome.kind is OutcomeKind.SUCCEEDED:
        return report.outcome
    if report.fate is JobFate.UNKNOWN:
        report = replace(report, fate=JobFate.UNANSWERED if _may_be_too_new(step, now) else JobFate.GONE)
    is_open = report.fate in {JobFate.ACCEPTED, JobFate.UNANSWERED}
    is_new = report.fate is JobFate.ACCEPTED and step.stop_stage != StopStage.ACCEPTED
    is_late = now - (step.stop_since or now) >= stop_timeout and step.being_stopped_for != StopFor.RUN
    if is_open and (is_new or not is_late):
        return _record_stage(step, report, now)
    if step.being_stopped_for == StopFor.RUN:
        return _end_wait(step, report, now)
    if step.being_stopped_for == StopFor.MARK:
        return report.outcome or _leave(step, report)
    return _time_out(step, report, stop_timeout)


def _may_be_too_new(step: StepRecord, now: datetime) -> bool:
    """Return True if the job may be too new to be listed.

    Returns False if the attempt has timed out: its job has either been listed before or had minutes to appear.
    """
    if step.being_stopped_for == StopFor.TIMEOUT or step.claimed_at is None:
        return False
    was_submitted_late = step.deferrals > 0 or step.is_unsure
    return was_submitted_late or now - step.claimed_at < MISSING_GRACE + _LONGEST_SUBMISSION


def was_accepted(step: StepRecord) -> bool:
    """Return True if the request to stop the awaited job was accepted."""
    return step.stop_attempt == step.attempt and step.stop_stage == StopStage.ACCEPTED


def _record_stage(step: StepRecord, report: StopReport, now: datetime) -> StepChange | None:
    fields: dict[str, Any] = {}
    if report.fate is JobFate.ACCEPTED and step.stop_stage != StopStage.ACCEPTED:
        fields["stop_stage"] = StopStage.ACCEPTED.value
        if step.being_stopped_for != StopFor.RUN:
            fields["stop_since"] = now
    if report.job_state and report.job_state != step.job_state:
        fields["job_state"] = report.job_state
    return change(step, StepEvent.OBSERVE, **fields) if fields else None


def _end_wait(step: StepRecord, report: StopReport, now: datetime) -> StepChange:
    """Record that the run no longer needs to wait for the job."""
    unstopped = add_unstopped(step, step.job_id) if report.fate is JobFate.CANNOT else {}
    job_state = step.job_state if report.outcome is None else report.outcome.job_state
    # Closing the run ends the step. If that takes long, the step need not be looked at again before.
    due_at = now + RUN_WAIT
    return change(
        step, StepEvent.OBSERVE, stop_stage=StopStage.OVER.value, job_state=job_state, due_at=due_at, **unstopped
    )


def _leave(step: StepRecord, report: StopReport) -> Outcome:
    """Return the outcome of a marked step that leaves its job behind."""
    may_run = report.fate is not JobFate.GONE
    what = "could not be stopped" if may_run else "is no longer known to its Task Runner"
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=OutcomeKind.CANCELLED,
        message=f"job {step.job_id} {what}",
        job_id=step.job_id,
        job_state=report.job_state or step.job_state,
        may_run=may_run,
    )


def _time_out(step: StepRecord, report: StopReport, stop_timeout: timedelta) -> Outcome:
    if report.outcome is not None:
        return time_out_stopped(step, report.outcome)
    job_state = report.job_state or step.job_state
    unheard = "" if report.job_state else ", and its Task Runner has not responded to the latest query"
    went_on = report.fate is JobFate.ACCEPTED
    what = {
        JobFate.GONE: f"its Task Runner no longer knows job {step.job_id}",
        JobFate.CANNOT: f"the last known state of job {step.job_id} is {job_state}; its Task Runner cannot stop jobs",
        JobFate.ACCEPTED: (
            f"job {step.job_id} had not ended {format_duration(stop_timeout)} after its Task Runner accepted the "
            f"request to stop it; its last known state is {job_state}{unheard}"
        ),
        JobFate.UNANSWERED: (
            f"for {format_duration(stop_timeout)}, its Task Runner has not responded to requests to stop job "
            f"{step.job_id}, whose last known state is {job_state}"
        ),
    }[report.fate]
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=OutcomeKind.TIMED_OUT,
        message=clip(f"timed out after {format_duration(step.policies.timeout)}; {what}"),
        job_id=step.job_id,
        job_state=job_state,
        reason=NOT_STOPPED if went_on else "",
        may_run=report.fate is not JobFate.GONE,
    )


# -- the jobs of earlier attempts ------------------------------------------------------------------------------------


def judge_lookup(  # noqa: PLR0913 (each is one thing that the decision depends on)
    step: StepRecord,
    lookup: KeyLookup,
    job_id: str,
    *,
    now: datetime,
    lease: timedelta,
    stop_timeout: timedelta,
    check_interval: timedelta,
) -> StepChange | dict[str, Any] | None:
    """Decide how to proceed after looking up an unresolved attempt's job.

    The attempt is the first unresolved one of a claimed step. `job_id` is the job that was found and may still be
    running, or "". `lease` is how long a dispatcher may keep working on the attempt. Returns None if the attempt has to
    be submitted again, and otherwise the same as `judge_unresolved`.
    """
    waits_since = _waits_since(step, now)
    # After the lease, no one submits the attempt any more, but the last submission's job may not be listed yet.
    settled_after = lease + MISSING_GRACE if lookup is KeyLookup.NONE else lease
    is_final = now - (step.unresolved_since or waits_since) >= settled_after
    if lookup is KeyLookup.FOUND or (lookup is KeyLookup.NONE and is_final):
        # Without a job to stop, the wait for the next attempt need not start over.
        return _resolve(step, job_id or None, now)
    is_heard = lookup is not KeyLookup.UNANSWERED or now - waits_since >= stop_timeout
    if step.policies.on_lost is OnLost.RETRY or (is_final and is_heard):
        return None
    return _wait_for_unresolved(step, now, check_interval)


def judge_unresolved(  # noqa: PLR0913 (each is one thing that the decision depends on)
    step: StepRecord,
    *,
    job_id: str | None,
    now: datetime,
    longest: timedelta,
    check_interval: timedelta,
    was_sent: bool = False,
) -> StepChange | dict[str, Any]:
    """Decide how to proceed after trying to resubmit an unresolved attempt.

    The attempt is the first unresolved one of a claimed step. `job_id` is the job that may still be running, "" if
    there is none, or None if that is not known yet; in that case, `was_sent` says whether the resubmission may start
    one. Returns the change that makes the step wait, for no longer than `longest`, or the fields to save together with
    the step's own submission.
    """
    if job_id is None and now - _waits_since(step, now) < longest:
        sent = {"unresolved_since": now} if was_sent else {}
        return _wait_for_unresolved(step, now, check_interval, **sent)
    return _resolve(step, job_id, now)


def _wait_for_unresolved(step: StepRecord, now: datetime, check_interval: timedelta, **fields: Any) -> StepChange:
    what = f"attempt {step.unresolved[0]} may have started a job whose id is not known yet; that job is stopped first"
    return _wait(step, what, now, check_interval, stop_since=_waits_since(step, now), **fields)


def _resolve(step: StepRecord, job_id: str | None, now: datetime) -> dict[str, Any]:
    """Return the fields that mark the first unresolved attempt as resolved.

    `job_id` is the attempt's job, "" if there is none, or None if it could not be determined.
    """
    resolved: dict[str, Any] = {"unresolved": step.unresolved[1:], "claimed_at": now, **_without_deferrals(step)}
    if len(step.unresolved) == 1 and step.unresolved_since is not None:
        resolved["unresolved_since"] = None
    if job_id is not None:
        resolved |= _begin_next_wait(now)
    return resolved | ({"leftovers": _with_job(step, job_id)} if job_id else {})


def _without_deferrals(step: StepRecord) -> dict[str, Any]:
    """Return the field that prevents waits from counting as failed submissions."""
    return {"deferrals": 0} if step.deferrals else {}


def _begin_next_wait(now: datetime) -> dict[str, Any]:
    """Return the fields that begin the wait for another earlier job."""
    return {"stop_since": now, "stop_stage": StopStage.REQUESTED.value}


def record_orphan(step: StepRecord, attempt: int, job_id: str) -> dict[str, Any]:
    """Return the fields that record the job of an ended attempt."""
    fields: dict[str, Any] = {"leftovers": _with_job(step, job_id)}
    if step.unsure_attempt == attempt:
        fields["unsure_attempt"] = 0
    if attempt in step.unresolved:
        fields["unresolved"] = tuple(one for one in step.unresolved if one != attempt)
    return fields


def _with_job(step: StepRecord, job_id: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*step.leftovers, job_id)))[-MAX_LEFTOVERS:]


def _waits_since(step: StepRecord, now: datetime) -> datetime:
    return step.stop_since if step.stop_attempt == step.attempt and step.stop_since is not None else now


def _wait(
    step: StepRecord, message: str, now: datetime, check_interval: timedelta, *, stop_since: datetime, **fields: Any
) -> StepChange:
    """Postpone the submission, because an earlier job has to end first."""
    return change(
        step,
        StepEvent.DEFER,
        deferrals=step.deferrals + 1,
        due_at=now + poll_interval(now - stop_since, check_interval),
        answered=True,
        stop_attempt=step.attempt,
        stop_since=stop_since,
        stop_for="",
        message=message,
        **fields,
    )


def judge_leftover(
    step: StepRecord, report: StopReport, *, now: datetime, stop_timeout: timedelta, check_interval: timedelta
) -> StepChange | dict[str, Any]:
    """Decide whether a claimed step may proceed despite an earlier attempt's job.

    `report` is the result of checking the first job that is left over from earlier attempts. Returns the change that
    makes the step wait or fail, or the fields to save together with its submission. The attempt's timeout starts only
    when these fields are saved.
    """
    leftover, *others = step.leftovers
    since = _waits_since(step, now)
    is_accepted = report.fate is JobFate.ACCEPTED
    if is_accepted and not was_accepted(step):
        since = now
    missing_since = (step.missing_since or now) if report.fate is JobFate.UNKNOWN else None
    is_missing = missing_since is not None and now - missing_since < MISSING_GRACE
    if is_missing or (report.fate in {JobFate.ACCEPTED, JobFate.UNANSWERED} and now - since < stop_timeout):
        stage = StopStage.ACCEPTED if was_accepted(step) or is_accepted else StopStage.REQUESTED
        what = f"job {leftover} of an earlier attempt is being stopped first"
        unknown = {"missing_since": missing_since} if missing_since != step.missing_since else {}
        return _wait(step, what, now, check_interval, stop_since=since, stop_stage=stage.value, **unknown)
    if is_accepted:
        return _fail_beside_leftover(step, report, now, stop_timeout)
    if report.fate in {JobFate.ENDED, JobFate.GONE, JobFate.UNKNOWN}:
        open_jobs = tuple(job_id for job_id in step.unstopped if job_id != leftover)
        unstopped = {"unstopped": open_jobs} if open_jobs != step.unstopped else {}
    else:
        unstopped = add_unstopped(step, leftover)
    known = {"missing_since": None} if step.missing_since else {}
    waits = _begin_next_wait(now) if others or step.unresolved else {}
    return {"leftovers": tuple(others), "claimed_at": now, **_without_deferrals(step), **known, **waits, **unstopped}


def _fail_beside_leftover(
    step: StepRecord, report: StopReport, now: datetime, stop_timeout: timedelta
) -> StepChange | dict[str, Any]:
    message = (
        f"not submitted: job {step.leftovers[0]} of an earlier attempt had not ended {format_duration(stop_timeout)} "
        f"after its Task Runner accepted the request to stop it"
    )
    outcome = Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=OutcomeKind.TIMED_OUT,
        message=message,
        job_id=step.leftovers[0],
        job_state=report.job_state,
        reason=NOT_STOPPED,
        may_run=True,
    )
    return apply_outcome(step, outcome, now=now) or {}
