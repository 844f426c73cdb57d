"""The view of a run, whatever order its changes come in."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest

from atom_client.views.progress import RunView
from atom_workflows.core.states import RunState, StepState
from unit.client.changes import change, run_change

RETRIED = [
    change("load", "RUNNING", at=1),
    change("load", "RETRYING", at=2, message="no disk"),
    change("load", "RUNNING", attempt=2, at=3),
    change("load", "SUCCEEDED", attempt=2, at=4),
]


def view(*changes: object, total: int = 3, order: tuple[str, ...] = ()) -> RunView:
    """Return the view of a run of three steps with these changes."""
    return RunView(run_id="r1", total=total, order=order).with_changes(changes)  # type: ignore[arg-type]  # also unreadable ones


def states(seen: RunView) -> dict[str, str]:
    """Return each known step's state."""
    return {name: step.state.value for name, step in seen.steps.items()}


def test_every_order_and_repetition_of_changes_gives_the_same_view() -> None:
    """A step shows its newest change, in whatever order changes come."""
    for changes in itertools.permutations(RETRIED):
        assert view(*changes, *changes[:2]) == view(*RETRIED)
    assert view(*RETRIED).steps["load"].attempt == 2


def test_a_terminal_state_wins_within_an_attempt() -> None:
    """An attempt's end is not overwritten by a change with a later time."""
    assert states(view(change("a", "FAILED", at=1), change("a", "RUNNING", at=2))) == {"a": "FAILED"}


@pytest.mark.parametrize(
    ("known", "repeated"),
    [("RUNNING", "DISPATCHING"), ("RETRYING", "RUNNING"), ("RETRYING", "DISPATCHING"), ("DISPATCHING", "PENDING")],
)
def test_an_attempt_never_goes_back(known: str, repeated: str) -> None:
    """A repeated event does not replace a later state of the same attempt, even if its time is later."""
    seen = view(change("a", known, attempt=2, at=1), change("a", repeated, attempt=2, at=2))
    assert states(seen) == {"a": known}


def test_a_later_attempt_wins_over_an_earlier_end() -> None:
    """A step that is run again is shown as running."""
    assert states(view(change("a", "RUNNING", attempt=2, at=0), change("a", "FAILED", at=5))) == {"a": "RUNNING"}


def test_a_run_that_has_ended_stays_ended() -> None:
    """A late event does not open an ended run again."""
    assert view(run_change("SUCCEEDED"), run_change("RUNNING")).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"step": "a"},
        change("a", "DANCING"),
        {**change("a", "RUNNING"), "at": "noon"},
        {**change("a", "RUNNING"), "attempt": "x"},
        {"run": "r1"},
        {"run": "r1", "state": 7},
    ],
)
def test_unreadable_changes_are_left_out(change: dict[str, object]) -> None:
    """A change of another version does not end the watching."""
    assert view(change) == view()


def test_unknown_steps_are_pending() -> None:
    """Steps that nothing is known of count as PENDING."""
    assert view(change("a", "RUNNING")).counts == {StepState.PENDING: 2, StepState.RUNNING: 1}


def test_news_are_the_changed_steps_in_order_of_time() -> None:
    """Only changed steps are news, in the order of their changes."""
    before = view(change("a", "RUNNING", at=1))
    after = before.with_changes(
        [change("c", "RUNNING", at=3), change("b", "RUNNING", at=2), change("a", "RUNNING", at=1)]
    )
    assert [step.id for step in after.news(before)] == ["b", "c"]


def test_a_small_run_shows_every_step_in_the_order_of_the_file() -> None:
    """Steps that nothing is known of are shown too."""
    seen = view(change("b", "RUNNING"), order=("a", "b", "c"))
    assert [(step.id, step.state.value) for step in seen.rows(3)] == [
        ("a", "PENDING"),
        ("b", "RUNNING"),
        ("c", "PENDING"),
    ]


def test_a_large_run_shows_what_is_under_way_before_what_has_ended() -> None:
    """Running steps come first, then failures, then the newest ends."""
    seen = view(
        change("done", "SUCCEEDED", at=9),
        change("older", "SUCCEEDED", at=8),
        change("bad", "FAILED", at=1),
        change("slow", "RUNNING", at=2),
        total=50,
        order=tuple("abcdefgh"),
    )
    assert [step.id for step in seen.rows(3)] == ["slow", "bad", "done"]


def test_many_running_steps_leave_room_for_ends() -> None:
    """A few rows are kept for steps that have just ended."""
    running = [change(f"r{i}", "RUNNING", at=i) for i in range(30)]
    rows = view(*running, change("bad", "FAILED"), total=99).rows(10)
    assert len(rows) == 10
    assert rows[-1].id == "bad"


def test_times_are_those_of_the_changes() -> None:
    """A step's time is when it changed, not when the change arrived."""
    assert view(change("a", "RUNNING", at=7)).steps["a"].at == datetime.fromisoformat(
        change("a", "RUNNING", at=7)["at"]
    )
