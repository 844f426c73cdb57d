"""What happens to a step: pure decisions, each a `StepChange` for the coordinator to save.

A decision looks at nothing but the step as it stands, what was learnt about it, and the time it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.records import StepRecord, Stop, StopKind
from atom_workflows.core.states import StepEvent, StepState, next_step_state
from atom_workflows.core.workflow import Backoff, OnLost

MAX_LOSSES: Final = 3
"""A job that a Task Runner loses this often fails its step, whatever `onLost` says: otherwise it never ended."""

DEFER_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=10), jitter=0.2)
"""The wait before a submission that nothing can have come of is repeated.

It grows for as long as the outage lasts, so that thousands of steps do not all come back every minute.
"""

BUSY_BACKOFF: Final = Backoff(initial=timedelta(seconds=2), factor=2.0, maximum=timedelta(minutes=2), jitter=0.2)
"""The wait if the Task Runner is there but has no room: what becomes free is not to lie idle for long."""

UNKNOWN_BACKOFF: Final = Backoff(initial=timedelta(seconds=10), factor=2.0, maximum=timedelta(minutes=15), jitter=0.2)
"""The wait before a submission that may have started a job is repeated, each of which may start another one."""

MAX_MESSAGE_LENGTH: Final = 2_000


class OutcomeKind(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt of a step ended, and the Task Runner's last word on its job.

    A lost job has been unknown to the Task Runner since `missing_since`.
    """

    step_id: str
    attempt: int
    kind: OutcomeKind
    message: str = ""
    job_id: str = ""
    job_state: str = ""
    missing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step's next state and the fields that change with it."""

    event: StepEvent
    state: StepState
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_terminal(self) -> bool:
        """Whether the step ends with this change."""
        return self.state.is_terminal


JOB_OUTCOMES: Final[Mapping[str, OutcomeKind]] = {
    "SUCCEEDED": OutcomeKind.SUCCEEDED,
    "FAILED": OutcomeKind.FAILED,
    "CANCELLED": OutcomeKind.CANCELLED,
    "CANCELED": OutcomeKind.CANCELLED,
}
"""A Task Runner's words for the end of a job."""

JOB_PROGRESS: Final = frozenset(
    {"NEW", "LOADING", "QUEUED", "PREPARING", "PENDING", "RUNNING", "CANCELLING", "STATE_UNSPECIFIED", "UNSPECIFIED"}
)
"""Its words for a job that goes on. Any other word is taken for one of these, and reported."""

# Vertex AI has the words of AI Platform, for which the contract was made, with this before them.
_VERTEX_PREFIX: Final = "JOB_STATE_"


def outcome_of(step: StepRecord, *, job_id: str, job_state: str, message: str) -> Outcome | None:
    """The outcome that a Task Runner's answer means for the step's current attempt, None while the job goes on."""
    kind = JOB_OUTCOMES.get(_plain_word(job_state))
    if kind is None:
        return None
    return Outcome(
        step_id=step.id, attempt=step.attempt, kind=kind, message=clip(message), job_id=job_id, job_state=job_state
    )


def is_known_state(job_state: str) -> bool:
    """Return True if the contract has that word for a job's state."""
    return _plain_word(job_state) in JOB_OUTCOMES.keys() | JOB_PROGRESS


def _plain_word(job_state: str) -> str:
    return job_state.strip().upper().removeprefix(_VERTEX_PREFIX)


def claim(step: StepRecord, *, now: datetime, lease: timedelta) -> StepChange:
    """Take the step for dispatch: its next attempt, or the same again if its lease ran out."""
    again = step.state is StepState.DISPATCHING
    fresh = {
        "attempt": step.attempt + 1,
        "claimed_at": now,
        "started_at": step.started_at or now,
        "deferrals": 0,
        "job_id": "",
        "job_state": "",
        "missing_since": None,
        **({"unheard_since": None} if step.unheard_since else {}),
    }
    # The dispatcher that had it before may have submitted it and died.
    unsure = {"unsure_attempt": step.attempt} if again and not step.answered else {}
    return changed(step, StepEvent.CLAIM, due_at=now + lease, answered=False, **(unsure if again else fresh))


def may_claim(step: StepRecord, *, now: datetime, attempt: int | None) -> bool:
    """Whether an event that asks for a dispatch still holds; `attempt` is the one it asks for, if it named one."""
    if step.state is StepState.PENDING:
        return step.is_released and step.unsuccessful == 0
    due = step.due_at is None or step.due_at <= now
    if step.state is StepState.RETRYING:
        return attempt == step.attempt + 1 or (attempt is None and due)
    # A dispatcher that died may have submitted the job: with `onLost: fail` the checker says that it is lost.
    may_repeat = step.answered or step.policies.on_lost is OnLost.RETRY
    return step.state is StepState.DISPATCHING and due and may_repeat and attempt in {None, step.attempt}


