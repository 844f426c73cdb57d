"""At most `maxParallel` items of a step run at the same time, and a place that becomes free is taken at once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches, limits
from atom_workflows.coordinator.repair import examine
from atom_workflows.core import expansion, places
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Condition, RetryPolicy
from atom_workflows.documents import step_path
from atom_workflows.expressions.types import INT
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.loops import RUN, each, run, start, step, template, workflow
from support.workflows import script

SECOND = timedelta(seconds=1)


def alive(world: World) -> list[str]:
    """Return the items that are under way."""
    under_way = {StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING}
    return [one.id for one in world.steps(RUN).values() if one.index is not None and one.state in under_way]


def shards(world: World) -> list[places.Shard]:
    """Return the shards of the run."""
    return [one.places for one in world.steps(RUN).values() if one.places is not None]


def is_sound(world: World) -> bool:
    """Return True if the documents of the run agree."""
    assert not list(find_flaws(world.steps(RUN), now=world.clock.now()))
    return True


def watch(world: World, most: int, *, seconds: int = 600) -> list[int]:
    """Let the run go on, and return how many items were alive each second; never more than `most`."""
    seen: list[int] = []
    world.settle_down()
    for _ in range(seconds):
        if world.run(RUN).state.is_terminal:
            break
        assert is_sound(world)
        seen.append(len(alive(world)))
        assert seen[-1] <= most
        world.clock.move(SECOND)
        world.tick()
        world.settle_down()
    return seen


@pytest.fixture
def sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a few places several shards, and small loops several levels of barriers."""
    monkeypatch.setattr(places, "PLACES_OF_SHARD", 2)
    monkeypatch.setattr(expansion, "FAN_OUT_LIMIT", 3)
    monkeypatch.setattr(expansion, "FAN_IN_LIMIT", 2)


@pytest.mark.usefixtures("sharded")
@pytest.mark.parametrize(("size", "most"), [(7, 1), (9, 2), (12, 4), (12, 5), (13, 12), (5, 5), (5, 9)])
def test_no_more_items_run_than_there_are_places(size: int, most: int) -> None:
    """The places are always all taken while items wait, and all free in the end."""
    world = World("default: {duration: 3}")
    start(world, workflow(step("train", for_each=each(list(range(size)), max_parallel=most)), step("last", "train")))
    seen = watch(world, most)
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert max(seen) == min(size, most)
    assert len(set(world.submissions())) == len(world.submissions()) == size + 1
    assert sum(shard.free for shard in shards(world)) == (most if most < size else 0)


@pytest.mark.usefixtures("sharded")
def test_a_free_place_is_taken_at_once_though_durations_differ() -> None:
    """No place stays free while an item waits, also in a shard that has no more items."""
    rules = [{"step": f"train[{number}]", "duration": 40} for number in (0, 2, 4)]
    world = World(json.dumps({"default": {"duration": 2}, "rules": rules}))
    start(world, workflow(step("train", for_each=each(list(range(30)), max_parallel=4))))
    world.settle_down()
    while any(one.waits_at for one in world.steps(RUN).values()):
        assert len(alive(world)) == 4
        world.clock.move(SECOND)
        world.tick()
        world.settle_down()
        assert is_sound(world)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED


def test_items_that_end_together_hand_their_places_on_in_that_commit() -> None:
    """A wave of items changes their shard once."""
    world = World()
    run(world, workflow(step("train", for_each=each(list(range(60)), max_parallel=10))))
    assert len(world.submissions()) == 60
    assert world.store.written[step_path(RUN, "~places.train~1.0")] < 60 / 3


@pytest.mark.usefixtures("sharded")
def test_an_item_that_its_condition_skips_hands_its_place_on() -> None:
    """Skipped items hold places only until they are decided."""
    world = World("default: {duration: 2}")
    train = step("train", for_each=each(list(range(20)), of=INT, max_parallel=2), when=Condition(text="item > 14"))
    start(world, workflow(train))
    watch(world, 2)
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert len(world.submissions()) == 5
    assert not any(one.waits_at or one.remaining for one in world.steps(RUN).values())


