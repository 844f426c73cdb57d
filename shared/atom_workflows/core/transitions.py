"""Decide what happens to a step. Each decision is a `StepChange` for the coordinator to save.

The life of a step:

- `claim` takes a released step under a lease and begins an attempt. `may_claim` filters out stale events.
- The response to its submission leads to `record_job` (the job is running), `apply_outcome` (it ended immediately),
  `defer` (nothing was started, so submit again later) or `repeat_or_fail` (a job may have been started, so `onLost`
  decides).
- While the job runs, polling.py turns polls into changes, and timeouts.py ends attempts whose time is up. Whatever ends
  an attempt is reported as an `Outcome`, which is sent as an event; `apply_outcome` turns it into a change, or drops it
  if it is stale.
- `end_without_job`, `stop_step` and `reset` are for steps that end without a job or start over. `end_run` closes a
  run whose steps have all ended.

Every decision is pure: it depends only on the step as it was read, on new information about it, and on the time that
is passed in. So deciding twice gives the same result, including the jitter, and the commit's guard on the step's
version lets only one of two concurrent decisions take effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from atom_workflows.core.counts import Counts
from atom_workflows.core.durations import format_duration
from atom_workflows.core.evaluation import MAX_BECAUSE, Verdict, check_outputs, may_retry
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, Release
from atom_workflows.core.outputs import list_undeclared
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopFor, StopKind
from atom_workflows.core.states import RunEvent, RunState, StepEvent, StepState, next_step_state
from atom_workflows.core.workflow import Backoff, JsonValue, OnLost, Trigger

MAX_LOSSES: Final = 3
"""A step fails after this many lost jobs, whatever `onLost` says; otherwise it might never end."""

DEFER_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=10), jitter=0.2)
"""The wait before a submission that started nothing is repeated.

It grows while the outage lasts, so that thousands of steps are not all submitted again every minute.
"""

BUSY_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2)
"""The wait if the Task Runner is up but has no capacity. It stays short, so that freed capacity is used quickly."""

UNKNOWN_BACKOFF: Final = Backoff(initial=timedelta(seconds=10), factor=2.0, maximum=timedelta(minutes=15), jitter=0.2)
"""The wait before a submission that may have started a job is repeated. It is long: a repeat may start a second job."""

NOT_STOPPED: Final = "NOT_STOPPED"
"""The reason of an attempt whose job went on although its Task Runner had accepted the request to stop it."""

TIME_LIMIT: Final = "TIMEOUT"
"""The reason with which a Task Runner reports that it ended a job when the time in Atom-Job-Timeout was up."""

CLOCKS_DIFFER: Final = timedelta(seconds=5)
"""How early a job may seem to have been ended when its time was up. Before that, `TIME_LIMIT` has another cause."""

MAX_MESSAGE_LENGTH: Final = 2_000
MAX_UNSTOPPED: Final = 10


class OutcomeKind(StrEnum):
    """The ways in which an attempt can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    # The job succeeded, but did not return the outputs that its step declares.
    OUTPUTS = "outputs"
    # An expression of the step could not be evaluated, so there was no job.
    EXPRESSION = "expression"


FAILURE_KINDS: Final[Mapping[OutcomeKind, str]] = MappingProxyType(
    {
        OutcomeKind.FAILED: "failed",
        OutcomeKind.TIMED_OUT: "timeout",
        OutcomeKind.REFUSED: "refused",
        OutcomeKind.CANCELLED: "cancelled",
        OutcomeKind.LOST: "lost",
        OutcomeKind.OUTPUTS: "outputs",
        OutcomeKind.EXPRESSION: "expression",
    }
)
"""The kinds of failures, in the words that expressions use: `failure.kind`, `step.last.kind`."""

