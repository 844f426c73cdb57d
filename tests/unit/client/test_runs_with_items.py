"""`runs show`, `list`, `doctor`, `cancel` and `retry` on runs whose steps have items."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_client.views import items
from atom_client.views.loops import counts_of_ended
from atom_emulator.testing.world import World
from support.commands import mark_step
from support.workflows import script
from unit.client.explained import CLEAN, call, said

FAILS: dict[str, Any] = {"always_fail": True, "reason": "OOM", "message": "no memory"}
TRAIN: dict[str, Any] = {"task": {"imageUri": "train", "args": ["${{ item }}"]}}


def loop(size: int | Sequence[Any] = 3, *, more: dict[str, Any] | None = None, **step: Any) -> str:
    """Return a workflow in which `train` runs for each item, between `list` and `report`."""
    items = [f"region {number}" for number in range(size)] if isinstance(size, int) else list(size)
    steps = [
        {"id": "list", "task": {"imageUri": "list"}},
        {"id": "train", "dependsOn": ["list"], "forEach": items, **TRAIN, **step},
        {"id": "report", "dependsOn": ["train"], "task": {"imageUri": "report"}},
    ]
    return json.dumps({"steps": steps, **(more or {})})


def ended(rules: str = "", flow: str = "") -> tuple[World, str]:
    """Return a world with one run that has ended."""
    world = World(rules)
    run_id = world.start(flow or loop())
    world.run_to_end(run_id)
    return world, run_id


def line_of(text: str, name: str) -> str:
    """Return the row of the table for a step."""
    [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return " ".join(line.split())


def shown(world: World, run_id: str, *options: str) -> Any:
    """Return what `runs show` prints for programs."""
    return json.loads(said(world, "runs", "show", run_id, "--json", *options))


# -- runs show -------------------------------------------------------------------------------------------------------


def test_a_loop_is_one_line_with_the_numbers_of_its_items() -> None:
    """While its items run, the step is RUNNING, and counts them by their state."""
    rules = script(**{"train[1]": FAILS, "train[2]": {"duration": 900}, "train[3]": {"duration": 900}})
    world = World(rules)
    run_id = world.start(loop(5))
    world.settle_down()
    world.clock.move(timedelta(seconds=20))
    world.tick()
    text = said(world, "runs", "show", run_id)
    assert line_of(text, "train").startswith("train RUNNING ")
    assert line_of(text, "train").endswith("3 of 5 ended, 1 failed, 2 running")
    assert (
        "\nItems of step `train`: 3 of 5 ended, 1 failed, 2 running.\n  `train[1]` failed after 1 attempt (OOM)" in text
    )
    assert "[0]" not in text
    assert "~" not in text


def test_the_first_failed_items_are_shown_with_their_messages() -> None:
    """There are five in the order of the items, and it is said how to see the others."""
    world, run_id = ended(script(train=FAILS), loop(12))
    text = said(world, "runs", "show", run_id)
    assert line_of(text, "train").startswith("train FAILED ")
    assert line_of(text, "train").endswith("12 items, 12 failed")
    failed = "Step `train` failed: 12 of 12 items failed.\n  `train[0]` failed after 1 attempt (OOM): no memory.\n"
    assert failed in text
    assert "`train[4]` failed" in text
    assert "`train[5]`" not in text
    assert f"… and 7 more; `atom-workflows runs show {run_id} --items train` shows them first." in text
    assert "Skipped because `train` did not succeed: `report`." in text


def test_items_that_were_not_started_are_told_from_skipped_ones() -> None:
    """Once too many have failed, those without a place do not begin."""
    world, run_id = ended(script(**{"train[1]": FAILS}), loop(8, maxParallel=3, when="index > 0"))
    text = said(world, "runs", "show", run_id)
    assert line_of(text, "train").endswith("8 items, 1 failed, 1 skipped, 4 not started")
    assert "Step `train` failed: 1 of 8 items failed; 4 were not started.\n  `train[1]` failed" in text
    assert f"Run {run_id} continues: 2 steps and 5 items will run again, " in said(world, "runs", "retry", run_id)


def test_tolerated_items_are_a_warning() -> None:
    """The run SUCCEEDED, and the items that failed are shown with their messages."""
    world, run_id = ended(script(**{"train[1]": FAILS}), loop(tolerate=1))
    text = said(world, "runs", "show", run_id)
    assert f"Run {run_id} SUCCEEDED in" in text
    assert ": 3 steps and 3 items." in text
    assert "Warning: 1 of 3 items failed in step `train`; `tolerate: 1` allows that.\n  `train[1]` failed" in text


@pytest.mark.parametrize(
    ("flow", "said_of_it"),
    [
        (loop([]), "SUCCEEDED no items"),
        (loop(2, when="index > 0"), "SUCCEEDED 2 items, 1 skipped"),
        (loop(1), "SUCCEEDED 1 item"),
    ],
)
def test_a_loop_that_ended_says_what_became_of_its_items(flow: str, said_of_it: str) -> None:
    """No items, and skipped ones, are told from failures."""
    world, run_id = ended(flow=flow)
    state, rest = said_of_it.split(" ", 1)
    line = line_of(said(world, "runs", "show", run_id), "train")
    assert line.startswith(f"train {state} ")
    assert line.endswith(rest)


def test_a_list_that_cannot_be_used_is_the_message_of_its_step() -> None:
    """The step's failure says what is wrong with the list."""
    flow = json.dumps(
        {
            "params": {"models": {"type": "any", "default": 7}},
            "steps": [{"id": "train", "forEach": "${{ params.models }}", **TRAIN}],
        }
    )
    world, run_id = ended(flow=flow)
    assert "Step `train` failed (expression): `forEach` (line 1) must be a list" in said(world, "runs", "show", run_id)