def test_the_number_of_places_may_be_computed() -> None:
    """`maxParallel` may be an expression."""
    world = World("default: {duration: 3}")
    start(world, workflow(step("train", for_each=each(list(range(6)), max_parallel=template("1 + 1")))))
    assert max(watch(world, 2)) == 2


def test_an_item_keeps_its_place_during_its_back_off() -> None:
    """The next item begins only once an item has ended, not between its attempts."""
    world = World(script(**{"train[0]": {"fail_times": 1}}))
    train = step("train", for_each=each([1, 2, 3], max_parallel=1), retry=RetryPolicy(max_attempts=2))
    start(world, workflow(train))
    world.settle_down()
    assert alive(world) == ["train[0]"]
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.submissions() == ["train[0]/1", "train[0]/2", "train[1]/1", "train[2]/1"]


@pytest.mark.usefixtures("sharded")
@pytest.mark.parametrize("tolerate", [0, 1])
def test_no_more_items_begin_once_too_many_failed(tolerate: int) -> None:
    """Those that wait are skipped as blocked, those that run end, and the step says how many failed."""
    rules = [{"step": f"train[{number}]", "always_fail": True, "duration": 2, "message": "no"} for number in (1, 2)]
    world = World(json.dumps({"default": {"duration": 5}, "rules": rules}))
    start(world, workflow(step("train", for_each=each(list(range(40)), max_parallel=4, tolerate=tolerate))))
    watch(world, 4)
    assert world.run(RUN).state is RunState.FAILED
    failed = world.steps(RUN)["train"]
    allowed = "; at most 1 may fail" if tolerate else ""
    assert failed.message.startswith(f"2 of 40 items failed{allowed}; ")
    assert " were not started; first: train[1]: " in failed.message
    last = world.steps(RUN)["train[39]"]
    assert (last.state, last.by_choice) == (StepState.SKIPPED, False)
    assert last.message == f"not started: 2 of 40 items failed{allowed}"
    assert len(world.submissions()) < 10


@pytest.mark.usefixtures("sharded")
def test_a_retry_deals_the_places_out_again() -> None:
    """Only the items that run again share the places, in their order."""
    rules = [{"step": f"train[{number}]", "fail_times": 1, "duration": 2} for number in (1, 5, 6, 7, 11, 12, 13)]
    world = World(json.dumps({"default": {"duration": 2}, "rules": rules}))
    train = step("train", for_each=each(list(range(14)), max_parallel=3, tolerate=0))
    start(world, workflow(train, step("last", "train")))
    watch(world, 3)
    assert world.run(RUN).state is RunState.FAILED
    for _ in range(7):
        retry_run(world.services, RUN)
        assert is_sound(world)
        assert sum(one.places for one in shards(world)) == 3
        watch(world, 3)
        if world.run(RUN).state is RunState.SUCCEEDED:
            break
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert sum(shard.free for shard in shards(world)) == 3
    assert len(set(world.submissions())) == len(world.submissions())


@pytest.mark.usefixtures("sharded")
@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_cancelled_run_has_all_places_after_a_retry(after: int) -> None:
    """A cancel ends all items, and a retry deals out the places anew."""
    world = World("default: {duration: 4}")
    start(world, workflow(step("train", for_each=each(list(range(9)), max_parallel=3))))
    watch(world, 3, seconds=after)
    cancel_run(world.services, RUN)
    world.tick()
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    assert not any(one.waits_at for one in world.steps(RUN).values())
    retry_run(world.services, RUN)
    assert max(watch(world, 3)) == 3
    assert world.run(RUN).state is RunState.SUCCEEDED


def test_an_item_takes_at_most_two_documents_more() -> None:
    """With places, an item costs no more than two further documents; without barriers above them, even fewer."""
    written = []
    for most in (None, 20):
        world = World()
        run(world, workflow(step("train", for_each=each(list(range(1000)), max_parallel=most))))
        written.append(world.store.writes / 1000)
    assert written[0] <= 4.5
    assert written[1] <= written[0] + 2