def submitted(step: StepRecord, *, job_id: str, job_state: str, message: str, first_poll: datetime) -> StepChange:
    """The Task Runner took the job, which goes on."""
    deadline = step.attempt_deadline
    return changed(
        step,
        StepEvent.SUBMIT,
        job_id=job_id,
        job_state=job_state,
        message=clip(message),
        due_at=first_poll if deadline is None else min(first_poll, deadline),
        answered=True,
    )


def deferred(
    step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None, is_busy: bool = False
) -> StepChange:
    """Put off a submission that started nothing: wait, then submit the same attempt again."""
    backoff = BUSY_BACKOFF if is_busy else DEFER_BACKOFF
    return _put_off(step, backoff, reason=reason, now=now, retry_after_s=retry_after_s)


def repeat_or_lose(step: StepRecord, *, reason: str, now: datetime, retry_after_s: float | None) -> StepChange:
    """Decide about a submission that may have started a job: `onLost` does.

    The same attempt is submitted again after a wait, with the same key, which is no loss; or the step fails.
    """
    what = f"its submission may have started a job: {reason}"
    if step.policies.on_lost is OnLost.FAIL:
        return _ended(step, StepEvent.FAIL, now, message=clip(f"{what}; onLost is fail, so it is not submitted again"))
    unsure = {"unsure_attempt": step.attempt}
    return _put_off(step, UNKNOWN_BACKOFF, reason=what, now=now, retry_after_s=retry_after_s, **unsure)


def _put_off(
    step: StepRecord, backoff: Backoff, *, reason: str, now: datetime, retry_after_s: float | None, **fields: Any
) -> StepChange:
    tries = step.deferrals + 1
    delay = delayed(backoff, tries=tries, seed=f"{step.idempotency_key}/{tries}", at_least_s=retry_after_s)
    due_at = not_after_deadline(step, now + delay, now=now)
    return changed(step, StepEvent.DEFER, deferrals=tries, due_at=due_at, answered=True, message=clip(reason), **fields)


def settled(step: StepRecord, outcome: Outcome, *, now: datetime) -> StepChange | None:
    """What an outcome makes of the step; None if it is stale: another attempt's, or the step has ended."""
    if outcome.attempt != step.attempt or step.state not in {StepState.DISPATCHING, StepState.RUNNING}:
        return None
    if _is_taken_again(step, outcome, now):
        return None
    if outcome.kind is OutcomeKind.TIMED_OUT and not outcome.job_id:
        if step.state is StepState.RUNNING:
            # The job was accepted after all; the poll of it says whether it ended in time.
            return None
        outcome = _explain_timeout(step, outcome)
    learnt = _learnt(step, outcome)
    if outcome.kind is OutcomeKind.SUCCEEDED:
        return _ended(step, StepEvent.SUCCEED, now, **learnt)
    if outcome.kind is OutcomeKind.CANCELLED:
        learnt["message"] = clip(outcome.message) or "its job was cancelled at the Task Runner"
        return _ended(step, StepEvent.CANCEL, now, **learnt)
    return _tried_again(step, outcome, now, learnt) or _ended(step, StepEvent.FAIL, now, **learnt)


def _learnt(step: StepRecord, outcome: Outcome) -> dict[str, Any]:
    """Return the fields that an attempt's end leaves."""
    why = _why_lost_for_good(step) if outcome.kind is OutcomeKind.LOST and outcome.job_id else ""
    learnt: dict[str, Any] = {"message": clip(f"{outcome.message}{why}"), "missing_since": None}
    if step.unanswered:
        learnt["unanswered"] = 0
    if outcome.job_id:
        learnt["job_id"] = outcome.job_id
    if outcome.job_state:
        learnt["job_state"] = outcome.job_state
    return learnt


def _why_lost_for_good(step: StepRecord) -> str:
    """Return why a job that is lost now is not submitted again; nothing if it is."""
    if step.policies.on_lost is OnLost.FAIL:
        return ", and onLost is fail"
    return f", as {step.losses} before it" if step.losses + 1 >= MAX_LOSSES else ""


def _explain_timeout(step: StepRecord, outcome: Outcome) -> Outcome:
    """Add the last answer to the end of an attempt for which no job was accepted in time.

    It is lost, not timed out, if another attempt could run beside a job that no one knows of though `onLost` is `fail`.
    A timeout may be over before the lease of a dispatcher that died.
    """
    explained = replace(outcome, message=f"{outcome.message}; last answer: {step.message or 'none'}")
    if step.policies.on_lost is OnLost.RETRY or (step.answered and not step.is_unsure):
        return explained
    maybe = "a submission may have started a job, and onLost is fail"
    return replace(explained, kind=OutcomeKind.LOST, message=f"{explained.message}; {maybe}")


