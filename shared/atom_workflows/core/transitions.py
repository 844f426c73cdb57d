"""Decide what happens to a step. Each decision is a `StepChange` for the coordinator to save.

The life of a step:

- `claim` takes a released step under a lease and begins an attempt. `may_claim` filters out stale events.
- The answer to its submission leads to `record_job` (it runs), `apply_outcome` (it ended immediately), `defer` (nothing
  was started, submit again later) or `repeat_or_fail` (something may have been started, `onLost` decides).
- While it runs, polling.py turns polls into changes, and timeouts.py ends attempts whose time is over. Whatever ends an
  attempt is an `Outcome`, which is sent as an event; `apply_outcome` turns it into a change, and drops it if it is
  stale.
- `end_without_job`, `stop_step` and `reset` are for steps that end without a job, or start over. `end_run` closes a
  run whose steps have ended.

Every decision is pure: it depends on the step as it was read, on new information about it, and on the time that is
passed in. So deciding twice gives the same result, including the jitter, and the commit's guard on the step's version
lets only one of two concurrent decisions take effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.counts import Counts
from atom_workflows.core.kinds import Release
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import RunEvent, StepEvent, StepState, next_step_state
from atom_workflows.core.workflow import Backoff, OnLost

MAX_LOSSES: Final = 3
"""A step fails after this many lost jobs, whatever `onLost` says; otherwise it might never end."""

DEFER_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=10), jitter=0.2)
"""The wait before a submission that started nothing is repeated.

It grows while the outage lasts, so that thousands of steps do not all come back every minute.
"""

BUSY_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2)
"""The wait if the Task Runner is up but has no capacity. It stays short, so that freed capacity is used soon."""

UNKNOWN_BACKOFF: Final = Backoff(initial=timedelta(seconds=10), factor=2.0, maximum=timedelta(minutes=15), jitter=0.2)
"""The wait before a submission that may have started a job is repeated. It is long: each may start another job."""

MAX_MESSAGE_LENGTH: Final = 2_000


class OutcomeKind(StrEnum):
    """The ways in which an attempt can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of one attempt of a step, with the last known state of its job.

    A lost job has been unknown to its Task Runner since `missing_since`; a lost dispatcher has no `job_id`. The outputs
    are the text of a JSON object (see outputs.py), or `outputs_problem` says why there are none; only an attempt that
    succeeded has either. `reason` is the Task Runner's own word for why the job ended.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step's next state and the fields that change with it."""

    event: StepEvent
    state: StepState
    fields: Mapping[str, Any] = field(default_factory=dict)

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
"""The states of a job that has ended, as Task Runners report them."""

JOB_PROGRESS: Final = frozenset(
    {"NEW", "LOADING", "QUEUED", "PREPARING", "PENDING", "RUNNING", "CANCELLING", "STATE_UNSPECIFIED", "UNSPECIFIED"}
)
"""The states of a job that has not ended. Any other state counts as one of these, and is reported as an oddity."""

# Vertex AI puts this prefix before the states of AI Platform, for which the contract was written.
_VERTEX_PREFIX: Final = "JOB_STATE_"


def outcome_of(  # noqa: PLR0913 (the fields of an answer, which the core does not know as one value)
    step: StepRecord,
    *,
    job_id: str,
    job_state: str,
    message: str,
    outputs: str = "",
    outputs_problem: str = "",
    reason: str = "",
) -> Outcome | None:
    """Return the outcome of the current attempt that an answer reports.

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
    )


def has_ended(job_state: str) -> bool:
    """Return True if a job in that state has ended."""
    return _plain_state(job_state) in JOB_OUTCOMES


def is_known_state(job_state: str) -> bool:
    """Return True if the contract has that job state."""
    return _plain_state(job_state) in JOB_OUTCOMES.keys() | JOB_PROGRESS


def _plain_state(job_state: str) -> str:
    return job_state.strip().upper().removeprefix(_VERTEX_PREFIX)


# -- dispatching -----------------------------------------------------------------------------------------------------


def claim(step: StepRecord, *, now: datetime, lease: timedelta) -> StepChange:
    """Take the step for dispatch until the lease ends.

    This begins the next attempt, or continues the current one if its lease or its wait is over.
    """
    if step.state is StepState.DISPATCHING:
        # The dispatcher that held the step before may have submitted its job and died.
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
            **({"unheard_since": None} if step.unheard_since else {}),
        }
    return change(step, StepEvent.CLAIM, due_at=now + lease, answered=False, **fields)


