"""What is odd about a step under way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_workflows.core import polling
from atom_workflows.core.changes import apply_change
from atom_workflows.core.oddities import LONG_SILENCE, OddityKind, oddity_of
from atom_workflows.core.outcomes import JOB_PROGRESS
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from unit.core.test_transitions import NOW, step

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("state", [*sorted(JOB_PROGRESS), "running", " Queued ", ""])
def test_the_contracts_words_are_not_odd(state: str) -> None:
    """A job in progress is in order, however its state is written."""
    assert oddity_of(step(job_state=state), now=NOW + 60 * MINUTE) is None


@pytest.mark.parametrize("state", ["COMPLETED", "Done", "SUCCESS"])
def test_other_words_are_odd_at_once(state: str) -> None:
    """A state that the contract does not have is quoted."""
    odd = oddity_of(step(job_state=state), now=NOW)
    assert odd is not None
    assert (odd.kind, repr(state) in odd.what) == (OddityKind.UNKNOWN_STATE, True)


def test_a_job_that_the_task_runner_does_not_know_is_odd_at_once() -> None:
    """An unknown job is odd at once, with the time since then."""
    odd = oddity_of(step(missing_since=NOW), now=NOW + timedelta(seconds=42.9))
    assert odd is not None
    assert odd.kind is OddityKind.UNKNOWN_JOB
    assert odd.what.startswith("the Task Runner has been reporting job j as unknown for 42s;")


def test_a_silence_is_odd_from_its_fifth_minute() -> None:
    """A silence is odd after five minutes, counted from its first failed call."""
    silent = step()
    for at in (NOW, NOW + 3 * MINUTE):
        silent = apply_change(silent, polling.back_off_poll(silent, reason="HTTP 500", now=at, retry_after_s=None))
    assert oddity_of(silent, now=NOW + LONG_SILENCE - timedelta(seconds=1)) is None
    odd = oddity_of(silent, now=NOW + LONG_SILENCE)
    assert odd is not None
    assert odd.what == "the Task Runner has given no valid response to queries about job j for 5m"
    heard = polling.record_progress(silent, job_state="RUNNING", message="", now=NOW + LONG_SILENCE)
    assert heard is not None
    again = apply_change(silent, heard)
    again = apply_change(
        again, polling.back_off_poll(again, reason="HTTP 500", now=NOW + LONG_SILENCE, retry_after_s=None)
    )
    assert oddity_of(again, now=NOW + LONG_SILENCE + MINUTE) is None


def test_a_job_that_is_not_accepted_for_long_is_odd() -> None:
    """A step that was put off for long is odd."""
    waiting = step(StepState.DISPATCHING, deferrals=7, job_id="", job_state="")
    assert oddity_of(waiting, now=NOW + 4 * MINUTE) is None
    odd = oddity_of(waiting, now=NOW + 6 * MINUTE)
    assert odd is not None
    assert odd.what == "the Task Runner has not accepted its job for 6m"
    assert oddity_of(step(StepState.DISPATCHING), now=NOW + 6 * MINUTE) is None


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.RETRYING, StepState.SUCCEEDED, StepState.FAILED])
def test_only_a_step_at_the_task_runner_is_odd(state: StepState) -> None:
    """A step that is not at the Task Runner is never odd."""
    left = step(state, missing_since=NOW, unanswered=9, unanswered_since=NOW, deferrals=9, job_state="COMPLETED")
    assert oddity_of(left, now=NOW + 60 * MINUTE) is None


@pytest.mark.parametrize(
    "waiting",
    [
        step(StepState.DISPATCHING, leftovers=("old",), stop_attempt=1, stop_since=NOW, deferrals=9),
        step(job_id="old", stop_for="timeout", stop_attempt=1, stop_since=NOW, job_state="CANCELLING"),
    ],
)
def test_a_job_that_does_not_stop_is_odd(waiting: StepRecord) -> None:
    """A step that waits for a job to stop for long says so, and not that its own job is not accepted."""
    assert oddity_of(waiting, now=NOW + 4 * MINUTE) is None
    odd = oddity_of(waiting, now=NOW + 6 * MINUTE)
    assert odd is not None
    assert odd.kind is OddityKind.STOPPING
    assert odd.what == "job old has not stopped, although its Task Runner was asked to stop it 6m ago"
