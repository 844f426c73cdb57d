"""Decide when an attempt has taken longer than its step's timeout, or is lost with its dispatcher.

Nothing times out unheard. A job may have ended in time though nobody asked in time: a look can be late, and the last
look before the deadline is always some seconds before it. So an attempt whose time is over is asked about once more,
and the answer counts. Only if there is no answer for `UNHEARD_FOR` is it timed out without one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.transitions import Outcome, OutcomeKind, StepChange, changed, clip
from atom_workflows.core.workflow import OnLost

UNHEARD_FOR: Final = timedelta(minutes=5)
"""How long an attempt whose time is over waits for an answer about its job."""

ASK_AGAIN: Final = timedelta(seconds=20)
"""The wait between two such looks."""


def end_dispatch(step: StepRecord, *, now: datetime) -> Outcome | None:
    """Time out or lose an attempt that no Task Runner has accepted.

    Return None while it may go on.
    """
    deadline = step.attempt_deadline
    if deadline is None or step.state is not StepState.DISPATCHING:
        return None
    if deadline + _grace(step, deadline) <= now:
        limit = format_duration(step.policies.timeout)
        return _outcome(step, OutcomeKind.TIMED_OUT, f"timed out: no job was accepted within {limit}")
    if step.answered or step.policies.on_lost is OnLost.RETRY:
        return None
    message = "its dispatcher died before it recorded whether the job was submitted, and onLost is fail"
    return _outcome(step, OutcomeKind.LOST, message)


def _grace(step: StepRecord, deadline: datetime) -> timedelta:
    """Return how long an unknown submission may be repeated behind the deadline.

    Repeated with the same key, it reports a job that was accepted after all. One more answer is enough.
    """
    is_unknown = not step.answered or step.is_unsure
    is_asked_again = step.answered and step.due_at is not None and step.due_at > deadline
    return UNHEARD_FOR if is_unknown and not is_asked_again and step.policies.on_lost is OnLost.RETRY else timedelta(0)


def judge_overdue(
    step: StepRecord, found: StepChange | Outcome | None, *, heard: bool, now: datetime
) -> StepChange | Outcome | None:
    """Time out a job whose time is over; return `found` for any other.

    `found` is what a poll made of the step. `heard` is False if the Task Runner did not answer, or was not asked as it
    does not answer at present.
    """
    deadline = step.attempt_deadline
    if isinstance(found, Outcome) or deadline is None or now < deadline:
        return found
    fields = {} if found is None else dict(found.fields)
    late = f"timed out after {format_duration(step.policies.timeout)}"
    # A job that is unknown for a moment may have ended in time, too; `missing` says when it is lost.
    if heard and fields.get("missing_since", step.missing_since) is None:
        job_state = fields.get("job_state", step.job_state)
        return _outcome(step, OutcomeKind.TIMED_OUT, f"{late}; its job {step.job_id} was last seen {job_state}")
    since = step.unheard_since or now
    if now - since >= UNHEARD_FOR:
        unheard = f"its Task Runner has not answered about job {step.job_id} for {format_duration(UNHEARD_FOR)} since"
        return _outcome(step, OutcomeKind.TIMED_OUT, f"{late}; {unheard}; last seen {step.job_state}")
    if found is None and step.unheard_since is not None:
        return None  # It was not asked about, and since when there is no answer is known.
    return changed(step, StepEvent.OBSERVE, **fields | {"unheard_since": since, "due_at": now + ASK_AGAIN})


def _outcome(step: StepRecord, kind: OutcomeKind, message: str) -> Outcome:
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=kind,
        message=clip(message),
        job_id=step.job_id,
        job_state=step.job_state,
    )