def may_claim(step: StepRecord, *, now: datetime, attempt: int | None) -> bool:
    """Return True if a request for a dispatch is still current.

    `attempt` is the one that the event asks for, or None if it names none.
    """
    if step.state is StepState.PENDING:
        return step.release is Release.CLAIM
    due = step.due_at is None or step.due_at <= now
    if step.state is StepState.RETRYING:
        return attempt == step.attempt + 1 or (attempt is None and due)
    # A dispatcher that died may have submitted the job. With `onLost: fail` the checker declares it lost instead.
    may_repeat = step.answered or step.policies.on_lost is OnLost.RETRY
    return step.state is StepState.DISPATCHING and due and may_repeat and attempt in {None, step.attempt}


def record_job(step: StepRecord, *, job_id: str, job_state: str, message: str, first_poll: datetime) -> StepChange:
    """Record an accepted job that has not ended."""
    deadline = step.attempt_deadline
    return change(
        step,
        StepEvent.SUBMIT,
        job_id=job_id,
        job_state=job_state,
        message=clip(message),
        due_at=first_poll if deadline is None else min(first_poll, deadline),
        answered=True,
    )


def defer(
    step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None, is_busy: bool = False
) -> StepChange:
    """Submit the same attempt again later, after a submission that started nothing."""
    backoff = BUSY_BACKOFF if is_busy else DEFER_BACKOFF
    return _submit_later(step, backoff, reason=reason, now=now, retry_after_s=retry_after_s)


def repeat_or_fail(step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None) -> StepChange:
    """Let `onLost` decide about a submission that may have started a job.

    The same attempt is submitted again later, with the same key, which does not count as a loss; or the step fails.
    """
    what = f"its submission may have started a job: {reason}"
    if step.policies.on_lost is OnLost.FAIL:
        return _end(step, StepEvent.FAIL, now, message=clip(f"{what}; onLost is fail, so it is not submitted again"))
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
    """End or retry a step by the outcome of its attempt.

    Returns None if the outcome is stale: it belongs to another attempt, the step has ended, or the lost dispatcher or
    job was found again.
    """
    if outcome.attempt != step.attempt or step.state not in {StepState.DISPATCHING, StepState.RUNNING}:
        return None
    if outcome.kind is OutcomeKind.LOST and _was_found_again(step, outcome, now):
        return None
    if outcome.kind is OutcomeKind.TIMED_OUT and not outcome.job_id:
        if step.state is StepState.RUNNING:
            # The job was accepted after all; polling it will show whether it ended in time.
            return None
        outcome = _explain_timeout(step, outcome)
    learnt: dict[str, Any] = {"message": clip(outcome.message), "missing_since": None}
    if outcome.kind is OutcomeKind.LOST and outcome.job_id:
        learnt["message"] = clip(f"{outcome.message}{_reason_not_to_repeat(step)}")
    if step.unanswered:
        learnt["unanswered"] = 0
    job = {"job_id": outcome.job_id, "job_state": outcome.job_state}
    learnt |= {name: value for name, value in job.items() if value}
    if outcome.kind is OutcomeKind.SUCCEEDED:
        return _end(step, StepEvent.SUCCEED, now, **learnt)
    if outcome.kind is OutcomeKind.CANCELLED:
        learnt["message"] = learnt["message"] or "its job was cancelled at the Task Runner"
        return _end(step, StepEvent.CANCEL, now, **learnt)
    return _retry(step, outcome, now, learnt) or _end(step, StepEvent.FAIL, now, **learnt)


