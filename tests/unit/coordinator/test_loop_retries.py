"""A retry of a run with `forEach` keeps the list and what succeeded, unless the list may have changed."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator import commits
from atom_workflows.coordinator import expansion as coordinator_expansion
from atom_workflows.core import expansion
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Condition, Trigger
from atom_workflows.expressions.types import ANY, INT
from support.commands import cancel_run, retry_run
from support.loops import RUN, args, each, run, start, step, workflow
from support.mortal import Died, Fate, make_mortal
from support.workflows import script

RULE = {"step": "train[4]", "fail_times": 1, "outputs": {"n": 1}}


def is_sound(world: World) -> bool:
    """Return True if the documents of the run agree."""
    return not list(find_flaws(world.steps(RUN), now=world.clock.now()))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give small loops several levels of barriers."""
    monkeypatch.setattr(expansion, "FAN_OUT_LIMIT", 3)
    monkeypatch.setattr(expansion, "FAN_IN_LIMIT", 2)


@pytest.mark.usefixtures("narrow")
def test_only_items_that_failed_run_again() -> None:
    """The others keep their results, and the list stays the same."""
    world = World(json.dumps({"default": {"outputs": {"n": 1}}, "rules": [RULE]}))
    train = step("train", for_each=each(list("abcdefgh")), outputs={"n": INT})
    last = step("last", "train", args={"n": "sum(steps.train.outputs.n)", "ok": "steps.train.counts.succeeded"})
    assert run(world, workflow(train, last)).state is RunState.FAILED
    retry_run(world.services, RUN)
    assert is_sound(world)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.submissions()[8:] == ["train[4]/2", "last/1"]
    assert args(world)[-1] == {"n": 8, "ok": 8}
    assert is_sound(world)
    assert world.run(RUN).item_count == 8


def test_a_list_is_computed_anew_if_something_before_it_runs_again() -> None:
    """The items of the earlier list are ignored by everything, and the new ones have ids of their own."""
    rules = [{"step": "files", "outputs": {"names": ["x", "y"]}}, {"step": "check", "fail_times": 1}]
    world = World(json.dumps({"default": {"outputs": {"n": 1}}, "rules": rules}))
    files = step("files", "check", outputs={"names": ANY}, trigger=Trigger.ALWAYS)
    train = step("train", "files", for_each=each("steps.files.outputs.names"), outputs={"n": ANY})
    last = step("last", "train", args={"n": "steps.train.outputs.n", "total": "steps.train.counts.total"})
    flow = workflow(step("check"), files, train, last)
    assert run(world, flow).state is RunState.FAILED
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert [one for one in world.submissions() if one.startswith("train")] == [
        "train[0]/1",
        "train[1]/1",
        "train[0]~2/1",
        "train[1]~2/1",
    ]
    assert args(world)[-1] == {"n": [1, 1], "total": 2}
    assert is_sound(world)
    assert world.run(RUN).item_count == 2


def test_a_list_that_could_not_be_used_is_computed_again() -> None:
    """A retry resets the node that has a problem instead of items."""
    world = World()
    flow = workflow(step("train", for_each=each("fromJson('null')")))
    assert run(world, flow).state is RunState.FAILED
    retry_run(world.services, RUN)
    assert world.steps(RUN)["~each.train"].problem == ""
    assert world.run_to_end(RUN).state is RunState.FAILED
    assert world.steps(RUN)["~each.train"].expansion == 2
    assert "must be a list" in world.steps(RUN)["train"].message


def test_tolerated_failures_are_kept() -> None:
    """Items whose failures their step tolerates do not run again with the steps that failed."""
    rules: dict[str, dict[str, Any]] = {"train[0]": {"always_fail": True}, "other": {"fail_times": 1}}
    world = World(script(**rules))
    flow = workflow(step("train", for_each=each([1, 2], tolerate=1)), step("other"))
    assert run(world, flow).state is RunState.FAILED
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert sorted(world.submissions()) == ["other/1", "other/2", "train[0]/1", "train[1]/1"]


