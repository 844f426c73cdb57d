"""Results of polling a job become changes of its step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_workflows.core import polling
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.outcomes import Outcome, OutcomeKind, outcome_of
from atom_workflows.core.polling import first_audit, next_audit, next_look, poll_order, record_progress, with_next_look
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.transitions import apply_outcome
from unit.core.test_transitions import NOW, step


def test_a_job_is_lost_only_after_the_grace_period() -> None:
    """An unknown job is lost only after the grace period."""
    first = polling.await_unknown_job(step(), now=NOW)
    assert isinstance(first, StepChange)
    since = step(missing_since=first.fields["missing_since"])
    assert polling.await_unknown_job(since, now=NOW + polling.MISSING_GRACE / 2) is None
    lost = polling.await_unknown_job(since, now=NOW + polling.MISSING_GRACE)
    assert isinstance(lost, Outcome)
    assert lost.kind is OutcomeKind.LOST


def test_only_an_uninterrupted_word_loses_a_job() -> None:
    """Any other answer or failed poll restarts the grace period."""
    later = NOW + polling.MISSING_GRACE
    noted = apply_change(step(), _change(polling.await_unknown_job(step(), now=NOW)))
    failed = apply_change(noted, polling.back_off_poll(noted, reason="HTTP 503", now=NOW, retry_after_s=None))
    known = apply_change(noted, _change(polling.record_progress(noted, job_state="RUNNING", message="", now=NOW)))
    for one in (failed, known):
        assert _change(polling.await_unknown_job(one, now=later)).fields["missing_since"] == later
    assert isinstance(polling.await_unknown_job(noted, now=later), Outcome)


def _change(found: StepChange | Outcome | None) -> StepChange:
    assert isinstance(found, StepChange)
    return found


def test_a_poll_that_tells_nothing_new_changes_nothing() -> None:
    """A poll without a new state writes nothing."""
    assert polling.record_progress(step(), job_state="RUNNING", message="still", now=NOW) is None
    assert polling.record_progress(step(), job_state="CANCELLING", message="", now=NOW) is not None
    assert polling.record_progress(step(missing_since=NOW), job_state="RUNNING", message="", now=NOW) is not None


def test_a_status_call_that_fails_is_repeated_after_a_wait_that_grows() -> None:
    """Failed polls double the wait up to its limit, and keep the job's state."""
    one = step()
    waits = []
    for _ in range(8):
        change = polling.back_off_poll(one, reason="HTTP 503", now=NOW, retry_after_s=None)
        one = apply_change(one, change)
        assert one.due_at is not None
        waits.append((one.due_at - NOW).total_seconds())
    assert waits[:5] == sorted(waits[:5])
    assert 4 <= waits[0] <= 5
    assert 96 <= waits[-1] <= 120
    assert one.job_state == "RUNNING"
    assert one.message == "polling job j failed 8 times in a row: HTTP 503"


def test_a_task_runner_may_ask_for_a_longer_wait() -> None:
    """Retry-After lengthens the wait, though not beyond the longest."""
    for asked, waited in ((60.0, timedelta(seconds=60)), (86_400.0, polling.POLL_BACKOFF.maximum)):
        change = polling.back_off_poll(step(), reason="HTTP 429", now=NOW, retry_after_s=asked)
        assert change.fields["due_at"] == NOW + waited


def test_a_job_is_looked_at_when_its_time_is_up_however_long_the_wait() -> None:
    """The wait after a failed poll ends at the attempt's deadline."""
    late = NOW + timedelta(minutes=4, seconds=58)
    change = polling.back_off_poll(step(unanswered=9), reason="HTTP 503", now=late, retry_after_s=None)
    assert change.fields["due_at"] == NOW + timedelta(minutes=5)


def test_an_answer_ends_the_back_off() -> None:
    """The first answer after failed polls ends the back-off."""
    change = polling.record_progress(step(unanswered=3), job_state="RUNNING", message="", now=NOW)
    assert change is not None
    assert (change.fields["unanswered"], change.fields["due_at"], change.fields["message"]) == (0, NOW, "")