RETRIED_BY_DEFAULT: Final = frozenset({OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.OUTPUTS})
"""The failures that are retried if the step does not specify any (`retry.when`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of one attempt of a step, with the last known state of its job.

    A lost job has been unknown to its Task Runner since `missing_since`. If the dispatcher was lost, `job_id` is empty.
    The outputs are the text of a JSON object (see outputs.py), or `outputs_problem` says why there are none; only an
    attempt that succeeded has either. `reason` is the Task Runner's own term for why the job ended. `may_run` is True
    if the job may still be running, since it could not be stopped.
    """

    step_id: str
    attempt: int
    kind: OutcomeKind
    message: str = ""
    job_id: str = ""
    job_state: str = ""
    missing_since: datetime | None = None
    outputs: str = ""
    outputs_problem: str = ""
    reason: str = ""
    logs_url: str = ""
    may_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step's next state and the fields that change with it.

    `outputs` are the declared outputs of a step that succeeds, as JSON values; {} clears those of an earlier round, and
    None leaves them unchanged. `undeclared` names the outputs that the job returned but the step does not declare.
    """

    event: StepEvent
    state: StepState
    fields: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, JsonValue] | None = None
    undeclared: str = ""

    @property
    def is_terminal(self) -> bool:
        """True if the step ends with this change."""
        return self.state.is_terminal


JOB_OUTCOMES: Final[Mapping[str, OutcomeKind]] = {
    "SUCCEEDED": OutcomeKind.SUCCEEDED,
    "FAILED": OutcomeKind.FAILED,
    "CANCELLED": OutcomeKind.CANCELLED,
    "CANCELED": OutcomeKind.CANCELLED,
}
"""The states that Task Runners report for jobs that have ended, and what each state means."""

JOB_PROGRESS: Final = frozenset(
    {"NEW", "LOADING", "QUEUED", "PREPARING", "PENDING", "RUNNING", "CANCELLING", "STATE_UNSPECIFIED", "UNSPECIFIED"}
)
"""The states of a job that has not ended. Any unlisted state is treated like these, and is reported as an oddity."""

# Vertex AI adds this prefix to the states of AI Platform, for which the contract was written.
_VERTEX_PREFIX: Final = "JOB_STATE_"


def outcome_of(  # noqa: PLR0913 (the fields of a response, for which the core has no single type)
    step: StepRecord,
    *,
    job_id: str,
    job_state: str,
    message: str,
    outputs: str = "",
    outputs_problem: str = "",
    reason: str = "",
    logs_url: str = "",
) -> Outcome | None:
    """Return the outcome that a response reports for the current attempt.

    Returns None while the job has not ended. The outputs of a job that did not succeed are dropped.
    """
    kind = JOB_OUTCOMES.get(_plain_state(job_state))
    if kind is None:
        return None
    has_outputs = kind is OutcomeKind.SUCCEEDED
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=kind,
        message=clip(message),
        job_id=job_id,
        job_state=job_state,
        outputs=outputs if has_outputs else "",
        outputs_problem=outputs_problem if has_outputs else "",
        reason=reason,
        logs_url=logs_url,
    )


def has_ended(job_state: str) -> bool:
    """Return True if a job in the given state has ended."""
    return _plain_state(job_state) in JOB_OUTCOMES


def has_succeeded(job_state: str) -> bool:
    """Return True if a job in the given state has ended successfully."""
    return JOB_OUTCOMES.get(_plain_state(job_state)) is OutcomeKind.SUCCEEDED


def is_known_state(job_state: str) -> bool:
    """Return True if the contract defines the job state."""
    return _plain_state(job_state) in JOB_OUTCOMES.keys() | JOB_PROGRESS


def _plain_state(job_state: str) -> str:
    return job_state.strip().upper().removeprefix(_VERTEX_PREFIX)


# -- dispatching -----------------------------------------------------------------------------------------------------


def claim(step: StepRecord, *, now: datetime, lease: timedelta, because: str = "") -> StepChange:
    """Take the step for dispatch until the lease ends.

    This begins the next attempt, or continues the current one if its lease or its wait is over. `because` holds the
    step's condition and the values that decided it.
    """
    if step.state is StepState.DISPATCHING:
        # The dispatcher that held the previous lease may have submitted the job and then died.
        fields: dict[str, Any] = {} if step.answered else {"unsure_attempt": step.attempt}
    else:
        fields = {
            "attempt": step.attempt + 1,
            "claimed_at": now,
            "started_at": step.started_at or now,
            "deferrals": 0,
            "job_id": "",
            "job_state": "",
            "missing_since": None,
            **clear(step, "unheard_since", "logs_url", "notifies", "hinted_at"),
            **_leave_over(step, now),
            **({"because": because} if because else {}),
        }
    return change(step, StepEvent.CLAIM, due_at=now + lease, answered=False, **fields)


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
    if step.policies.on_lost is OnLost.FAIL:
        message = clip(f"{what}; onLost is fail, so it is not submitted again")
        return _fail(step, OutcomeKind.LOST, now, message=message)
    unsure = {"unsure_attempt": step.attempt}
    return _submit_later(step, UNKNOWN_BACKOFF, reason=what, now=now, retry_after_s=retry_after_s, **unsure)


def _submit_later(
    step: StepRecord, backoff: Backoff, *, reason: str, now: datetime, retry_after_s: float | None, **fields: Any
) -> StepChange:
    tries = step.deferrals + 1
    wait = backoff_delay(backoff, tries=tries, seed=f"{step.idempotency_key}/{tries}", at_least_s=retry_after_s)
    due_at = not_after_deadline(step, now + wait, now=now)
    return change(step, StepEvent.DEFER, deferrals=tries, due_at=due_at, answered=True, message=clip(reason), **fields)


# -- ending an attempt -----------------------------------------------------------------------------------------------


def apply_outcome(step: StepRecord, outcome: Outcome, *, now: datetime) -> StepChange | None:
    """End or retry a step according to the outcome of its attempt.

    Returns None if the outcome is stale: it belongs to another attempt, the step has already ended or is being ended
    with its run, or the lost dispatcher or job has reappeared.
    """
    if _is_stale(step, outcome, now):
        return None
    if step.being_stopped_for and outcome.kind is not OutcomeKind.SUCCEEDED:
        outcome = time_out_stopped(step, outcome)
    elif _ended_by_time_limit(step, outcome, now):
        late = f"timed out after {format_duration(step.policies.timeout)}"
        outcome = replace(outcome, kind=OutcomeKind.TIMED_OUT, message=clip(f"{late}; {outcome.message}".rstrip("; ")))
    if outcome.kind is OutcomeKind.TIMED_OUT and not outcome.job_id:
        outcome = _explain_timeout(step, outcome)
    learnt = _learn(step, outcome)
    if outcome.kind is not OutcomeKind.SUCCEEDED:
        return _retry_or_fail(step, outcome, now, learnt)
    outputs = check_outputs(step, outcome.outputs, outcome.outputs_problem)
    if isinstance(outputs, str):
        # The Task Runner may know why they are missing.
        said = f"{outputs}; its message: {outcome.message}" if outcome.message else outputs
        return _retry_or_fail(step, replace(outcome, kind=OutcomeKind.OUTPUTS), now, {**learnt, "message": clip(said)})
    ended = _end(step, StepEvent.SUCCEED, now, **learnt)
    return replace(ended, outputs=outputs or None, undeclared=list_undeclared(outcome.outputs, step.outputs))


def _ended_by_time_limit(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    """Return True if the Task Runner itself ended the job when the attempt's time was up."""
    deadline = step.attempt_deadline
    if outcome.kind is not OutcomeKind.FAILED or outcome.reason != TIME_LIMIT or deadline is None:
        return False
    return now >= deadline - CLOCKS_DIFFER


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
        return _fail(step, outcome.kind, now, **learnt, **because)
    tries = step.attempt - step.first_attempt + 1
    counted: dict[str, Any] = {}
    if outcome.kind is OutcomeKind.LOST:
        # A lost job says nothing about the task, so it does not count as an attempt.
        counted = {"losses": step.losses + 1, "first_attempt": step.first_attempt + 1}
    wait = backoff_delay(step.policies.retry.backoff, tries=max(tries, 1), seed=step.idempotency_key)
    return change(
        step, StepEvent.RETRY, due_at=now + wait, **learnt, **counted, **_last_failure(step, outcome.kind, learnt)
    )