def test_items_that_a_condition_skipped_are_kept() -> None:
    """They were not to run, and the list is the same."""
    world = World(script(**{"train[1]": {"fail_times": 1}}))
    flow = workflow(step("train", for_each=each([1, 2, 3]), when=Condition(text="item > 1")))
    assert run(world, flow).state is RunState.FAILED
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.submissions() == ["train[1]/1", "train[2]/1", "train[1]/2"]


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("after", [0, 15])
def test_a_cancelled_run_continues_with_the_items_that_had_not_ended(after: int) -> None:
    """A cancel ends the items with the run; a retry runs those again that had not succeeded."""
    world = World(json.dumps({"default": {"duration": 20}, "rules": [{"step": "train[2]", "duration": 5}]}))
    start(world, workflow(step("train", for_each=each([1, 2, 3, 4, 5])), step("last", "train")))
    world.settle_down()
    for _ in range(after // 5):
        world.clock.move(timedelta(seconds=5))
        world.tick()
    cancel_run(world.services, RUN)
    world.tick()
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    assert all(one.state.is_terminal for one in world.steps(RUN).values())
    retry_run(world.services, RUN)
    assert is_sound(world)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    again = sum("train[2]" in one for one in world.submissions())
    assert again == (1 if after else 2)
    assert is_sound(world)


def test_a_blocked_loop_is_expanded_after_a_retry() -> None:
    """Its list is computed once nothing before it has failed."""
    world = World(script(first={"fail_times": 1}))
    flow = workflow(step("first"), step("train", "first", for_each=each([1, 2])))
    assert run(world, flow).state is RunState.FAILED
    assert world.steps(RUN)["train"].message == "skipped because step first did not succeed"
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.submissions()[1:] == ["first/2", "train[0]~2/1", "train[1]~2/1"]


def test_the_limit_of_a_run_counts_only_the_newest_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry that computes a list anew does not use up what a run may have."""
    monkeypatch.setattr(coordinator_expansion, "MAX_ITEMS_OF_RUN", 3)
    world = World(script(first={"fail_times": 3}))
    flow = workflow(step("first"), step("train", "first", for_each=each([1, 2, 3]), trigger=Trigger.ALWAYS))
    run(world, flow)
    for _ in range(3):
        retry_run(world.services, RUN)
        world.run_to_end(RUN)
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert world.run(RUN).item_count == 3


@pytest.mark.parametrize("names", [[], {"x": 1}])
def test_a_list_without_items_counts_for_nothing(names: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has room for other items if a retry finds an empty or unusable list in place of another one."""
    monkeypatch.setattr(coordinator_expansion, "MAX_ITEMS_OF_RUN", 3)
    world = World(script(first={"fail_times": 1}, files={"outputs": {"names": [1, 2, 3]}}))
    files = step("files", "first", outputs={"names": ANY}, trigger=Trigger.ALWAYS)
    train = step("train", "files", for_each=each("steps.files.outputs.names"))
    other = step("other", "train", for_each=each([1, 2, 3]), trigger=Trigger.ALWAYS)
    ended = run(world, workflow(step("first"), files, train, other))
    assert (ended.item_count, world.states(RUN)["other"]) == (3, "FAILED")
    world.task_runner.jobs.script = parse_script(script(files={"outputs": {"names": names}}))
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).item_count == 3
    assert world.states(RUN)["other"] == "SUCCEEDED"


def test_a_loop_under_finally_runs_again() -> None:
    """Steps under `finally` run in each round of a run, so their items are created anew."""
    world = World(script(first={"fail_times": 1}))
    last = step("clean", for_each=each([1, 2]), args={"state": "run.state"})
    assert run(world, workflow(step("first"), finally_steps=(last,))).state is RunState.FAILED
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.submissions() == ["first/1", "clean[0]/1", "clean[1]/1", "first/2", "clean[0]~2/1", "clean[1]~2/1"]
    assert args(world)[-1] == {"state": "SUCCEEDED"}


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 25))
@pytest.mark.parametrize("failing", ["first", "train[1]"])
def test_a_retry_that_dies_is_finished_by_the_checker(
    failing: str, fatal: int, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """Wherever a reset is interrupted, it chooses the same steps when it is continued."""
    monkeypatch.setattr(commits, "MAX_WRITES", 2)
    rules = [{"step": failing, "fail_times": 1, "outputs": {"n": 1}}]
    world = World(json.dumps({"default": {"outputs": {"n": 1}}, "rules": rules}))
    train = step("train", "first", for_each=each([1, 2, 3, 4]), trigger=Trigger.ALWAYS, outputs={"n": INT})
    flow = workflow(step("first"), train, step("last", "train", args={"n": "sum(steps.train.outputs.n)"}))
    assert run(world, flow).state is RunState.FAILED
    plain = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        retry_run(world.services, RUN)
    world.services = plain
    if world.run(RUN).state is RunState.FAILED:
        retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED, world.states(RUN)
    assert is_sound(world)
    items = [one for one in world.submissions() if one.startswith("train")]
    assert len(items) == len(set(items)) == (8 if failing == "first" else 5)
    assert args(world)[-1] == {"n": 4}
