"""The attempts that a step keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom_workflows.core import transitions
from atom_workflows.core.attempts import LONGEST_MESSAGE, LONGEST_TEXT, MOST_KEPT, Attempt, list_attempts
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.counts import Counts
from atom_workflows.core.endings import reset, stop_step
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, NodeKind
from atom_workflows.core.outcomes import FAILURE_KINDS, Outcome, OutcomeKind
from atom_workflows.core.polling import record_progress
from atom_workflows.core.records import Policies, StepRecord, Stop, StopKind
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Backoff, OnLost, RetryPolicy
from atom_workflows.ports import MAX_JOB_ID

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(minutes=3)
BACKOFF = Backoff(initial=timedelta(seconds=10), factor=1, maximum=timedelta(seconds=10), jitter=0)


def released(**fields: Any) -> StepRecord:
    """Return a step that may be claimed."""
    return StepRecord(
        run_id="r",
        id="s",
        **{
            "kind": NodeKind.JOB,
            "request": {},
            "task_runner_url": "http://tr",
            "depends_on": (),
            "dependents": (),
            "barriers": (),
            "policies": Policies(
                timeout=timedelta(hours=5),
                retry=RetryPolicy(max_attempts=100, backoff=BACKOFF),
                on_lost=OnLost.RETRY,
            ),
            "remaining": 0,
            **fields,
        },
    )


def at(second: float) -> datetime:
    """Return a time so many seconds after the beginning."""
    return NOW + timedelta(seconds=second)


def claimed(step: StepRecord, second: float) -> StepRecord:
    """Return the step once it is claimed."""
    return apply_change(step, transitions.claim(step, now=at(second), lease=LEASE))


def submitted(step: StepRecord, second: float, job: str, state: str = "RUNNING") -> StepRecord:
    """Return the step once its job is accepted."""
    change = transitions.record_job(step, job_id=job, job_state=state, message="goes on", first_poll=at(second))
    return apply_change(step, change)


def decided(step: StepRecord, second: float, kind: OutcomeKind, **fields: Any) -> StepChange:
    """Return the change that an outcome of the current attempt makes."""
    outcome = Outcome(step_id="s", attempt=step.attempt, kind=kind, **{"job_id": step.job_id, **fields})
    change = transitions.apply_outcome(step, outcome, now=at(second))
    assert change is not None
    return change


def ended(step: StepRecord, second: float, kind: OutcomeKind, **fields: Any) -> StepRecord:
    """Return the step after the outcome of its current attempt."""
    return apply_change(step, decided(step, second, kind, **fields))


def failed(step: StepRecord, number: int, **fields: Any) -> StepRecord:
    """Return the step after one more attempt, which failed."""
    running = submitted(claimed(step, 100 * number), 100 * number + 1, f"j{number}")
    return ended(running, 100 * number + 50, OutcomeKind.FAILED, **fields)


def again(step: StepRecord, retries: int = 1) -> StepRecord:
    """Return the step after a retry of its run."""
    return apply_change(step, reset(step, remaining=0, kept=Counts(), retries=retries, expire_at=None))


def test_a_failed_attempt_is_kept_by_the_change_that_ends_it() -> None:
    """It is kept with its job, its times, and all that the Task Runner said of its end."""
    said: dict[str, Any] = {"message": "no memory", "reason": "OOM", "logs_url": "https://logs/1"}
    first = failed(released(), 0, **said)
    assert first.state is StepState.RETRYING
    kept = Attempt(number=1, kind="failed", claimed_at=at(0), ended_at=at(50), job_id="j0", **said)
    assert list_attempts(first) == [kept]


def test_a_step_that_succeeds_at_once_keeps_nothing() -> None:
    """Its own fields say all of its attempt, so nothing more is written."""
    step = submitted(claimed(released(), 0), 1, "j")
    change = decided(step, 9, OutcomeKind.SUCCEEDED, logs_url="https://logs")
    assert "attempts" not in change.fields
    end = apply_change(step, change)
    assert end.attempts == ""
    assert list_attempts(end) == [
        Attempt(number=1, kind="succeeded", claimed_at=at(0), ended_at=at(9), job_id="j", logs_url="https://logs")
    ]


def test_attempts_are_listed_in_order_with_the_one_under_way() -> None:
    """An attempt under way has not ended, and says nothing that the one before it said."""
    step = claimed(failed(failed(released(), 0), 1, message="broken", reason="OOM"), 300)
    assert [(one.number, one.kind, one.job_id) for one in list_attempts(step)] == [
        (1, "failed", "j0"),
        (2, "failed", "j1"),
        (3, "", ""),
    ]
    assert list_attempts(step)[-1] == Attempt(number=3, claimed_at=at(300))
    running = submitted(step, 301, "j2")
    assert list_attempts(running)[-1] == Attempt(number=3, claimed_at=at(300), job_id="j2", message="goes on")


def test_the_end_of_an_attempt_is_its_own() -> None:
    """A refusal, of which there is no job, has not the reason of the failure before."""
    step = claimed(failed(released(), 0, message="broken", reason="OOM"), 100)
    end = ended(step, 101, OutcomeKind.REFUSED, message="no such image")
    assert list_attempts(end)[-1] == Attempt(
        number=2, kind="refused", claimed_at=at(100), ended_at=at(101), message="no such image"
    )


@pytest.mark.parametrize("kind", [StopKind.CANCEL, StopKind.TIMEOUT, StopKind.FAIL])
def test_an_attempt_that_a_stop_ends_is_kept(kind: StopKind) -> None:
    """It is kept as stopped, with the reason of the stop."""
    stop = Stop(kind=kind, reason="by request", requested_at=NOW)
    step = submitted(claimed(released(), 0), 1, "j")
    end = apply_change(step, stop_step(step, stop, now=at(7)))
    [only] = list_attempts(end)
    assert (only.kind, only.message, only.ended_at, only.job_id) == ("stopped", "by request", at(7), "j")


def test_a_stop_ends_no_attempt_that_has_ended() -> None:
    """An attempt is not kept again if its step is stopped during the back-off."""
    stop = Stop(kind=StopKind.CANCEL, reason="by request", requested_at=NOW)
    waiting = failed(released(), 0, message="broken")
    end = apply_change(waiting, stop_step(waiting, stop, now=at(55)))
    assert [(one.kind, one.message) for one in list_attempts(end)] == [("failed", "broken")]


def test_a_stop_before_the_first_attempt_keeps_nothing() -> None:
    """A step that was not started has no attempts."""
    stop = Stop(kind=StopKind.CANCEL, reason="by request", requested_at=NOW)
    end = apply_change(released(), stop_step(released(), stop, now=NOW))
    assert list_attempts(end) == []


def test_a_reset_keeps_what_succeeded() -> None:
    """The attempts of earlier rounds stay, each once, and name their round."""
    step = failed(released(), 0)
    step = ended(submitted(claimed(step, 100), 101, "j1"), 150, OutcomeKind.SUCCEEDED)
    step = failed(again(step), 2)
    assert [(one.number, one.kind, one.retries, one.job_id) for one in list_attempts(step)] == [
        (1, "failed", 0, "j0"),
        (2, "succeeded", 0, "j1"),
        (3, "failed", 1, "j2"),
    ]


def test_a_reset_keeps_no_attempt_twice() -> None:
    """An attempt that ended its step is kept by its end alone."""
    one_try = replace(released().policies, retry=RetryPolicy(max_attempts=1))
    end = failed(released(policies=one_try), 0)
    assert end.state is StepState.FAILED
    assert [one.number for one in list_attempts(end)] == [1]
    assert again(end).attempts == end.attempts


def test_a_reset_of_a_step_without_attempts_keeps_none() -> None:
    """A barrier and a step that was skipped have no attempts."""
    skipped = released(state=StepState.SKIPPED)
    barrier = released(kind=NodeKind.BARRIER, request=None, state=StepState.SUCCEEDED, attempt=1, claimed_at=NOW)
    assert [list_attempts(again(one)) for one in (skipped, barrier)] == [[], []]


def test_only_the_latest_attempts_are_kept() -> None:
    """A step that was tried for ever keeps the last twenty attempts."""
    step = released()
    for number in range(MOST_KEPT + 5):
        step = failed(step, number)
    assert [one.number for one in list_attempts(step)] == list(range(6, MOST_KEPT + 6))


def test_the_text_of_kept_attempts_is_bounded() -> None:
    """Long messages are cut, and if addresses are as long as may be, fewer attempts are kept, at least one."""
    step = released()
    long = {"message": "x" * 2_000, "reason": "r" * 64, "logs_url": f"https://logs/{'y' * 1_900}"}
    for number in range(8):
        step = failed(step, number, **long)
        assert len(step.attempts) <= LONGEST_TEXT + MOST_KEPT
    assert [one.number for one in list_attempts(step)] == [6, 7, 8]
    assert {len(one.message) for one in list_attempts(step)} == {LONGEST_MESSAGE}
    plain = released()
    for number in range(MOST_KEPT):
        plain = failed(plain, number, message="x" * 2_000)
    assert len(list_attempts(plain)) == MOST_KEPT
    assert len(failed(released(), 0, job_id="j" * MAX_JOB_ID, **long).attempts) < LONGEST_TEXT


def test_any_message_is_kept_as_it_is() -> None:
    """Characters that end a line, or that JSON escapes, neither split an attempt nor get lost."""
    odd = 'a\n\r\u2028\u0085\x0b"\\{}日本 \x1b[31m'
    step = failed(failed(released(), 0, message=odd), 1, message=odd)
    assert [one.message for one in list_attempts(step)] == [odd, odd]


def test_times_of_a_job_that_had_to_wait() -> None:
    """An attempt knows when its job was accepted if that took several submissions, and when the job was RUNNING."""
    step = claimed(released(), 0)
    step = apply_change(step, transitions.defer(step, reason="busy", now=at(1), retry_after_s=None))
    step = submitted(claimed(step, 60), 61, "j", "QUEUED")
    change = record_progress(step, job_state="RUNNING", message="", now=at(90))
    assert change is not None
    step = apply_change(step, change)
    assert record_progress(step, job_state="RUNNING", message="", now=at(95)) is None
    [only] = list_attempts(ended(step, 100, OutcomeKind.FAILED))
    assert (only.claimed_at, only.submitted_at, only.running_at, only.ended_at) == (at(0), at(60), at(90), at(100))


def test_times_are_those_of_the_current_attempt() -> None:
    """The next attempt has none of the times that the one before had, even if an older version began it."""
    step = submitted(claimed(released(), 0), 1, "j", "QUEUED")
    change = record_progress(step, job_state="RUNNING", message="", now=at(9))
    assert change is not None
    step = ended(apply_change(step, change), 10, OutcomeKind.FAILED)
    newer = claimed(step, 20)
    assert newer.running_at is None
    older = replace(newer, running_at=step.running_at)
    assert list_attempts(older)[-1].running_at is None


def test_a_submission_that_may_have_started_the_job_hides_when_that_was() -> None:
    """The job may have been started by the first submission."""
    step = claimed(released(), 0)
    step = apply_change(step, transitions.repeat_or_fail(step, reason="HTTP 500", now=at(1), retry_after_s=None))
    assert list_attempts(claimed(step, 60))[-1].submitted_at is None


def test_attempts_that_an_older_version_ended_are_missing() -> None:
    """An older version keeps none and leaves those that are kept; its last one is read from the step."""
    step = failed(released(), 0)
    older = replace(failed(step, 1), attempts=step.attempts)
    assert [(one.number, one.kind) for one in list_attempts(older)] == [(1, "failed"), (2, "failed")]
    assert [one.number for one in list_attempts(failed(older, 2))] == [1, 3]


def test_a_field_of_a_newer_version_is_ignored() -> None:
    """An attempt that says more than this version knows is read all the same."""
    step = failed(released(), 0)
    newer = replace(step, attempts=step.attempts.replace("{", '{"added_later":[1],', 1))
    assert list_attempts(newer) == list_attempts(step)


def test_a_job_of_an_earlier_attempt_is_not_this_ones() -> None:
    """A step that failed beside a job that did not stop names that job; its attempt had none."""
    step = replace(claimed(failed(released(), 0), 100), leftovers=("j0",))
    end = ended(step, 200, OutcomeKind.TIMED_OUT, job_id="j0", reason="NOT_STOPPED", message="not submitted")
    assert [(one.number, one.kind, one.job_id) for one in list_attempts(end)] == [
        (1, "failed", "j0"),
        (2, "timeout", ""),
    ]


@pytest.mark.parametrize("schema", [1, LANGUAGE_SCHEMA])
@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED])
def test_each_kind_of_failure_is_kept(kind: OutcomeKind, schema: int) -> None:
    """A kept attempt says how it failed, in the words of expressions, whatever its run's schema."""
    step = submitted(claimed(released(schema=schema), 0), 1, "j")
    missing: dict[str, Any] = {"missing_since": NOW} if kind is OutcomeKind.LOST else {}
    end = ended(replace(step, **missing), 9, kind, **missing)
    assert [one.kind for one in list_attempts(end)] == [FAILURE_KINDS[kind]]
