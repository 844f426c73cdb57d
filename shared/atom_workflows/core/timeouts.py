"""Decide when an attempt has timed out, or its dispatcher is lost.

A job may have ended in time even if no poll has shown this: a poll can be late, and the last poll before the deadline
always comes a few seconds early. So a job whose time is up is polled once more, and the response decides. If there is
no response, the attempt times out only after `UNHEARD_FOR`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.core.changes import StepChange, change
from atom_workflows.core.durations import format_duration
from atom_workflows.core.outcomes import TIME_LIMIT, Outcome, OutcomeKind, clip
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.workflow import OnLost

UNHEARD_FOR: Final = timedelta(minutes=5)
"""How long an attempt whose time is up waits for a response about its job."""

ASK_AGAIN: Final = timedelta(seconds=20)
"""The wait between two polls of a job whose time is up."""

CLOCKS_DIFFER: Final = timedelta(seconds=5)
"""How long before its deadline a job may appear to have ended and still count as timed out.

If it ended earlier, `TIME_LIMIT` has another cause.
"""


def end_dispatch(step: StepRecord, *, now: datetime) -> Outcome | None:
    """Time out an attempt that was never accepted, or declare it lost.

    Returns None while the attempt may continue.
    """
    if step.claimed_at is None or step.state is not StepState.DISPATCHING:
        return None
    # While the attempt waits for an earlier job to stop, its time has not begun.
    if deadline := step.attempt_deadline:
        # A submission whose result is unknown may be repeated once after the deadline: as it has the same key, the
        # response reports a job that was accepted after all.
        is_unknown = not step.answered or step.is_unsure
        was_repeated = step.answered and step.due_at is not None and step.due_at > deadline
        may_repeat = is_unknown and not was_repeated and step.policies.on_lost is OnLost.RETRY
        if deadline + (UNHEARD_FOR if may_repeat else timedelta(0)) <= now:
            limit = format_duration(step.policies.timeout)
            return _outcome(step, OutcomeKind.TIMED_OUT, f"timed out: no job was accepted within {limit}")
    if step.answered or step.policies.on_lost is OnLost.RETRY:
        return None
    message = "its dispatcher died before it recorded whether the job was submitted, and onLost is fail"
    return _outcome(step, OutcomeKind.LOST, message)


def ended_by_time_limit(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    """Return True if the Task Runner itself timed out the job."""
    deadline = step.attempt_deadline
    if outcome.kind is not OutcomeKind.FAILED or outcome.reason != TIME_LIMIT or deadline is None:
        return False
    return now >= deadline - CLOCKS_DIFFER


def explain_timeout(step: StepRecord, outcome: Outcome) -> Outcome:
    """Explain the timeout of an attempt that was never accepted.

    The last response is added to the message. The timeout becomes a loss if `onLost` is `fail` and an unknown job may
    be running, because a retry could then run at the same time as that job. (A timeout may be shorter than the lease
    of a dispatcher that died.)
    """
    explained = replace(outcome, message=f"{outcome.message}; last response: {step.message or 'none'}")
    if step.policies.on_lost is OnLost.RETRY or (step.answered and not step.is_unsure):
        return explained
    maybe = "a submission may have started a job, and onLost is fail"
    return replace(explained, kind=OutcomeKind.LOST, message=f"{explained.message}; {maybe}")


def judge_overdue(
    step: StepRecord, found: StepChange | Outcome | None, *, heard: bool, now: datetime
) -> StepChange | Outcome | None:
    """Time out a job that has reached its time limit.

    `found` is the result of a poll; for any other job, it is returned unchanged. `heard` is False if the Task Runner
    did not respond, or was not called because its circuit breaker is open.
    """
    deadline = step.attempt_deadline
    if isinstance(found, Outcome) or deadline is None or now < deadline:
        return found
    fields = {} if found is None else dict(found.fields)
    late = f"timed out after {format_duration(step.policies.timeout)}"
    # A job that is briefly unknown may also have ended in time; `await_unknown_job` decides when it is lost.
    if heard and fields.get("missing_since", step.missing_since) is None:
        job_state = fields.get("job_state", step.job_state)
        last = f"the last known state of job {step.job_id} is {job_state}"
        return _outcome(step, OutcomeKind.TIMED_OUT, f"{late}; {last}")
    since = step.unheard_since or now
    if now - since >= UNHEARD_FOR:
        unheard = (
            f"its Task Runner has not responded to queries about job {step.job_id} for {format_duration(UNHEARD_FOR)}"
        )
        last = f"the job's last known state is {step.job_state}"
        return _outcome(step, OutcomeKind.TIMED_OUT, f"{late}; {unheard}; {last}")
    if found is None and step.unheard_since is not None:
        return None  # There was no response, and the start of the silence is already recorded.
    return change(step, StepEvent.OBSERVE, **fields | {"unheard_since": since, "due_at": now + ASK_AGAIN})


def _outcome(step: StepRecord, kind: OutcomeKind, message: str) -> Outcome:
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=kind,
        message=clip(message),
        job_id=step.job_id,
        job_state=step.job_state,
    )