@pytest.mark.parametrize(("wrong", "said"), [({"next": 4}, "2 items"), ({"next": 9}, "7 items"), ({"failed": 3}, "3")])
def test_an_audit_recounts_the_places(wrong: dict[str, Any], said: str) -> None:
    """Whatever someone else wrote, all items run in the end, and no more at a time than allowed once it was fixed."""
    world = World("default: {duration: 2}")
    start(world, workflow(step("train", for_each=each(list(range(12)), max_parallel=2, tolerate=5))))
    watch(world, 2, seconds=4)
    world.store.inner.commit([Update(path=step_path(RUN, "~places.train~1.0"), fields=wrong)])
    (finding,) = find_flaws(world.steps(RUN), now=world.clock.now())
    assert said in finding.what
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert len(set(world.submissions())) == 12


def test_the_doctor_recounts_the_places() -> None:
    """It reports the node that handed out too few places, and corrects it."""
    world = World("default: {duration: 2}")
    start(world, workflow(step("train", for_each=each(list(range(12)), max_parallel=2))))
    watch(world, 2, seconds=5)
    world.store.inner.commit([Update(path=step_path(RUN, "~places.train~1.0"), increments={"next": -1})])
    examined = examine(world.services, RUN, fixing=True)
    assert [finding.step_id for finding in examined.fixed] == ["~places.train~1.0"]
    assert is_sound(world)
    assert max(watch(world, 2)) == 2


def test_a_waiting_item_with_wrong_counters_is_repaired() -> None:
    """An item that has its place, but by its counters waits for more, holds its run up only until that is repaired."""
    world = World("default: {duration: 2}")
    start(world, workflow(step("train", for_each=each([1, 2, 3], max_parallel=1))))
    watch(world, 1, seconds=1)
    wrong = {"remaining": 2, "unsuccessful": -1, "total": 1}
    world.store.inner.commit([Update(path=step_path(RUN, "train[1]"), increments=wrong)])
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert is_sound(world)
    assert world.submissions() == ["train[0]/1", "train[1]/1", "train[2]/1"]


def test_a_run_whose_places_are_gone_ends() -> None:
    """Without the node that hands out places, the items that wait could never run, so the run is ended."""
    world = World("default: {duration: 2}")
    start(world, workflow(step("train", for_each=each([1, 2, 3], max_parallel=1))))
    watch(world, 1, seconds=1)
    world.store.inner.delete(step_path(RUN, "~places.train~1.0"))
    assert world.run_to_end(RUN).state is RunState.FAILED
    assert "the node that hands out the places of step train is missing" in json.dumps(world.run(RUN).errors)


def test_places_of_items_that_belong_to_nothing_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a list changes while its items are created, neither the doctor nor an audit recounts their places."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 5)
    world = World(script(slow={"duration": 100_000}))
    start(world, workflow(step("slow"), step("train", for_each=each(list(range(40)), max_parallel=12))))
    monkeypatch.setattr(limits, "MAX_WRITTEN", 3)
    while world.steps(RUN)["~each.train"].written < 20:
        for message in world.bus.take_all("steps"):
            world.deliver(message)
    world.store.commit([Update(path=step_path(RUN, "~each.train"), fields={"counted": 5})])
    monkeypatch.undo()
    world.settle_down()
    assert world.steps(RUN)["train"].state is StepState.FAILED
    wrong = {"next": 1, "failed": 2}
    world.store.inner.commit([Update(path=step_path(RUN, "~places.train~1.0"), increments=wrong)])
    shard = world.steps(RUN)["~places.train~1.0"]
    assert not examine(world.services, RUN, fixing=True).found
    for _ in range(3):
        world.clock.move(timedelta(minutes=20))
        world.tick()
        world.settle_down()
    assert world.steps(RUN)["~places.train~1.0"] == shard
    assert world.submissions() == ["slow/1"]
    cancel_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    retry_run(world.services, RUN)
    assert len(watch(world, 12, seconds=30)) == 30
    assert {one for one in world.submissions() if one.startswith("train")} == {f"train[{n}]~2/1" for n in range(40)}
    assert world.steps(RUN)["train"].state is StepState.SUCCEEDED