def _learn(step: StepRecord, outcome: Outcome) -> dict[str, Any]:
    """Return the fields that record what an outcome reveals about the job."""
    learnt: dict[str, Any] = {"message": clip(outcome.message), "missing_since": None}
    if outcome.kind is OutcomeKind.LOST and outcome.job_id:
        # A lost job may not be submitted again, for one of these reasons.
        why = f", and {step.losses} earlier jobs were lost" if step.losses + 1 >= MAX_LOSSES else ""
        why = ", and onLost is fail" if step.policies.on_lost is OnLost.FAIL else why
        learnt["message"] = clip(f"{outcome.message}{why}")
    if outcome.kind is OutcomeKind.CANCELLED:
        learnt["message"] = learnt["message"] or "its job was cancelled in the Task Runner"
    if step.unanswered:
        learnt["unanswered"] = 0
    if outcome.reason or step.reason:
        learnt["reason"] = outcome.reason
    if outcome.logs_url:
        learnt["logs_url"] = outcome.logs_url
    if outcome.may_run:
        learnt |= add_unstopped(step, outcome.job_id)
    job = {"job_id": outcome.job_id, "job_state": outcome.job_state}
    return learnt | {name: value for name, value in job.items() if value}


def time_out_stopped(step: StepRecord, outcome: Outcome) -> Outcome:
    """Turn the end of a job that was stopped, since its time was up, into a timeout.

    A timeout remains unchanged.
    """
    if outcome.kind is OutcomeKind.TIMED_OUT:
        return outcome
    late = f"timed out after {format_duration(step.policies.timeout)}"
    job_id, job_state = outcome.job_id or step.job_id, outcome.job_state or step.job_state
    return replace(
        outcome,
        kind=OutcomeKind.TIMED_OUT,
        message=f"{late}; job {job_id} was stopped and is {job_state}",
        job_id=job_id,
        reason="",
    )