def _is_taken_again(step: StepRecord, outcome: Outcome, now: datetime) -> bool:
    """Whether a dispatcher or a job that was said to be lost was not, or the step is another's since.

    The checker may say so long after it has read the step.
    """
    if outcome.kind is not OutcomeKind.LOST:
        return False
    if outcome.job_id:
        # Another instance has heard otherwise since, so that the Task Runner's word was interrupted.
        return step.missing_since is None or step.missing_since > (outcome.missing_since or step.missing_since)
    is_leased = step.due_at is not None and step.due_at > now
    return step.state is not StepState.DISPATCHING or step.answered or is_leased


def _tried_again(step: StepRecord, outcome: Outcome, now: datetime, learnt: Mapping[str, Any]) -> StepChange | None:
    """The change to RETRYING if the step has another try, None if it has failed for good.

    A refused job would be refused again. A lost one says nothing of the task, so it uses up none of its attempts.
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
    delay = delay_before_retry(step.policies.retry.backoff, tries=max(tries, 1), seed=step.idempotency_key)
    return changed(step, StepEvent.RETRY, due_at=now + delay, **learnt, **counted)


def passed(step: StepRecord, *, now: datetime) -> StepChange | None:
    """What becomes of a released step that needs no job; None if it needs one, or is not released (any more)."""
    if not step.is_released:
        return None
    if step.unsuccessful:
        cause = "a step before it" if step.cause is None else f"step {step.cause}"
        message = f"skipped because {cause} did not succeed"
        return _ended(step, StepEvent.SKIP, now, message=message)
    return _ended(step, StepEvent.SUCCEED, now) if step.is_barrier else None


def stopped(step: StepRecord, stop: Stop, *, now: datetime) -> StepChange:
    """An open step of a run that is being closed."""
    if stop.kind is StopKind.CANCEL:
        return _ended(step, StepEvent.CANCEL, now, message=clip(stop.reason))
    if step.state is StepState.PENDING:
        return _ended(step, StepEvent.SKIP, now, message=clip(f"not started: {stop.reason}"))
    return _ended(step, StepEvent.FAIL, now, message=clip(stop.reason))


def is_to_reset(step: StepRecord, *, retries: int) -> bool:
    """Whether this round of the run, the one after so many retries, has still to make the step PENDING."""
    left_over = step.state.is_terminal or step.state is StepState.PENDING
    return left_over and step.state is not StepState.SUCCEEDED and step.retries < retries


def reset(step: StepRecord, *, remaining: int, retries: int, expire_at: datetime | None) -> StepChange:
    """A step that is to run again; `remaining` counts those of its dependencies that are to run again too."""
    return changed(
        step,
        StepEvent.RESET,
        remaining=remaining,
        unsuccessful=0,
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


def after(step: StepRecord, change: StepChange) -> StepRecord:
    """The step as the change leaves it."""
    return replace(step, state=change.state, **change.fields)


def delay_before_retry(backoff: Backoff, *, tries: int, seed: str) -> timedelta:
    """The wait after that many tries. The jitter comes from the seed, so that deciding twice decides the same."""
    initial = backoff.initial.total_seconds()
    limit = backoff.maximum.total_seconds()
    # Far beyond any limit the power would overflow a float.
    grown = initial * backoff.factor ** min(tries - 1, 64)
    share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") / 2**32
    return timedelta(seconds=min(grown, limit) * (1 - backoff.jitter * share))


def delayed(backoff: Backoff, *, tries: int, seed: str, at_least_s: float | None) -> timedelta:
    """The wait that a Task Runner's own wish may lengthen, though not beyond the longest."""
    delay = delay_before_retry(backoff, tries=tries, seed=seed)
    return delay if at_least_s is None else max(delay, min(timedelta(seconds=at_least_s), backoff.maximum))


def clip(text: str) -> str:
    """The text at most as long as a message may be."""
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[: MAX_MESSAGE_LENGTH - 1] + "…"


def not_after_deadline(step: StepRecord, due_at: datetime, *, now: datetime) -> datetime:
    """Return when the checker looks: at the latest when the attempt has taken too long, at once if it has."""
    deadline = step.attempt_deadline
    return due_at if deadline is None else min(due_at, max(deadline, now))


def _ended(step: StepRecord, event: StepEvent, now: datetime, **fields: Any) -> StepChange:
    return changed(step, event, finished_at=now, due_at=None, **fields)


def changed(step: StepRecord, event: StepEvent, **fields: Any) -> StepChange:
    """The step's change by that event; raises `TransitionError` if its state has none."""
    return StepChange(event=event, state=next_step_state(step.state, event), fields=fields)