def test_an_outcome_forgets_the_calls_that_failed_before() -> None:
    """An outcome resets the count of failed polls."""
    silent = step(unanswered=3, attempts=2)
    outcome = outcome_of(silent, job_id="j", job_state="FAILED", message="")
    assert outcome is not None
    change = apply_outcome(silent, outcome, now=NOW)
    assert change is not None
    assert change.fields["unanswered"] == 0


def test_a_job_is_looked_at_soon_then_regularly_then_seldom() -> None:
    """The wait between polls grows with the job's age."""
    interval = timedelta(seconds=10)
    ages = [0, 1, 3, 5, 10, 20, 60, 200, 300, 600, 1200, 36_000]
    waits = [polling.poll_interval(timedelta(seconds=age), interval).total_seconds() for age in ages]
    assert waits == [2, 2, 2, 2.5, 5, 10, 10, 10, 15, 30, 60, 60]


def test_an_interval_longer_than_a_minute_is_kept() -> None:
    """A check interval of over a minute is never shortened."""
    interval = timedelta(minutes=5)
    assert polling.poll_interval(timedelta(hours=10), interval) == interval


TEN = timedelta(seconds=10)
HOUR = timedelta(hours=1)


def test_an_ordinary_wait_is_not_written() -> None:
    """A next look within a minute is not written."""
    assert with_next_look(step(), None, now=NOW + timedelta(minutes=4), check_interval=TEN) is None
    change = record_progress(step(), job_state="LOADING", message="", now=NOW)
    assert with_next_look(step(), change, now=NOW, check_interval=TEN) is change


@pytest.mark.parametrize("is_new", [True, False])
def test_a_wait_of_more_than_a_minute_is_written(*, is_new: bool) -> None:
    """A next look after more than a minute is written."""
    found = record_progress(step(), job_state="LOADING", message="", now=NOW) if is_new else None
    long = step(claimed_at=NOW - HOUR, job_state="RUNNING")
    change = with_next_look(long, found, now=NOW, check_interval=timedelta(minutes=10))
    assert isinstance(change, StepChange)
    assert change.fields.get("job_state") == ("LOADING" if is_new else None)


def test_a_deadline_is_looked_at_once_and_then_at_the_usual_pace() -> None:
    """The next look is not after the deadline, unless that has passed."""
    young = step(claimed_at=NOW - timedelta(minutes=4, seconds=55))
    assert next_look(young, now=NOW, check_interval=TEN) == NOW + timedelta(seconds=5)
    late = step(claimed_at=NOW - HOUR, unheard_since=NOW, due_at=NOW + timedelta(seconds=20))
    assert next_look(late, now=NOW, check_interval=TEN) == NOW + timedelta(seconds=20)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.1, 0.05])
def test_turns_reach_every_step_soon(share: float) -> None:
    """Every step gets its turn within three times the minutes that all take."""
    steps = [step(id=f"s{number}") for number in range(500)]
    reached: set[str] = set()
    for minute in range(round(3 / share)):
        now = NOW + timedelta(minutes=minute)
        ordered = sorted(steps, key=lambda one: poll_order(one, now=now))
        reached |= {one.id for one in ordered[: round(share * len(steps))]}
    assert len(reached) == len(steps)


@pytest.mark.parametrize(("age_min", "wait_min"), [(1, 1), (20, 2), (600, 5)])
def test_young_runs_are_audited_more_often(age_min: int, wait_min: int) -> None:
    """The wait between audits is a tenth of the run's age, within limits."""
    run = RunRecord(id="r", workflow="w", state=RunState.RUNNING, created_at=NOW - HOUR, reopened_at=NOW)
    now = NOW + timedelta(minutes=age_min)
    assert next_audit(run, now) == now + timedelta(minutes=wait_min)


def test_an_audit_is_never_later_than_the_deadline() -> None:
    """An audit is at the latest at the run's deadline."""
    deadline = NOW + TEN
    run = RunRecord(id="r", workflow="w", state=RunState.RUNNING, created_at=NOW, deadline=deadline)
    assert first_audit(NOW, deadline) == next_audit(run, NOW) == deadline
    assert first_audit(NOW, None) == NOW + timedelta(minutes=1)
