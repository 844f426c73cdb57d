"""Decide what happens to a step. Each decision is a `StepChange` for the coordinator to save.

The life of a step:

- `claim` takes a released step under a lease and begins an attempt. `may_claim` filters out stale events.
- The response to its submission leads to `record_job` (the job is running), `apply_outcome` (it ended immediately),
  `defer` (nothing was started, so submit again later) or `repeat_or_fail` (a job may have been started, so `onLost`
  decides).
- While the job runs, polling.py turns polls into changes, and timeouts.py ends attempts whose time is up. Whatever ends
  an attempt is reported as an `Outcome`, which is sent as an event; `apply_outcome` turns it into a change, or drops it
  if it is stale.
- endings.py handles steps that end without a job or start over, and runs whose steps have all ended.

Every decision is pure: it depends only on the step as it was read, on new information about it, and on the time that
is passed in. So deciding twice gives the same result, including the jitter, and the commit's guard on the step's
version lets only one of two concurrent decisions take effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from atom_workflows.core.changes import (
    StepChange,
    add_unstopped,
    backoff_delay,
    change,
    clear,
    end_step,
    leave_over,
    not_after_deadline,
)
from atom_workflows.core.durations import format_duration
from atom_workflows.core.evaluation import MAX_BECAUSE, Verdict, check_outputs, may_retry
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, Release
from atom_workflows.core.outcomes import (
    FAILURE_KINDS,
    NOT_STOPPED,
    RETRIED_BY_DEFAULT,
    Outcome,
    OutcomeKind,
    clip,
)
from atom_workflows.core.outputs import list_undeclared
from atom_workflows.core.records import StepRecord, StopFor, StopStage
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.timeouts import ended_by_time_limit, explain_timeout
from atom_workflows.core.workflow import Backoff, OnLost

MAX_LOSSES: Final = 3
"""A step fails after this many lost jobs, whatever `onLost` says; otherwise it might never end."""


MAX_DEATHS: Final = 10
"""A step fails once this many dispatchers have died while creating its items, or while gathering their outputs.

The work itself probably kills them, for example by needing too much memory. Without this limit, the run
would never end.
"""


DEFER_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=10), jitter=0.2)
"""The wait before repeating a submission that started nothing.

