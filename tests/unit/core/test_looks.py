"""The times of looks at jobs and of audits, and the order of polls."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_workflows.core.looks import first_audit, next_audit, next_look, poll_order, with_next_look
from atom_workflows.core.polling import still_running
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.transitions import StepChange
from unit.core.test_transitions import NOW, step

TEN = timedelta(seconds=10)
HOUR = timedelta(hours=1)


def test_an_ordinary_wait_is_not_written() -> None:
    """Within a minute the next burst reads the step anyway, so a look that reports nothing new writes nothing."""
    assert with_next_look(step(), None, now=NOW + timedelta(minutes=4), check_interval=TEN) is None
    change = still_running(step(), job_state="LOADING", message="", now=NOW)
    assert with_next_look(step(), change, now=NOW, check_interval=TEN) is change


@pytest.mark.parametrize("is_new", [True, False])
def test_a_wait_of_more_than_a_minute_is_written(*, is_new: bool) -> None:
    """Bursts come once a minute: only the document can keep them from looking sooner."""
    found = still_running(step(), job_state="LOADING", message="", now=NOW) if is_new else None
    long = step(claimed_at=NOW - HOUR, job_state="RUNNING")
    change = with_next_look(long, found, now=NOW, check_interval=timedelta(minutes=10))
    assert isinstance(change, StepChange)
    assert change.fields.get("job_state") == ("LOADING" if is_new else None)


def test_a_deadline_is_looked_at_once_and_then_at_the_usual_pace() -> None:
    """Before it the next look is not later than it; behind it, looks are not crammed into it."""
    young = step(claimed_at=NOW - timedelta(minutes=4, seconds=55))
    assert next_look(young, now=NOW, check_interval=TEN) == NOW + timedelta(seconds=5)
    late = step(claimed_at=NOW - HOUR, unheard_since=NOW, due_at=NOW + timedelta(seconds=20))
    assert next_look(late, now=NOW, check_interval=TEN) == NOW + timedelta(seconds=20)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.1, 0.05])
def test_turns_reach_every_step_soon(share: float) -> None:
    """If a minute has time for a share of the steps, all have had their turn in three times the minutes it takes."""
    steps = [step(id=f"s{number}") for number in range(500)]
    reached: set[str] = set()
    for minute in range(round(3 / share)):
        now = NOW + timedelta(minutes=minute)
        ordered = sorted(steps, key=lambda one: poll_order(one, now=now))
        reached |= {one.id for one in ordered[: round(share * len(steps))]}
    assert len(reached) == len(steps)


@pytest.mark.parametrize(("age_min", "wait_min"), [(1, 1), (20, 2), (600, 5)])
def test_young_runs_are_audited_more_often(age_min: int, wait_min: int) -> None:
    """The wait is a tenth of the run's age, from one to five minutes, counted from its last retry."""
    run = RunRecord(id="r", workflow="w", state=RunState.RUNNING, created_at=NOW - HOUR, reopened_at=NOW)
    now = NOW + timedelta(minutes=age_min)
    assert next_audit(run, now) == now + timedelta(minutes=wait_min)


def test_an_audit_is_never_later_than_the_deadline() -> None:
    """The audit at a run's deadline closes it."""
    deadline = NOW + TEN
    run = RunRecord(id="r", workflow="w", state=RunState.RUNNING, created_at=NOW, deadline=deadline)
    assert first_audit(NOW, deadline) == next_audit(run, NOW) == deadline
    assert first_audit(NOW, None) == NOW + timedelta(minutes=1)