def test_a_loop_that_waits_or_was_skipped_is_shown_like_any_step() -> None:
    """It is PENDING before its dependencies have ended, and SKIPPED with its condition."""
    world = World(script(list={"duration": 600}))
    run_id = world.start(loop())
    world.settle_down()
    assert line_of(said(world, "runs", "show", run_id), "train") == "train PENDING"
    world, run_id = ended(flow=loop(when="run.id == ''"))
    assert line_of(said(world, "runs", "show", run_id), "train") == (
        f"train SKIPPED `run.id == ''` was false (`id` = \"{run_id}\")"
    )


def test_programs_read_the_numbers_and_the_first_failures() -> None:
    """A step with items has `items`, and no other step has."""
    world, run_id = ended(script(**{"train[2]": FAILS}), loop(40, tolerate=2))
    steps = {step["id"]: step for step in shown(world, run_id)["steps"]}
    assert set(steps) == {"list", "train", "report"}
    assert steps["train"]["items"] == {
        "total": 40,
        "ended": 40,
        "states": {"SUCCEEDED": 39, "FAILED": 1},
        "not_started": 0,
        "tolerate": 2,
        "first_failed": [
            {
                "id": "train[2]",
                "index": 2,
                "state": "FAILED",
                "attempts": 1,
                "failure_kind": "failed",
                "reason": "OOM",
                "message": "no memory",
            }
        ],
    }
    assert "items" not in steps["list"]
    assert shown(world, run_id)["run"]["item_count"] == 40


def test_a_large_loop_is_shown_without_reading_its_items() -> None:
    """Ten thousand items take no more reads than ten, whether they run or have ended."""
    reads = []
    for size in (10, 2_000):
        world = World("default: {duration: 900}")
        run_id = world.start(loop(size, more={"steps": [{"id": "train", "forEach": list(range(size)), **TRAIN}]}))
        world.settle_down()
        before = world.store.reads
        text = said(world, "runs", "show", run_id)
        reads.append(world.store.reads - before)
        assert line_of(text, "train").endswith(f"0 of {size:,} ended, {size:,} running")
    assert reads[0] == reads[1] < 20


# -- items ------------------------------------------------------------------------------------------------------------


def test_items_are_opened_a_page_at_a_time_with_failed_ones_first() -> None:
    """Failed items come first, then those under way, then all others in their order."""
    world = World(script(**{"train[5]": FAILS, "train[3]": {"duration": 900}}))
    run_id = world.start(loop(7))
    world.settle_down()
    text = said(world, "runs", "show", run_id, "--items", "train", "--limit", "4")
    assert f"Step `train` of run {run_id} is RUNNING: 6 of 7 ended, 1 failed, 1 running." in text
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("train[")]
    assert rows == ["train[5]", "train[3]", "train[0]", "train[1]"]
    assert line_of(text, "train[5]").endswith('"region 5" OOM: no memory')
    assert f"Page 1 of 2; `atom-workflows runs show {run_id} --items train --limit 4 --page 2` shows the next" in text
    second = shown(world, run_id, "--items", "train", "--limit", "4", "--page", "2")
    assert [item["id"] for item in second["items"]] == ["train[2]", "train[4]", "train[6]"]
    assert (second["page"], second["pages"], second["items"][0]["item"]) == (2, 2, "region 2")
    assert second["step"]["items"]["total"] == 7