def _was_found_again(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    """Return True if a lost dispatcher or job has reappeared.

    The checker may have based its decision on a step that it had read long before.
    """
    if outcome.job_id:
        # Another instance has received a different response since then, so the job was not unknown the whole time.
        return step.missing_since is None or step.missing_since > (outcome.missing_since or step.missing_since)
    is_leased = step.due_at is not None and step.due_at > now
    return step.state is not StepState.DISPATCHING or step.answered or is_leased


def _explain_timeout(step: StepRecord, outcome: Outcome) -> Outcome:
    """Explain the timeout of an attempt that was never accepted.

    The last response is added to the message. The timeout becomes a loss if `onLost` is `fail` and an unknown job may
    be running, because a retry could then run at the same time. (A timeout may be shorter than the lease
    of a dispatcher that died.)
    """
    explained = replace(outcome, message=f"{outcome.message}; last response: {step.message or 'none'}")
    if step.policies.on_lost is OnLost.RETRY or (step.answered and not step.is_unsure):
        return explained
    maybe = "a submission may have started a job, and onLost is fail"
    return replace(explained, kind=OutcomeKind.LOST, message=f"{explained.message}; {maybe}")


def _verdict_on_retry(step: StepRecord, outcome: Outcome, learnt: Mapping[str, Any]) -> Verdict:
    """Decide whether the step is tried again.

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


def _fail(step: StepRecord, kind: OutcomeKind, now: datetime, **fields: Any) -> StepChange:
    """End the step, marking the failure as tolerated if `allowFailure` is set."""
    event = StepEvent.CANCEL if kind is OutcomeKind.CANCELLED else StepEvent.FAIL
    if step.allow_failure and kind is not OutcomeKind.EXPRESSION:
        fields["tolerated"] = True
    return _end(step, event, now, **fields, **_last_failure(step, kind, fields))


def _last_failure(step: StepRecord, kind: OutcomeKind, learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that record how this attempt failed."""
    if step.schema < LANGUAGE_SCHEMA:
        return {}
    return {"last_kind": FAILURE_KINDS[kind], "last_reason": learnt.get("reason", "")}


# -- ending and resetting without a job ------------------------------------------------------------------------------


def end_without_job(step: StepRecord, *, now: datetime, verdict: Verdict | None = None) -> StepChange | None:
    """Skip a released step that will not run, or end a barrier.

    `verdict` is the result of the step's condition. Returns None if the step needs a job, if its condition has to be
    evaluated first, or if it is not (or no longer) released.
    """
    release = step.release
    if release is Release.BLOCK:
        return _block(step, now)
    if release is Release.SKIP:
        return _skip_by_choice(step, now, _why_not_triggered(step))
    if step.awaits_condition and not (verdict is not None and verdict.holds):
        if verdict is None:
            return None
        if verdict.error:
            return _fail(step, OutcomeKind.EXPRESSION, now, message=clip(verdict.error))
        return _skip_by_choice(step, now, verdict.because)
    because = {"because": verdict.because} if verdict is not None and step.when is not None else {}
    return _end(step, StepEvent.SUCCEED, now, **because) if release is Release.SUCCEED else None


def _block(step: StepRecord, now: datetime) -> StepChange:
    cause = "a step before it" if step.cause is None else f"step {step.cause}"
    return _end(step, StepEvent.SKIP, now, message=f"skipped because {cause} did not succeed")


def _skip_by_choice(step: StepRecord, now: datetime, because: str) -> StepChange:
    return _end(step, StepEvent.SKIP, now, by_choice=True, because=because, message=because)


def skip_idle(step: StepRecord, *, now: datetime) -> StepChange:
    """Skip a step under `finally` because no step was started."""
    return _skip_by_choice(step, now, "no step of the run was started")


def _why_not_triggered(step: StepRecord) -> str:
    if step.trigger is Trigger.ANY_FAILED:
        return "no step that it depends on failed, and its trigger is any-failed"
    if step.skipped >= step.total:
        return "every step that it depends on was skipped"
    were = "was" if step.skipped == 1 else "were"
    return f"{step.skipped} of the {step.total} steps that it depends on {were} skipped; its trigger is all-succeeded"


def stop_step(step: StepRecord, stop: Stop, *, now: datetime) -> StepChange:
    """End an open step of a run that is being closed.

    A job that has not ended may go on.
    """
    may_run = step.state is StepState.RUNNING and not step.is_stop_over
    unstopped = add_unstopped(step, job_to_stop(step)) if may_run else {}
    # An earlier attempt may have failed, but that is not how the step ends.
    earlier = {"last_kind": "stopped", "last_reason": ""} if step.last_kind else {}
    if stop.kind is StopKind.CANCEL:
        return _end(step, StepEvent.CANCEL, now, message=clip(stop.reason), **earlier, **unstopped)
    if step.state is StepState.PENDING:
        # One dependency may have failed already, but others were still running.
        no_cause = {"cause": None} if step.cause else {}
        return _end(step, StepEvent.SKIP, now, message=clip(f"not started: {stop.reason}"), **no_cause)
    return _end(step, StepEvent.FAIL, now, message=clip(stop.reason), **earlier, **unstopped)


def end_run(run: RunRecord, end: StepRecord | None, *, now: datetime) -> tuple[RunEvent, StepChange | None]:
    """Decide how a run and its end node end.

    A requested stop takes precedence over the counters of the end node. The node's change is None if the node's
    document is missing, or if the node had ended before the run was retried and has not been reset.
    """
    event = main_event(run, end)
    if run.main_state not in {None, RunState.SUCCEEDED}:
        # A failure under `finally` fails a run that would have succeeded, but never hides the original cause.
        event = RunEvent.CANCEL if run.main_state is RunState.CANCELLED else RunEvent.FAIL
    if run.stop is not None:
        is_over = end is None or end.state.is_terminal
        return event, None if is_over or end is None else stop_step(end, run.stop, now=now)
    if end is None or end.release is not Release.CLOSE:
        return event, None
    return event, _end(end, StepEvent.SUCCEED, now) if event is RunEvent.SUCCEED else _block(end, now)


def main_event(run: RunRecord, end: StepRecord | None) -> RunEvent:
    """Decide how the main part of a run ends.

    A requested stop takes precedence over the counters of its end node.
    """
    if run.stop is not None:
        return RunEvent.CANCEL if run.stop.kind is StopKind.CANCEL else RunEvent.FAIL
    return RunEvent.FAIL if end is None or end.fails_run else RunEvent.SUCCEED


def end_main(end: StepRecord, *, now: datetime, nothing_started: bool) -> StepChange:
    """End the main part's end node, which releases the steps under `finally`.

    If no step was started, those steps are skipped by choice.
    """
    return _end(end, StepEvent.SUCCEED, now, **({"by_choice": True} if nothing_started else {}))


def reset(step: StepRecord, *, remaining: int, kept: Counts, retries: int, expire_at: datetime | None) -> StepChange:
    """Make a step PENDING again.

    `remaining` is the number of its dependencies that will also run again; the others are counted in `kept`.
    """
    set_since = {name: empty for name, empty in _DECIDED.items() if getattr(step, name) != empty}
    if step.schema >= LANGUAGE_SCHEMA and step.attempt:
        # Steps that are reset are read without their tasks, and so without what was sent.
        set_since["sent"] = ""
    if (leftover := job_to_stop(step)) != step.leftover:
        set_since["leftover"] = leftover
    reset_step = change(
        step,
        StepEvent.RESET,
        remaining=remaining,
        **kept.counters(step.schema),
        cause=None,
        first_attempt=step.attempt + 1,
        losses=0,
        deferrals=0,
        unanswered=0,
        retries=retries,
        job_id="",
        job_state="",
        message="",
        due_at=None,
        missing_since=None,
        unheard_since=None,
        claimed_at=None,
        started_at=None,
        finished_at=None,
        expire_at=expire_at,
        **set_since,
    )
    return replace(reset_step, outputs={}) if step.outputs and step.state is StepState.SUCCEEDED else reset_step


_DECIDED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("because", "reason", "sent", "last_kind", "last_reason", "logs_url"), ""),
    **dict.fromkeys(("by_choice", "tolerated", "notifies"), False),
    "hinted_at": None,
}
"""The fields that are reset in each round of a run, with their empty values."""


