"""What expressions read of the items that an earlier round of a run left behind, neither done nor failed."""

from __future__ import annotations

from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import ForEach, Trigger
from support.commands import cancel_run, mark_step, retry_run
from support.loops import RUN, args, each, run, start, step, workflow
from support.workflows import script

FAILS = {"always_fail": True, "message": "no memory"}
COUNTS = {name: f"steps.train.counts.{name}" for name in ("total", "succeeded", "failed", "skipped")}


def counted(world: World) -> tuple[int, ...]:
    """Return the counts that the latest job was given."""
    assert world.submissions()[-1].startswith("last/")
    return tuple(args(world)[-1].values())


def failed(loop: ForEach, **rules: Any) -> World:
    """Run a loop that fails, with a step behind it that is given the counts of its items."""
    world = World(script(**rules))
    last = step("last", "train", args=COUNTS, trigger=Trigger.ALWAYS)
    assert run(world, workflow(step("train", for_each=loop), last)).state is RunState.FAILED
    return world


def cancelled(**rules: Any) -> World:
    """Run the same with three items, and cancel it while those that do not fail at once are running."""
    world = World(script(**rules, train={"duration": 900}))
    last = step("last", "train", args=COUNTS, trigger=Trigger.ALWAYS)
    start(world, workflow(step("train", for_each=each([1, 2, 3])), last))
    world.settle_down()
    cancel_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    return world


def test_a_marked_loop_counts_no_items_as_failed_that_never_started() -> None:
    """They count only in the total, as before the mark."""
    world = failed(each([1, 2, 3], max_parallel=1), **{"train[0]": FAILS})
    assert counted(world) == (3, 0, 1, 0)
    mark_step(world.services, RUN, "train")
    retry = world.run_to_end(RUN)
    assert (retry.retries, world.states(RUN)["train"]) == (1, "SUCCEEDED")
    assert counted(world) == (3, 0, 1, 0)


@pytest.mark.parametrize("rules", [{}, {"train[0]": FAILS}], ids=["none failed", "one failed"])
def test_a_marked_loop_counts_no_items_as_failed_that_a_stop_ended(rules: dict[str, Any]) -> None:
    """Only those that failed before the stop have failed."""
    world = cancelled(**rules)
    mark_step(world.services, RUN, "train")
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert counted(world) == (3, 0, len(rules), 0)


def test_a_loop_that_fails_again_does_not_count_items_as_failed_that_a_stop_ended() -> None:
    """They have not succeeded, so it fails, but only the one that ran again has failed."""
    world = cancelled()
    world.task_runner.jobs.script = parse_script(script(**{"train[0]": FAILS}))
    retry_run(world.services, RUN, only=("train[0]", "last"))
    assert world.run_to_end(RUN).state is RunState.FAILED
    assert world.states(RUN)["train"] == "FAILED"
    assert counted(world) == (3, 0, 1, 0)


@pytest.mark.parametrize("tolerate", [1, 2])
def test_a_loop_of_which_named_items_ran_again_does_not_count_the_others_as_failed(tolerate: int) -> None:
    """Whether it succeeds or not, an item that still has not started counts only in the total."""
    world = failed(each([1, 2, 3, 4, 5], max_parallel=1, tolerate=tolerate), **{f"train[{n}]": FAILS for n in range(3)})
    world.task_runner.jobs.script = parse_script(script(**{"train[2]": FAILS}))
    named = ("train[0]", "train[1]", "train[3]") if tolerate == 2 else ("train[0]", "train[1]")
    retry_run(world.services, RUN, only=(*named, "last"))
    world.run_to_end(RUN)
    assert world.states(RUN)["train"] == ("SUCCEEDED" if tolerate == 2 else "FAILED")
    assert counted(world) == ((5, 3, 1, 0) if tolerate == 2 else (5, 2, 0, 0))
