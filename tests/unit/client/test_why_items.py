"""`why` on runs whose steps have items: what a step waits for, why items failed or were skipped, and single items."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from support.workflows import script
from unit.client.explained import call, why, why_json
from unit.client.test_runs_with_items import FAILS, ended, loop
from unit.client.test_why import line_with

SLOW: dict[str, Any] = {"duration": 900}


def under_way() -> tuple[World, str]:
    """Return a world in which two of five items run, and one has failed."""
    world = World(script(**{"train[1]": FAILS, "train[2]": SLOW, "train[3]": SLOW}))
    run_id = world.start(loop(5, tolerate=1))
    world.settle_down()
    world.clock.move(timedelta(seconds=90))
    world.tick()
    return world, run_id


# -- the run ----------------------------------------------------------------------------------------------------------


def test_a_run_waits_for_a_loop_with_the_numbers_of_its_items() -> None:
    """The loop is one reason, with how many items have ended, and how many steps wait for it."""
    world, run_id = under_way()
    text = why(world, run_id)
    assert "1 of 3 steps ended" in text
    line = line_with(text, "`train` has been")
    assert "RUNNING for 1 min 30 s: 3 of 5 ended, 1 failed, 2 running; 1 step is waiting for it: `report`" in line
    assert "`train[1]` FAILED after 1 attempt (OOM): no memory" in text
    [reason] = [one for one in why_json(world, run_id)["reasons"] if one["kind"] == "waits"]
    assert (reason["step"], reason["holds_up"], reason["items"]["states"]["RUNNING"]) == ("train", 1, 2)


def test_a_run_that_failed_names_the_loop_what_it_blocks_and_its_items() -> None:
    """The step's message counts, and the first items that failed have lines of their own."""
    world, run_id = ended(script(train=FAILS), loop(8))
    text = why(world, run_id)
    assert "`train` FAILED: 8 of 8 items failed; first: train[0]: no memory; it blocks `report`" in text
    heading = "Failed items, the first few of each step (`runs show RUN --items STEP` shows all):"
    assert f"{heading}\n  `train[0]` FAILED" in text
    assert "`train[4]`" in text
    assert "`train[5]`" not in text
    assert "~" not in text


def test_items_that_the_task_runner_does_not_accept_are_named() -> None:
    """The numbers of their step do not say why they wait, so a few of them do."""
    world = World(script(train={"submit_errors": [503, 503, 503, 503, 503, 503]}))
    run_id = world.start(loop(40))
    world.settle_down()
    text = why(world, run_id)
    assert "being submitted" in line_with(text, "`train` has been")
    lines = [line for line in text.splitlines() if "not accepted by the Task Runner (tried 1 time)" in line]
    assert all(line.startswith("  `train[") for line in lines)
    assert any("HTTP 503" in line for line in lines)


def test_explaining_a_run_reads_few_items() -> None:
    """However many items there are, an explanation reads the steps and a few items, and lets the store count."""
    reads = []
    for size in (10, 150):
        world = World("default: {duration: 900}")
        run_id = world.start(loop(size))
        world.settle_down()
        world.clock.move(timedelta(seconds=900))
        world.tick()
        before = world.store.reads
        assert f"0 of {size} ended, {size} running" in why(world, run_id)
        reads.append(world.store.reads - before)
    # Barriers between items and their step are read, and there are few.
    assert reads[1] - reads[0] <= 150 // 30


# -- the step ---------------------------------------------------------------------------------------------------------


def test_a_loop_under_way_says_which_items_it_waits_for() -> None:
    """The list, the numbers, what failed, how many may, and a few of the items that are running."""
    world, run_id = under_way()
    text = why(world, run_id, "train")
    assert "Step `train` has been RUNNING for 1 min 30 s: 3 of 5 ended, 1 failed, 2 running." in text
    for fact in (
        "depends on   `list` SUCCEEDED: counts as a success",
        "forEach      a list of size 5 in the file",
        "items        3 of 5 ended, 1 failed, 2 running",
        "tolerate     1; 1 has failed, so the step may still succeed",
        "failed       `train[1]` FAILED after 1 attempt (OOM): no memory",
        "waits for    `train[2]` has been RUNNING for 1 min 30 s, job ",
        "attempts     at most 1 for each item",
    ):
        assert fact in text
    found = why_json(world, run_id, "train")
    assert (found["items"]["total"], found["items"]["tolerate"], found["item"]) == (5, 1, None)


def test_tolerated_items_of_a_run_that_succeeded_are_called_tolerated() -> None:
    """A step that has SUCCEEDED names its failed items as tolerated, and no longer says that it may succeed."""
    world, run_id = ended(script(**{"train[1]": FAILS}), loop(3, tolerate=1))
    text = why(world, run_id)
    assert "Failed items that were tolerated, the first few of each step" in text
    assert "\nFailed items, the first" not in text
    assert [one["kind"] for one in why_json(world, run_id)["reasons"]] == ["tolerated_item"]
    explained = why(world, run_id, "train")
    assert "tolerate     1; 1 has failed\n" in explained


def test_a_loop_that_failed_says_how_many_were_tolerated() -> None:
    """More failed than the file lets pass."""
    world, run_id = ended(script(**{"train[0]": FAILS, "train[2]": FAILS}), loop(3, tolerate=1))
    text = why(world, run_id, "train")
    assert "Step `train` FAILED: 2 of 3 items failed; at most 1 may fail; first: train[0]: no memory." in text
    assert "tolerate     1; 2 have failed, so the step fails" in text


