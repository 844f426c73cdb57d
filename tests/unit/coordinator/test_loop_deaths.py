"""Whatever dies while items are created, run and gathered, each runs once and the run ends as it should."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches, limits
from atom_workflows.coordinator import expansion as coordinator_expansion
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core import expansion
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.items import compute_items
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path
from atom_workflows.errors import StoreUnavailable
from atom_workflows.expressions.types import INT
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.loops import RUN, args, each, start, step, workflow
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, deaths_at, make_mortal

T = TypeVar("T")

SCRIPT = json.dumps(
    {"default": {"outputs": {"n": 1}}, "rules": [{"step": "train[3]", "duration": 15, "outputs": {"n": 1}}]}
)
SIZE = 7


@dataclass(slots=True)
class At(Fate):
    """Kills at the nth commit, once it took effect."""

    nth: int = 1

    def live(self, name: str, call: Callable[[], T]) -> T:
        """See `Fate.live`."""
        is_it = name == "commit" and self.calls.count(name) == self.nth - 1
        self.fatal, self.after = (len(self.calls) + 1 if is_it else 0), True
        return super(At, self).live(name, call)


@dataclass(slots=True)
class EverySecond(Fate):
    """Kills at every second commit, once it took effect."""

    def live(self, name: str, call: Callable[[], T]) -> T:
        """See `Fate.live`."""
        is_it = name == "commit" and self.calls.count(name) % 2
        self.fatal, self.after = (len(self.calls) + 1 if is_it else 0), True
        return super(EverySecond, self).live(name, call)


FLOW = workflow(
    step("first", outputs={"n": INT}),
    step(
        "train",
        "first",
        for_each=each("[steps.first.outputs.n + x for x in [1, 2, 3, 4, 5, 6, 7]]"),
        outputs={"n": INT},
    ),
    step("last", "train", args={"n": "sum(steps.train.outputs.n)", "total": "steps.train.counts.total"}),
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give small loops several batches, and several levels of barriers."""
    shrink(monkeypatch)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits."""
    monkeypatch.setattr(expansion, "FAN_OUT_LIMIT", 3)
    monkeypatch.setattr(expansion, "FAN_IN_LIMIT", 2)
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 6)


def play(world: World, fate: Fate, *, rounds: int = 100) -> None:
    """Run the workflow while one handler dies; events that were not acknowledged are delivered again."""
    start(world, FLOW)
    make_mortal(world, fate)
    for _ in range(rounds):
        deliver_all(world)
        if world.run(RUN).state.is_terminal:
            break
        world.clock.move(timedelta(seconds=10))
        with suppress(Died):
            handle_tick(world.services, Tick())


def deliver_all(world: World) -> None:
    """Deliver every event, again if its handler dies."""
    while taken := world.bus.take_all("steps") + world.bus.take_all("start"):
        for message in taken:
            try:
                world.deliver(message)
            except Died:
                world.bus.nack(message)


def calls_of_a_run() -> list[str]:
    """Return the port calls that the run takes when nothing dies."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        fate = Fate()
        play(World(SCRIPT), fate)
    return fate.calls


def is_whole(world: World) -> bool:
    """Return True if each item ran once and was gathered, and the documents agree."""
    submitted = Counter(one.rpartition("/")[0] for one in world.submissions())
    assert submitted.keys() == {"first", "last", *(f"train[{number}]" for number in range(SIZE))}
    assert args(world)[-1] == {"n": SIZE, "total": SIZE}
    assert world.run(RUN).item_count == SIZE
    return not list(find_flaws(world.steps(RUN), now=world.clock.now()))


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of_a_run()))
def test_a_death_at_any_call_leaves_a_run_that_ends_as_it_should(fatal: int, *, after: bool) -> None:
    """A run SUCCEEDS whichever call kills a handler, with the same items."""
    world = World(SCRIPT)
    play(world, Fate(fatal=fatal, after=after))
    assert world.run(RUN).state is RunState.SUCCEEDED, world.states(RUN)
    assert is_whole(world)


@pytest.mark.parametrize("moment", range(1, 5))
def test_of_two_dispatchers_that_create_the_same_items_one_gets_on(moment: int) -> None:
    """Whoever is overtaken before one of its commits writes nothing any more, and no item exists twice."""
    world = World(SCRIPT)
    start(world, FLOW)
    seen: list[object] = []

    def is_moment(name: str, argument: Any) -> bool:
        if name == "commit" and any(one.path.endswith("~each.train") for one in argument):
            seen.append(argument)
        # The first such commit releases and claims the node, three create nodes, and the last one ends it.
        return len(seen) > moment

    def overtake() -> None:
        world.clock.move(timedelta(seconds=200))
        world.tick()

    store = meanwhile(world, is_moment, overtake)
    world.settle_down()
    assert store.happened
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert is_whole(world)