def test_a_page_of_many_items_reads_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides its own items, only some of those that come first are read."""
    monkeypatch.setattr(items, "_MOST_RANKED", 20)
    world = World("default: {duration: 900}")
    run_id = world.start(json.dumps({"steps": [{"id": "train", "forEach": list(range(200)), **TRAIN}]}))
    world.settle_down()
    before = world.store.reads
    second = shown(world, run_id, "--items", "train", "--limit", "10", "--page", "20")
    assert (len(second["items"]), second["pages"]) == (10, 20)
    assert world.store.reads - before < 50


def test_outputs_of_items_are_shown_if_asked_for() -> None:
    """They stand with their items, and not among those of the run's steps, unless an expression reads them."""
    world, run_id = ended(script(train={"outputs": {"auc": 0.5}}), loop(2, outputs={"auc": "number"}))
    assert "There are no outputs." in said(world, "runs", "show", run_id, "--outputs")
    assert 'outputs of `train[1]`: {"auc": 0.5}' in said(world, "runs", "show", run_id, "--items", "train", "--outputs")
    found = shown(world, run_id, "--items", "train", "--outputs")
    assert [item["outputs"] for item in found["items"]] == [{"auc": 0.5}] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--items", "list"), "has no step `list` with `forEach`"),
        (("--items", "train[1]"), "has no step `train[1]` with `forEach`"),
        (("--items", "../x"), "has no step `../x` with `forEach`"),
        (("--items", "train", "--page", "2"), "--page 2 does not exist: there is only one page"),
        (("--page", "2"), "--page 2 does not exist: there is only one page"),
        (("--items", "train", "--failed"), "--items lists failed items first"),
    ],
)
def test_what_cannot_be_shown_is_said(options: Sequence[str], message: str) -> None:
    """An option that fits nothing is an error that names it."""
    world, run_id = ended()
    result = call(world, "runs", "show", run_id, *options)
    assert result.exit_code != 0
    assert message in result.stderr


def test_items_are_those_of_the_newest_list() -> None:
    """Once a list was computed anew, the items of the earlier one are shown nowhere."""
    world, run_id = ended(script(list={"fail_times": 1}), loop(2, trigger="always"))
    again = said(world, "runs", "retry", run_id)
    assert "continues: 3 steps will run again, " in again
    assert "The lists of `train` are computed again, and all of their items run." in again
    world.run_to_end(run_id)
    assert "train[0]~2" in world.steps(run_id)
    text = said(world, "runs", "show", run_id, "--items", "train")
    assert [line.split()[0] for line in text.splitlines() if line.startswith("train[")] == ["train[0]", "train[1]"]
    assert line_of(said(world, "runs", "show", run_id), "train").endswith("2 items")


# -- other commands ---------------------------------------------------------------------------------------------------


def test_runs_are_listed_with_their_items() -> None:
    """An open run says how many of its items have ended, and one that has ended how many there were."""
    world = World(script(**{"train[0]": {"duration": 900}}))
    run_id = world.start(loop())
    world.settle_down()
    assert "3, 2 of 3 items" in line_of(said(world, "runs", "list"), run_id)
    world.run_to_end(run_id)
    assert "3, 3 items" in line_of(said(world, "runs", "list"), run_id)


def test_the_doctor_counts_items_apart_from_steps() -> None:
    """It names items as users see them."""
    world = World(script(**{"train[0]": {"duration": 900}}))
    run_id = world.start(loop())
    world.settle_down()
    text = said(world, "runs", "doctor", run_id)
    assert f"Run {run_id} is RUNNING: 1 of 3 steps and 2 of 3 items ended." in text
    assert "  train[0] is RUNNING, attempt 1" in text