def test_a_loop_says_why_items_were_skipped() -> None:
    """A few skipped items are named with the values that decided."""
    world, run_id = ended(flow=loop([1, 2, 3], when="item > 1"))
    text = why(world, run_id, "train")
    assert "items        3 items, 1 skipped" in text
    assert "skipped      `train[0]`: `item > 1` was false (`item` = 1)" in text


def test_a_loop_that_has_not_begun_waits_like_any_step() -> None:
    """It waits for its own dependencies, and the step behind it ultimately for the same one."""
    world = World(script(list=SLOW))
    run_id = world.start(loop())
    world.settle_down()
    text = why(world, run_id, "train")
    assert "Step `train` is PENDING: its dependency has not ended. It is now waiting for `list`, which has" in text
    assert "It is now waiting for `list`, which has been RUNNING" in why(world, run_id, "report")


def test_a_step_behind_a_loop_waits_for_it_and_not_for_its_items() -> None:
    """The loop is named as what is under way, and none of its items are read."""
    world, run_id = under_way()
    text = why(world, run_id, "report")
    assert "It is now waiting for `train`, which has been RUNNING for 1 min 30 s." in text
    assert "depends on   `train` RUNNING: has not ended" in text
    assert "train[" not in text


def test_a_step_behind_a_failed_loop_is_blocked_by_it() -> None:
    """The chain ends at the loop, with its message."""
    world, run_id = ended(script(train=FAILS), loop(2))
    assert "was blocked by `train` FAILED: 2 of 2 items failed; first: train[0]: no memory." in why(
        world, run_id, "report"
    )


def test_a_loop_that_was_skipped_says_why() -> None:
    """Its condition was decided once, before there were any items."""
    world, run_id = ended(flow=loop(when="run.id == ''"))
    assert "Step `train` was skipped by choice: `run.id == ''` was false" in why(world, run_id, "train")


def test_the_list_of_a_loop_is_shown_as_it_was_written() -> None:
    """An expression is quoted, and lists are named."""
    flow = json.dumps(
        {
            "params": {"models": {"type": ["text"], "default": ["s", "l"]}},
            "steps": [{"id": "a", "forEach": {"r": [1, 2], "m": "${{ params.models }}"}, "task": {"imageUri": "a"}}],
        }
    )
    world, run_id = ended(flow=flow)
    assert "forEach      r: a list of size 2 in the file, m: ${{ params.models }}" in why(world, run_id, "a")


# -- an item ----------------------------------------------------------------------------------------------------------


def test_an_item_is_explained_like_a_step() -> None:
    """Its value, its step, its attempts and the job that was sent."""
    world, run_id = ended(script(**{"train[2]": FAILS}), loop(3))
    text = why(world, run_id, "train[2]")
    assert "Item `train[2]` FAILED after 1 attempt (OOM): no memory." in text
    assert "of           `train`, item 2 of 3 (numbered from 0)" in text
    assert 'item         "region 2"' in text
    assert '"args": ["region 2"]' in text
    assert "~" not in text
    found = why_json(world, run_id, "train[2]")
    assert found["item"] == {"of": "train", "index": 2, "value": "region 2"}
    assert found["step"]["id"] == "train[2]"


def test_an_item_means_the_newest_one() -> None:
    """Once the list was computed anew, an id names the item that runs now."""
    world, run_id = ended(script(list={"fail_times": 1}), loop(2, trigger="always"))
    assert call(world, "runs", "retry", run_id).exit_code == 0
    world.run_to_end(run_id)
    sent = why_json(world, run_id, "train[0]")
    assert sent["step"]["job_id"] == world.steps(run_id)["train[0]~2"].job_id


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train[3]", "step `train` has 3 items (numbered from 0): there is no `train[3]`;"),
        ("train[0]~1", "there is no `train[0]~1`"),
        ("train[00]", "there is no `train[00]`"),
        ("trian[0]", "has no step `trian[0]`; did you mean `train`?"),
        ("list[0]", "has no step `list[0]`"),
    ],
)
def test_an_item_that_does_not_exist_is_an_error(name: str, message: str) -> None:
    """The message says how many items there are, or which step was meant."""
    world, run_id = ended()
    result = call(world, "why", run_id, name)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_loop_without_items_has_none_to_explain() -> None:
    """Before its list is computed, an item cannot be named."""
    world = World(script(list=SLOW))
    run_id = world.start(loop())
    world.settle_down()
    assert "step `train` has no items: there is no `train[0]`;" in call(world, "why", run_id, "train[0]").stderr


def test_an_item_says_that_it_waits_for_a_place() -> None:
    """Its step says how many do, and an item that was never given one says why."""
    world = World(script(**{"train[1]": {**FAILS, "duration": 5}, "train": SLOW}))
    run_id = world.start(loop(8, maxParallel=3))
    world.settle_down()
    assert "Item `train[5]` is PENDING: it is waiting for a place, since `maxParallel` is 3." in why(
        world, run_id, "train[5]"
    )
    assert "places       `maxParallel` is 3; 5 items wait for a place" in why(world, run_id, "train")
    world.run_to_end(run_id)
    text = why(world, run_id, "train[5]")
    assert "Item `train[5]` was not started, since too many others failed: 1 of 8 items failed." in text


def test_an_item_that_a_cancel_ended_says_so() -> None:
    """It is told from one that did not begin because of its neighbours."""
    world = World(script(train=SLOW))
    run_id = world.start(loop(8, maxParallel=3))
    world.settle_down()
    call(world, "runs", "cancel", run_id)
    world.run_to_end(run_id)
    assert "Item `train[5]` was not started, as the run was stopped: cancelled by" in why(world, run_id, "train[5]")
    assert "items        8 items, 8 cancelled" in why(world, run_id, "train")
    assert "tolerate" not in why(world, run_id, "train")