# -- parts of decisions ----------------------------------------------------------------------------------------------


def change(step: StepRecord, event: StepEvent, **fields: Any) -> StepChange:
    """Build the change that an event makes to a step.

    Raises `TransitionError` if the event is not allowed in the step's state.
    """
    return StepChange(event=event, state=next_step_state(step.state, event), fields=fields)


def apply_change(step: StepRecord, change: StepChange) -> StepRecord:
    """Return the step with the change applied."""
    return replace(step, state=change.state, **change.fields)


def clear(step: StepRecord, *names: str) -> dict[str, Any]:
    """Return the named fields that are set, with their empty values."""
    return {name: _EMPTY[name] for name in names if getattr(step, name) != _EMPTY[name]}


_EMPTY: Final[Mapping[str, Any]] = {
    "unheard_since": None,
    "logs_url": "",
    "notifies": False,
    "hinted_at": None,
    "stop_for": "",
}


def job_to_stop(step: StepRecord) -> str:
    """Return the id of the step's latest job that may still run, or "" if there is none."""
    return step.job_id if step.job_id and not has_ended(step.job_state) else step.leftover


def add_unstopped(step: StepRecord, job_id: str) -> dict[str, Any]:
    """Return the field that lists the step's jobs that could not be stopped, with this one added."""
    if not job_id or job_id in step.unstopped:
        return {}
    return {"unstopped": (*step.unstopped, job_id)[-MAX_UNSTOPPED:]}