def test_a_retry_says_how_many_items_run_again() -> None:
    """Only those that failed do, with the steps behind them."""
    world, run_id = ended(script(**{"train[1]": {"fail_times": 1}}))
    assert f"Run {run_id} continues: 2 steps and 1 item will run again, " in said(world, "runs", "retry", run_id)
    world.run_to_end(run_id)
    assert world.run(run_id).state == "SUCCEEDED"


def test_a_cancel_counts_the_items_whose_jobs_go_on() -> None:
    """Jobs that cannot be stopped are said to be those of items, and where they are listed."""
    world = World("default: {duration: 900, stop: cannot}")
    run_id = world.start(json.dumps({"steps": [{"id": "train", "forEach": [1, 2], **TRAIN}]}))
    world.settle_down()
    text = said(world, "runs", "cancel", run_id)
    assert "Jobs of 2 items could not be stopped and may still be running;" in text
    assert "and `--items STEP` lists the jobs of items such as `train[0]`" in text
    assert "did not stop these jobs of `train[1]`" in said(world, "runs", "show", run_id, "--items", "train")


def test_items_that_a_cancel_ended_are_not_among_those_that_failed() -> None:
    """Only the one that failed before has a line, and no others are announced."""
    world = World(script(**{"train[1]": FAILS, "train": {"duration": 900}}))
    run_id = world.start(loop(9))
    world.settle_down()
    said(world, "runs", "cancel", run_id)
    world.run_to_end(run_id)
    text = said(world, "runs", "show", run_id)
    assert "Items of step `train`: 9 items, 1 failed, 8 cancelled.\n  `train[1]` failed after 1 attempt (OOM)" in text
    assert "more" not in text


def test_a_stopped_loop_does_not_count_its_items_by_itself() -> None:
    """The items of a step that a stop has ended are counted in the store, as some may not have been started."""
    world, run_id = ended(script(**{"train[0]": FAILS}), loop(4, maxParallel=1))
    step = world.steps(run_id)["train"]
    counts = counts_of_ended(step)
    assert counts is not None
    assert counts.unstarted == 3
    assert counts_of_ended(replace(step, last_kind="", unstarted=0)) is None


def test_a_marked_loop_shows_the_items_that_never_started_as_such() -> None:
    """A mark does not turn them into failures."""
    world, run_id = ended(script(**{"train[0]": FAILS}), loop(4, maxParallel=1))
    counts = "4 items, 1 failed, 3 not started"
    assert line_of(said(world, "runs", "show", run_id), "train").endswith(counts)
    mark_step(world.services, run_id, "train")
    world.run_to_end(run_id)
    text = said(world, "runs", "show", run_id)
    assert f" {counts}: marked as succeeded by " in line_of(text, "train")
    assert f"\nWarning: step `train` was marked as succeeded, with {counts}.\n  `train[0]` failed" in text
    [numbers] = [one["items"] for one in shown(world, run_id)["steps"] if "items" in one]
    assert (numbers["states"], numbers["not_started"]) == ({"FAILED": 1, "SKIPPED": 3}, 3)


def test_a_marked_loop_shows_the_items_that_a_cancel_ended_as_such() -> None:
    """They are neither failed nor unstarted."""
    world = World(script(**{"train[1]": FAILS, "train": {"duration": 900}}))
    run_id = world.start(loop(4))
    world.settle_down()
    said(world, "runs", "cancel", run_id)
    world.run_to_end(run_id)
    mark_step(world.services, run_id, "train")
    world.run_to_end(run_id)
    counts = "4 items, 1 failed, 3 cancelled"
    assert f"Warning: step `train` was marked as succeeded, with {counts}.\n" in said(world, "runs", "show", run_id)
    [numbers] = [one["items"] for one in shown(world, run_id)["steps"] if "items" in one]
    assert (numbers["states"], numbers["not_started"]) == ({"FAILED": 1, "CANCELLED": 3}, 0)


def test_items_under_finally_are_shown_with_it() -> None:
    """A step with items stands among those under `finally` if it is one."""
    world, run_id = ended(flow=loop(more={"finally": [{**CLEAN[0], "forEach": [1, 2]}]}))
    text = said(world, "runs", "show", run_id)
    assert text.index("\nfinally:\n") < text.index("\nclean ")
    assert line_of(text, "clean").endswith("2 items")