@pytest.mark.parametrize("written", [3, 10])
def test_items_are_created_by_several_invocations_if_one_has_not_the_time(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invocation whose budget is spent hands the rest on by an event."""
    monkeypatch.setattr(limits, "MAX_WRITTEN", written)
    world = World(SCRIPT)
    start(world, FLOW)
    world.settle_down()
    assert world.steps(RUN)["~each.train"].state == "SUCCEEDED"
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert is_whole(world)


def test_a_slow_list_is_created_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each invocation gets on, although evaluating the list alone takes longer than it should work."""
    world = World(SCRIPT)

    def compute_slowly(*given: Any) -> object:
        world.clock.move(world.services.settings.inline_budget)
        return compute_items(*given)

    monkeypatch.setattr(coordinator_expansion, "compute_items", compute_slowly)
    start(world, FLOW)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert is_whole(world)


@pytest.mark.parametrize("moment", range(1, 5))
def test_an_outage_puts_the_rest_off(moment: int) -> None:
    """An expander that cannot write goes on a little later, or after its lease, from where it was."""
    world = World(SCRIPT)
    start(world, FLOW)
    seen: list[object] = []

    def is_moment(name: str, argument: Any) -> bool:
        if name == "commit" and any(one.path.endswith("~each.train") for one in argument):
            seen.append(argument)
        return len(seen) > moment

    def fail() -> None:
        raise StoreUnavailable("an outage")

    meanwhile(world, is_moment, fail)
    with suppress(StoreUnavailable):
        world.settle_down()
    before = world.steps(RUN)["~each.train"].written
    assert before == min(6 * (moment - 1), 16)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert is_whole(world)


def test_a_list_that_changes_while_it_is_expanded_fails_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer version that evaluates the list differently does not mix two lists."""
    monkeypatch.setattr(limits, "MAX_WRITTEN", 3)
    world = World(SCRIPT)
    start(world, FLOW)
    while not world.steps(RUN)["~each.train"].written:
        for message in world.bus.take_all("steps"):
            world.deliver(message)
    path = step_path(RUN, "~each.train")
    assert world.steps(RUN)["~each.train"].written < 16
    world.store.commit([Update(path=path, fields={"counted": 5})])
    assert world.run_to_end(RUN).state is RunState.FAILED
    assert world.steps(RUN)["train"].message == "`forEach` returned a different list while the items were being created"
    # The items that were created before belong to nothing.
    assert not list(find_flaws(world.steps(RUN), now=world.clock.now()))


@pytest.mark.parametrize("commits", range(2, 9))
def test_a_timeout_in_the_middle_of_an_expansion_ends_what_is_there(commits: int) -> None:
    """Nothing stays open that was created, whether it was connected or not."""
    world = World("default: {duration: 1000, outputs: {n: 1}}\nrules: [{step: first, outputs: {n: 1}}]")
    start(world, replace(FLOW, timeout=timedelta(minutes=2)))
    plain = world.services
    make_mortal(world, At(nth=commits))
    with suppress(Died):
        world.settle_down()
    world.services = plain
    assert world.run_to_end(RUN).state is RunState.FAILED
    assert all(one.state.is_terminal for one in world.steps(RUN).values()), world.states(RUN)


@pytest.mark.parametrize("commits", range(2, 9))
def test_a_cancel_in_the_middle_of_an_expansion_ends_what_is_there(commits: int) -> None:
    """Nothing of it stays open; a retry creates the items anew, with other ids."""
    world = World(SCRIPT)
    start(world, FLOW)
    fate = Fate(fatal=0)
    make_mortal(world, fate)
    plain = world.services
    reached = [0]

    def is_moment(name: str, writes: object) -> bool:
        reached[0] += name == "commit"
        return reached[0] > commits

    meanwhile(world, is_moment, lambda: cancel_run(world.services, RUN))
    deliver_all(world)
    world.services = plain
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    assert all(one.state.is_terminal for one in world.steps(RUN).values()), world.states(RUN)
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert args(world)[-1] == {"n": SIZE, "total": SIZE}
    assert world.run(RUN).item_count == SIZE
    assert not list(find_flaws(world.steps(RUN), now=world.clock.now()))


def die(*_: object) -> None:
    """Kill whoever calls it."""
    raise Died


@pytest.mark.parametrize("where", ["expansion.compute_items", "gathering.count_items"])
def test_work_that_kills_every_dispatcher_is_given_up(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose items cannot be created or gathered fails in the end, and can be retried."""
    world = World(SCRIPT)
    with monkeypatch.context() as patch:
        patch.setattr(f"atom_workflows.coordinator.{where}", die)
        play(world, Fate(), rounds=400)
    assert world.run(RUN).state is RunState.FAILED
    assert "died 10 times while doing so" in world.steps(RUN)["train"].message
    assert not any(one.unsure_attempt for one in world.steps(RUN).values())
    retry_run(world.services, RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert args(world)[-1] == {"n": SIZE, "total": SIZE}


def test_deaths_do_not_add_up_while_items_are_created(monkeypatch: pytest.MonkeyPatch) -> None:
    """An expander whose dispatchers die, but get on, creates all of its items."""
    monkeypatch.setattr(coordinator_expansion, "MAX_DEATHS", 2)
    world = World(SCRIPT)
    play(world, EverySecond(), rounds=1000)
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert is_whole(world)
