"""The progress of steps with items: one row for each such step, whatever its items do."""

from __future__ import annotations

import io
import itertools
from contextlib import redirect_stdout

from rich.console import Console

from atom_client.cli.live import MOST_FAILURE_LINES, Lines
from atom_client.cli.live_view import picture
from atom_client.cli.output import Output
from atom_client.cli.screen import Screen
from atom_client.views.progress import RunView
from atom_emulator.testing.world import START, World
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState, StepState
from support.workflows import script
from unit.client.changes import change
from unit.client.test_runs_with_items import FAILS, loop

EXPANDED = {**change("train", "RUNNING", at=1), "items": 4}


def view(*changes: dict[str, object], total: int = 3) -> RunView:
    """Return the view of a run with a step `train` after these changes."""
    return RunView(run_id="r1", total=total, order=("list", "train", "report")).with_changes(changes)


def row(seen: RunView) -> tuple[str, str]:
    """Return the state and the message of `train`."""
    [found] = [step for step in seen.rows(9) if step.id == "train"]
    return found.state.value, found.message


def printed(*views: RunView) -> list[str]:
    """Return the lines for these views, six seconds apart."""
    now = itertools.count(step=6.0)
    lines = Lines(Output(), views[0], lambda: next(now))
    text = io.StringIO()
    with redirect_stdout(text):
        for seen in views[1:-1]:
            lines.update(seen)
        lines.finish(views[-1])
    return [line.partition("] ")[2] for line in text.getvalue().splitlines()]


def test_a_loop_is_one_row_with_the_numbers_of_its_items() -> None:
    """Items have no rows, and count neither as steps nor as ended steps."""
    changes = [EXPANDED, change("train[0]", "SUCCEEDED"), change("train[1]", "FAILED"), change("train[2]", "RUNNING")]
    for order in itertools.permutations(changes):
        seen = view(*order, *order[:2])
        assert row(seen) == ("RUNNING", "2 of 4 ended, 1 failed, 1 running")
        assert [step.id for step in seen.rows(9)] == ["list", "train", "report"]
        assert seen.counts == {StepState.PENDING: 2, StepState.RUNNING: 1}
        assert seen.ended == 0


def test_a_loop_that_ended_keeps_its_numbers() -> None:
    """Unless it failed: then its message says more."""
    items = [change(f"train[{number}]", "SUCCEEDED") for number in range(3)]
    done = [EXPANDED, *items, change("train[3]", "FAILED")]
    assert row(view(*done, change("train", "SUCCEEDED", at=9))) == ("SUCCEEDED", "4 items, 1 failed")
    failed = change("train", "FAILED", at=9, message="1 of 4 items failed")
    assert row(view(*done, failed)) == ("FAILED", "1 of 4 items failed")


def test_lost_events_of_items_leave_no_wrong_numbers() -> None:
    """Once the step has succeeded, all of its items have ended, whatever was reported."""
    assert row(view(EXPANDED, change("train", "SUCCEEDED", at=9))) == ("SUCCEEDED", "4 items")


def test_the_number_of_items_may_be_known_from_the_run() -> None:
    """If the change that says it is lost, the run's document has it, unless several steps have items."""
    run = RunRecord(id="r1", workflow="f", state=RunState.RUNNING, created_at=START, step_count=3, item_count=7)
    item = change("train[2]", "RUNNING")
    assert row(view(item)) == ("RUNNING", "0 ended, 1 running")
    assert row(view(item).with_run(run)) == ("RUNNING", "0 of 7 ended, 1 running")
    assert row(view(item, change("list[0]", "RUNNING")).with_run(run)) == ("RUNNING", "0 ended, 1 running")


def test_an_item_that_is_tried_again_is_counted_once() -> None:
    """Its newest attempt counts."""
    again = [change("train[0]", "FAILED", at=2), change("train[0]", "RUNNING", attempt=2, at=3)]
    assert row(view(EXPANDED, *again)) == ("RUNNING", "0 of 4 ended, 1 running")


def test_ten_thousand_items_are_a_few_lines() -> None:
    """Only the first failures have lines of their own, and progress is one line for each step."""
    size = 10_000
    begun = view({**EXPANDED, "items": size})
    half = begun.with_changes(change(f"train[{number}]", "FAILED", message="no") for number in range(size // 2))
    done = half.with_changes(change(f"train[{number}]", "SUCCEEDED") for number in range(size // 2, size))
    ended = done.with_changes([change("train", "FAILED", at=9, message="5000 of 10000 items failed")])
    lines = printed(view(), begun, half, done, ended)
    assert lines[0] == "train RUNNING: 0 of 10,000 ended"
    assert lines[1] == "train[0] FAILED: no"
    assert sum(line.startswith("train[") for line in lines) == MOST_FAILURE_LINES
    rest = [line for line in lines[1:] if not line.startswith("train[")]
    assert rest == [
        "train RUNNING: 5,000 of 10,000 ended, 5,000 failed",
        "train RUNNING: 10,000 items, 5,000 failed",
        "train FAILED: 5000 of 10000 items failed",
    ]


def test_a_large_run_prints_the_items_below_its_progress() -> None:
    """The steps are counted on one line, and the items of each step on another."""
    seen = view(EXPANDED, change("train[0]", "RUNNING"), total=60)
    assert printed(view(total=60), seen) == [
        "0 of 60 steps ended: 59 PENDING, 1 RUNNING",
        "train RUNNING: 0 of 4 ended, 1 running",
    ]


def test_the_picture_has_one_row_for_a_loop() -> None:
    """It is never larger than the screen, however many items there are."""
    items = [change(f"train[{number}]", "RUNNING", at=number) for number in range(500)]
    seen = view({**EXPANDED, "items": 500}, *items)
    console = Console(width=80, height=24, file=io.StringIO(), color_system=None)
    console.print(picture(seen, elapsed_s=5, screen=Screen(width=80, height=24)))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is a StringIO
    assert [line.split() for line in lines if line.startswith("train")] == [
        ["train", "RUNNING", "0", "of", "500", "ended,", "500", "running"]
    ]
    assert len(lines) < 10


def test_the_events_of_a_run_give_the_numbers() -> None:
    """What the functions publish is what the progress reads."""
    world = World(script(**{"train[1]": FAILS, "train[2]": {"duration": 900}}))
    world.start(loop(3))
    world.settle_down()
    changes = [change for message in world.changes() for change in message.body["changes"]]
    assert row(view(*changes)) == ("RUNNING", "2 of 3 ended, 1 failed, 1 running")
