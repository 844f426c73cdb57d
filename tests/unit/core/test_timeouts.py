"""When an attempt is timed out, or lost with its dispatcher."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from atom_workflows.core.changes import StepChange
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.polling import await_unknown_job, back_off_poll
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.timeouts import ASK_AGAIN, UNHEARD_FOR, end_dispatch, judge_overdue
from atom_workflows.core.workflow import OnLost
from unit.core.test_transitions import NOW, step

LATE = NOW + timedelta(minutes=5)
SECOND = timedelta(seconds=1)


def dispatched(*, answered: bool, on_lost: OnLost = OnLost.RETRY) -> StepRecord:
    """Return a step whose submission was put off, or has no answer."""
    one = step(StepState.DISPATCHING, answered=answered, job_id="")
    return replace(one, policies=replace(one.policies, on_lost=on_lost))


@pytest.mark.parametrize("state", [state for state in StepState if state is not StepState.DISPATCHING])
def test_only_a_submission_under_way_is_ended_without_a_poll(state: StepState) -> None:
    """Only a submission under way is ended without a poll."""
    assert end_dispatch(step(state), now=LATE + timedelta(days=1)) is None


def test_a_submission_that_was_not_accepted_in_time_is_timed_out() -> None:
    """A submission that is not accepted within the timeout is timed out."""
    waiting = dispatched(answered=True)
    assert end_dispatch(waiting, now=LATE - SECOND) is None
    outcome = end_dispatch(waiting, now=LATE)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert "within 5m" in outcome.message


def test_a_submission_without_an_answer_is_repeated_before_it_is_timed_out() -> None:
    """A submission without an answer has five minutes more to be repeated."""
    unknown = dispatched(answered=False)
    assert end_dispatch(unknown, now=LATE + UNHEARD_FOR - SECOND) is None
    outcome = end_dispatch(unknown, now=LATE + UNHEARD_FOR)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.TIMED_OUT


def test_a_submission_that_must_not_be_repeated_is_lost() -> None:
    """With `onLost: fail` an unanswered submission is lost."""
    outcome = end_dispatch(dispatched(answered=False, on_lost=OnLost.FAIL), now=NOW + timedelta(minutes=3))
    assert outcome is not None
    assert outcome.kind is OutcomeKind.LOST
    assert end_dispatch(dispatched(answered=True, on_lost=OnLost.FAIL), now=NOW) is None


def test_a_job_has_its_whole_time() -> None:
    """Before the deadline a poll means what it says."""
    for found in (
        None,
        await_unknown_job(step(), now=NOW),
        back_off_poll(step(), reason="-", now=NOW, retry_after_s=None),
    ):
        assert judge_overdue(step(), found, heard=True, now=LATE - SECOND) is found


def test_how_a_job_ended_counts_however_late_it_is_heard() -> None:
    """A job's end counts however late it is reported."""
    ended = Outcome(step_id="s", attempt=1, kind=OutcomeKind.SUCCEEDED)
    assert judge_overdue(step(), ended, heard=True, now=LATE + timedelta(days=1)) is ended


def test_a_job_that_goes_on_behind_its_deadline_is_timed_out() -> None:
    """A job that still runs after its deadline is timed out."""
    outcome = judge_overdue(step(), None, heard=True, now=LATE)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert "after 5m" in outcome.message


@pytest.mark.parametrize("known", [step(), step(missing_since=LATE)])
def test_a_job_that_is_unknown_behind_its_deadline_is_asked_for_again(known: StepRecord) -> None:
    """A job that is unknown after its deadline is polled again."""
    change = judge_overdue(known, await_unknown_job(known, now=LATE), heard=True, now=LATE)
    assert isinstance(change, StepChange)
    assert change.fields["due_at"] == LATE + ASK_AGAIN
    assert judge_overdue(
        step(), await_unknown_job(step(missing_since=NOW), now=LATE), heard=True, now=LATE
    ) == await_unknown_job(step(missing_since=NOW), now=LATE)


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_job_is_timed_out_unheard_after_minutes_only(*, is_asked: bool) -> None:
    """A silent job is timed out five minutes after its first late poll."""
    now = LATE + timedelta(hours=1)
    found = back_off_poll(step(), reason="-", now=now, retry_after_s=None) if is_asked else None
    change = judge_overdue(step(), found, heard=False, now=now)
    assert isinstance(change, StepChange)
    assert change.fields["unheard_since"] == now
    assert change.fields["due_at"] == now + ASK_AGAIN
    assert ("unanswered" in change.fields) is is_asked
    waiting = step(unheard_since=now)
    change = judge_overdue(waiting, found, heard=False, now=now + UNHEARD_FOR - SECOND)
    assert isinstance(change, StepChange) if is_asked else change is None
    outcome = judge_overdue(waiting, found, heard=False, now=now + UNHEARD_FOR)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert "has not responded" in outcome.message