def _leave_over(step: StepRecord, now: datetime) -> dict[str, Any]:
    """Return the fields with which a new attempt first has the job of an earlier one stopped, if it may still run."""
    leftover = job_to_stop(step)
    if not leftover:
        return {}
    return {
        "leftover": leftover,
        "stop_attempt": step.attempt + 1,
        "stop_stage": "",
        "stop_since": now,
        **clear(step, "stop_for"),
    }


def backoff_delay(backoff: Backoff, *, tries: int, seed: str, at_least_s: float | None = None) -> timedelta:
    """Return how long to wait after the given number of tries.

    `at_least_s` is the wait that a server asked for (Retry-After); it can lengthen the wait up to the back-off's
    maximum. The jitter is derived from the seed, so that deciding twice gives the same result.
    """
    initial = backoff.initial.total_seconds()
    limit = backoff.maximum.total_seconds()
    # After a very large number of tries, the power would overflow a float.
    grown = initial * backoff.factor ** min(tries - 1, 64)
    share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") / 2**32
    wait = timedelta(seconds=min(grown, limit) * (1 - backoff.jitter * share))
    return wait if at_least_s is None else max(wait, min(timedelta(seconds=at_least_s), backoff.maximum))


def not_after_deadline(step: StepRecord, due_at: datetime, *, now: datetime) -> datetime:
    """Return `due_at`, or the attempt's deadline if that is earlier.

    A deadline that has passed counts as `now`.
    """
    deadline = step.attempt_deadline
    return due_at if deadline is None else min(due_at, max(deadline, now))


def clip(text: str) -> str:
    """Shorten text to the maximum length of a message."""
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[: MAX_MESSAGE_LENGTH - 1] + "…"


def _end(step: StepRecord, event: StepEvent, now: datetime, **fields: Any) -> StepChange:
    return change(step, event, finished_at=now, due_at=None, **fields)