def _was_found_again(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    """Return True if a lost dispatcher or job has reappeared.

    The checker may have declared it lost on the basis of a step that it had read long before.
    """
    if outcome.job_id:
        # Another instance has received a different answer since then, so the Task Runner's denials were interrupted.
        return step.missing_since is None or step.missing_since > (outcome.missing_since or step.missing_since)
    is_leased = step.due_at is not None and step.due_at > now
    return step.state is not StepState.DISPATCHING or step.answered or is_leased


def _explain_timeout(step: StepRecord, outcome: Outcome) -> Outcome:
    """Explain the timeout of an attempt that was never accepted.

    The last answer is added to its message. The timeout becomes a loss if another attempt could run at the same time as
    an unknown job although `onLost` is `fail`. (A timeout may be shorter than the lease of a dispatcher that died.)
    """
    explained = replace(outcome, message=f"{outcome.message}; last answer: {step.message or 'none'}")
    if step.policies.on_lost is OnLost.RETRY or (step.answered and not step.is_unsure):
        return explained
    maybe = "a submission may have started a job, and onLost is fail"
    return replace(explained, kind=OutcomeKind.LOST, message=f"{explained.message}; {maybe}")


def _reason_not_to_repeat(step: StepRecord) -> str:
    """Return why a lost job is not submitted again, or ""."""
    if step.policies.on_lost is OnLost.FAIL:
        return ", and onLost is fail"
    return f", and lost {step.losses} before" if step.losses + 1 >= MAX_LOSSES else ""


def _retry(step: StepRecord, outcome: Outcome, now: datetime, learnt: Mapping[str, Any]) -> StepChange | None:
    """Set the step RETRYING if it has another try.

    Returns None if it has failed permanently. A refused job would be refused again. A lost job says nothing about the
    task, so it does not count as an attempt.
    """
    tries = step.attempt - step.first_attempt + 1
    counted: dict[str, Any] = {}
    if outcome.kind is OutcomeKind.REFUSED:
        return None
    if outcome.kind is OutcomeKind.LOST:
        if step.policies.on_lost is OnLost.FAIL or step.losses + 1 >= MAX_LOSSES:
            return None
        counted = {"losses": step.losses + 1, "first_attempt": step.first_attempt + 1}
    elif tries >= step.policies.retry.max_attempts:
        return None
    wait = backoff_delay(step.policies.retry.backoff, tries=max(tries, 1), seed=step.idempotency_key)
    return change(step, StepEvent.RETRY, due_at=now + wait, **learnt, **counted)


# -- ending and resetting without a job ------------------------------------------------------------------------------


def end_without_job(step: StepRecord, *, now: datetime) -> StepChange | None:
    """Skip a released step that is blocked, or complete a released barrier.

    Returns None if the step needs a job, or is not released (any more).
    """
    if step.release is Release.SKIP:
        return _skip(step, now)
    return _end(step, StepEvent.SUCCEED, now) if step.release is Release.SUCCEED else None


def _skip(step: StepRecord, now: datetime) -> StepChange:
    cause = "a step before it" if step.cause is None else f"step {step.cause}"
    return _end(step, StepEvent.SKIP, now, message=f"skipped because {cause} did not succeed")


def stop_step(step: StepRecord, stop: Stop, *, now: datetime) -> StepChange:
    """End an open step of a run that is being closed."""
    if stop.kind is StopKind.CANCEL:
        return _end(step, StepEvent.CANCEL, now, message=clip(stop.reason))
    if step.state is StepState.PENDING:
        return _end(step, StepEvent.SKIP, now, message=clip(f"not started: {stop.reason}"))
    return _end(step, StepEvent.FAIL, now, message=clip(stop.reason))


def end_run(run: RunRecord, end: StepRecord | None, *, now: datetime) -> tuple[RunEvent, StepChange | None]:
    """Decide how a run and its end node end.

    A requested stop takes precedence over the counters of the end node. The node's change is None if its document is
    missing or the node already ended in an earlier round of the run.
    """
    if run.stop is not None:
        event = RunEvent.CANCEL if run.stop.kind is StopKind.CANCEL else RunEvent.FAIL
        if end is None or end.state.is_terminal:
            return event, None
        return event, stop_step(end, run.stop, now=now)
    if end is None:
        return RunEvent.FAIL, None
    event = RunEvent.FAIL if end.unsuccessful else RunEvent.SUCCEED
    if end.release is not Release.CLOSE:
        return event, None
    return event, _skip(end, now) if end.unsuccessful else _end(end, StepEvent.SUCCEED, now)


def needs_reset(step: StepRecord, *, retries: int) -> bool:
    """Return True if a retry has yet to reset the step.

    `retries` is the number of that retry: a step that it has reset carries the same number.
    """
    left_over = step.state.is_terminal or step.state is StepState.PENDING
    return left_over and step.state is not StepState.SUCCEEDED and step.retries < retries


def reset(step: StepRecord, *, remaining: int, kept: Counts, retries: int, expire_at: datetime | None) -> StepChange:
    """Make a step PENDING again.

    `remaining` counts its dependencies that will run again, too; the others are in `kept`.
    """
    return change(
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
    )


# -- parts of decisions ----------------------------------------------------------------------------------------------


def change(step: StepRecord, event: StepEvent, **fields: Any) -> StepChange:
    """Build the change of a step by an event.

    Raises `TransitionError` if the step's state has no such transition.
    """
    return StepChange(event=event, state=next_step_state(step.state, event), fields=fields)


def apply_change(step: StepRecord, change: StepChange) -> StepRecord:
    """Return the step as the change leaves it."""
    return replace(step, state=change.state, **change.fields)


def backoff_delay(backoff: Backoff, *, tries: int, seed: str, at_least_s: float | None = None) -> timedelta:
    """Return the wait after that many tries.

    `at_least_s` is what a server asks for (Retry-After), which lengthens the wait up to the back-off's maximum. The
    jitter is derived from the seed, so that deciding twice gives the same result.
    """
    initial = backoff.initial.total_seconds()
    limit = backoff.maximum.total_seconds()
    # With far more tries than any limit allows, the power would overflow a float.
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
    """Shorten text to the length that a message may have."""
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[: MAX_MESSAGE_LENGTH - 1] + "…"


def _end(step: StepRecord, event: StepEvent, now: datetime, **fields: Any) -> StepChange:
    return change(step, event, finished_at=now, due_at=None, **fields)