It grows while the outage lasts, so that thousands of steps are not all submitted again every minute.
"""


BUSY_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2)
"""The wait if the Task Runner is up but has no capacity. It stays short, so that freed capacity is used quickly."""


UNKNOWN_BACKOFF: Final = Backoff(initial=timedelta(seconds=10), factor=2.0, maximum=timedelta(minutes=15), jitter=0.2)
"""The wait before repeating a submission that may have started a job. It is long: a repeat may start a second job."""


def claim(
    step: StepRecord,
    *,
    now: datetime,
    lease: timedelta,
    because: str = "",
    counters: Mapping[str, int] = MappingProxyType({}),
) -> StepChange:
    """Take the step for dispatch until the lease ends.

    This begins the next attempt, or continues the current one if its lease or its wait is over. `because` holds the
    step's condition and the values that decided it. `counters` holds counters that change in the same commit.
    """
    fields: dict[str, Any]
    if step.state is StepState.DISPATCHING and step.answered:
        # An earlier submission that may have started the job tells nothing about when it was submitted.
        fields = {} if step.is_unsure or not step.rules.has_job else {"submitted_at": now}
    elif step.state is StepState.DISPATCHING:
        # The dispatcher that held the previous lease died. It may have submitted the job before.
        fields = {"unsure_attempt": step.attempt} if step.rules.has_job else {"losses": step.losses + 1}
    else:
        fields = {
            "attempt": step.attempt + 1,
            "claimed_at": now,
            "started_at": step.started_at or now,
            "deferrals": 0,
            "job_id": "",
            "job_state": "",
            "missing_since": None,
            **clear(step, "unheard_since", "submitted_at", "running_at", "logs_url", "notifies", "hinted_at"),
            **leave_over(step, now),
            **({"because": because} if because else {}),
            # An item that was given its place waits for nothing any more.
            **({"remaining": 0, "waits_at": ""} if step.shard else {}),
        }
    return change(step, StepEvent.CLAIM, due_at=now + lease, answered=False, **fields, **counters)


def may_claim(step: StepRecord, *, now: datetime, attempt: int | None) -> bool:
    """Return True if a request to dispatch the step is still current.

    `attempt` is the attempt that the event asks for, or None if the event does not name one.
    """
    if step.state is StepState.PENDING:
        return step.release is Release.CLAIM
    due = step.due_at is None or step.due_at <= now
    if step.state is StepState.RETRYING:
        return attempt == step.attempt + 1 or (attempt is None and due)
    # A dispatcher that died may have submitted the job. With `onLost: fail`, the checker declares the attempt lost.
    may_repeat = step.answered or step.policies.on_lost is OnLost.RETRY
    return step.state is StepState.DISPATCHING and due and may_repeat and attempt in {None, step.attempt}


def record_job(  # noqa: PLR0913 (the fields of a response, for which the core has no single type)
    step: StepRecord,
    *,
    job_id: str,
    job_state: str,
    message: str,
    first_poll: datetime,
    logs_url: str = "",
    notifies: bool = False,
) -> StepChange:
    """Record an accepted job that has not ended."""
    deadline = step.attempt_deadline
    learnt = {"logs_url": logs_url, "notifies": notifies}
    return change(
        step,
        StepEvent.SUBMIT,
        job_id=job_id,
        job_state=job_state,
        message=clip(message),
        due_at=first_poll if deadline is None else min(first_poll, deadline),
        answered=True,
        **{name: value for name, value in learnt.items() if value},
    )


def defer(
    step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None, is_busy: bool = False
) -> StepChange:
    """Submit the same attempt again later, after a submission that started nothing."""
    backoff = BUSY_BACKOFF if is_busy else DEFER_BACKOFF
    return _submit_later(step, backoff, reason=reason, now=now, retry_after_s=retry_after_s)


def repeat_or_fail(step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None) -> StepChange:
    """Apply `onLost` to a submission that may have started a job.

    Either the same attempt is submitted again later with the same key, which does not count as a loss, or the step
    fails.
    """
    what = f"its submission may have started a job: {reason}"
    unsure = {"unsure_attempt": step.attempt}
    if step.policies.on_lost is OnLost.FAIL:
        message = clip(f"{what}; onLost is fail, so it is not submitted again")
        return fail_step(step, OutcomeKind.LOST, now, message=message, **unsure)
    return _submit_later(step, UNKNOWN_BACKOFF, reason=what, now=now, retry_after_s=retry_after_s, **unsure)


def _submit_later(
    step: StepRecord, backoff: Backoff, *, reason: str, now: datetime, retry_after_s: float | None, **fields: Any
) -> StepChange:
    tries = step.deferrals + 1
    wait = backoff_delay(backoff, tries=tries, seed=f"{step.idempotency_key}/{tries}", at_least_s=retry_after_s)
    due_at = not_after_deadline(step, now + wait, now=now)
    return change(step, StepEvent.DEFER, deferrals=tries, due_at=due_at, answered=True, message=clip(reason), **fields)


def apply_outcome(step: StepRecord, outcome: Outcome, *, now: datetime) -> StepChange | None:
    """End or retry a step according to the outcome of its attempt.

    A step marked by a person ends as marked, whatever the outcome. Returns None if the outcome is stale: it belongs
    to another attempt, the step has already ended or is being ended with its run, or the lost dispatcher or job has
    reappeared.
    """
    if _is_stale(step, outcome, now):
        return None
    if step.being_stopped_for == StopFor.MARK and step.is_marked:
        from atom_workflows.core.marks import end_marked  # noqa: PLC0415 (people mark few steps)

        has_succeeded = outcome.kind is OutcomeKind.SUCCEEDED
        return end_marked(step, now=now, learnt=_learn(step, outcome), has_succeeded=has_succeeded)
    if step.being_stopped_for and outcome.kind is not OutcomeKind.SUCCEEDED:
        outcome = time_out_stopped(step, outcome)
    elif ended_by_time_limit(step, outcome, now):
        late = f"timed out after {format_duration(step.policies.timeout)}"
        outcome = replace(outcome, kind=OutcomeKind.TIMED_OUT, message=clip(f"{late}; {outcome.message}".rstrip("; ")))
    if outcome.kind is OutcomeKind.TIMED_OUT and not outcome.job_id:
        outcome = explain_timeout(step, outcome)
    learnt = _learn(step, outcome)
    if outcome.kind is not OutcomeKind.SUCCEEDED:
        return _retry_or_fail(step, outcome, now, learnt)
    outputs = check_outputs(step, outcome.outputs, outcome.outputs_problem)
    if isinstance(outputs, str):
        # The Task Runner may know why they are missing.
        said = f"{outputs}; its message: {outcome.message}" if outcome.message else outputs
        return _retry_or_fail(step, replace(outcome, kind=OutcomeKind.OUTPUTS), now, {**learnt, "message": clip(said)})
    ended = end_step(step, StepEvent.SUCCEED, now, **learnt)
    if not outputs and not outcome.outputs:
        return ended
    return replace(ended, outputs=outputs or None, undeclared=list_undeclared(outcome.outputs, step.outputs))


def _is_stale(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    if outcome.attempt != step.attempt or step.state not in {StepState.DISPATCHING, StepState.RUNNING}:
        return True
    if step.being_stopped_for == StopFor.RUN and outcome.kind is not OutcomeKind.SUCCEEDED:
        # The job was stopped because its run is being closed, which ends the step.
        return True
    if outcome.kind is OutcomeKind.TIMED_OUT and not outcome.job_id:
        # If the job was accepted after all, polling it will show whether it ended in time.
        return step.state is StepState.RUNNING
    return outcome.kind is OutcomeKind.LOST and _was_found_again(step, outcome, now)


def _retry_or_fail(step: StepRecord, outcome: Outcome, now: datetime, learnt: Mapping[str, Any]) -> StepChange:
    verdict = _verdict_on_retry(step, outcome, learnt)
    if not verdict.holds:
        said = verdict.error or verdict.because
        because = {"because": f"not retried, as {said}"[:MAX_BECAUSE]} if said else {}
        return fail_step(step, outcome.kind, now, **learnt, **because)
    tries = step.attempt - step.first_attempt + 1
    counted: dict[str, Any] = {}
    if outcome.kind is OutcomeKind.LOST:
        # A lost job says nothing about the task, so it does not count as an attempt.
        counted = {"losses": step.losses + 1, "first_attempt": step.first_attempt + 1}
    wait = backoff_delay(step.policies.retry.backoff, tries=max(tries, 1), seed=step.idempotency_key)
    failed = _record_failure(step, outcome.kind, now, learnt)
    return change(step, StepEvent.RETRY, due_at=now + wait, **learnt, **counted, **failed)


def _learn(step: StepRecord, outcome: Outcome) -> dict[str, Any]:
    """Return the fields that record what an outcome reveals about the job."""
    learnt: dict[str, Any] = {"message": clip(outcome.message), "missing_since": outcome.missing_since}
    if outcome.kind is OutcomeKind.LOST and outcome.job_id:
        # A lost job may not be submitted again, for one of these reasons.
        why = f", and {step.losses} earlier jobs were lost" if step.losses + 1 >= MAX_LOSSES else ""
        why = ", and onLost is fail" if step.policies.on_lost is OnLost.FAIL else why
        learnt["message"] = clip(f"{outcome.message}{why}")
    if outcome.kind is OutcomeKind.CANCELLED:
        learnt["message"] = learnt["message"] or "its job was cancelled on the Task Runner"
    if step.unanswered:
        learnt["unanswered"] = 0
    if outcome.reason or step.reason:
        learnt["reason"] = outcome.reason
    if outcome.logs_url:
        learnt["logs_url"] = outcome.logs_url
    if outcome.may_run:
        learnt |= add_unstopped(step, outcome.job_id)
    elif step.being_stopped_for:
        learnt["stop_stage"] = StopStage.OVER.value
    is_unheard = step.rules.has_job and step.state is StepState.DISPATCHING and not step.answered
    if is_unheard and outcome.kind in {OutcomeKind.TIMED_OUT, OutcomeKind.LOST} and not outcome.job_id:
        # The dispatcher of this attempt may have submitted it before it died.
        learnt["unsure_attempt"] = step.attempt
    job = {"job_id": outcome.job_id, "job_state": outcome.job_state}
    return learnt | {name: value for name, value in job.items() if value}


def time_out_stopped(step: StepRecord, outcome: Outcome) -> Outcome:
    """Turn the outcome of a job that was stopped into a timeout.

    The job was stopped because its time was up. An outcome that is already a timeout is returned unchanged.
    """
    if outcome.kind is OutcomeKind.TIMED_OUT:
        return outcome
    late = f"timed out after {format_duration(step.policies.timeout)}"
    job_id, job_state = outcome.job_id or step.job_id, outcome.job_state or step.job_state
    said = f": {outcome.message}" if outcome.message else ""
    return replace(
        outcome,
        kind=OutcomeKind.TIMED_OUT,
        message=clip(f"{late}; job {job_id} was stopped and is {job_state}{said}"),
        job_id=job_id,
        reason="",
    )


def _was_found_again(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    """Return True if a lost dispatcher or job has reappeared.

    The checker may have based its decision on an outdated copy of the step.
    """
    if outcome.job_id:
        # Another instance has received a different response since then, so the job was not unknown the whole time.
        return step.missing_since is None or step.missing_since > (outcome.missing_since or step.missing_since)
    is_leased = step.due_at is not None and step.due_at > now
    return step.state is not StepState.DISPATCHING or step.answered or is_leased


def _verdict_on_retry(step: StepRecord, outcome: Outcome, learnt: Mapping[str, Any]) -> Verdict:
    """Decide whether to retry the step.

    `retry.when` decides which failures are retried; without it, a refused job, for example, is not retried, since it
    would be refused again. For a lost job, only `onLost` decides.
    """
    policies = step.policies
    if outcome.kind is OutcomeKind.TIMED_OUT and outcome.reason == NOT_STOPPED:
        # Another attempt would run beside this one's job.
        return Verdict()
    if outcome.kind is OutcomeKind.LOST:
        return Verdict(holds=policies.on_lost is not OnLost.FAIL and step.losses + 1 < MAX_LOSSES)
    if step.attempt - step.first_attempt + 1 >= policies.retry.max_attempts:
        return Verdict()
    if policies.retry.when is None:
        return Verdict(holds=outcome.kind in RETRIED_BY_DEFAULT)
    return may_retry(step, kind=FAILURE_KINDS[outcome.kind], reason=outcome.reason, message=learnt["message"])


def fail_step(step: StepRecord, kind: OutcomeKind, now: datetime, **fields: Any) -> StepChange:
    """End the step, marking the failure as tolerated if `allowFailure` is set."""
    event = StepEvent.CANCEL if kind is OutcomeKind.CANCELLED else StepEvent.FAIL
    if step.allow_failure and kind is not OutcomeKind.EXPRESSION:
        fields["tolerated"] = True
    return end_step(step, event, now, **fields, **_record_failure(step, kind, now, fields))


def _record_failure(step: StepRecord, kind: OutcomeKind, now: datetime, learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that keep this attempt and record how it failed."""
    from atom_workflows.core.attempts import keep_attempt  # noqa: PLC0415 (not needed while steps succeed)

    kept = keep_attempt(step, FAILURE_KINDS[kind], now=now, fields=learnt)
    if step.schema < LANGUAGE_SCHEMA:
        return kept
    return {"last_kind": FAILURE_KINDS[kind], "last_reason": learnt.get("reason", ""), **kept}
