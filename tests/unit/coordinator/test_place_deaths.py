"""Whatever dies while places are handed on, no place is lost and none is handed out twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from _pytest.mark import ParameterSet

from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core import expansion, places
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.item_ids import parse_item_id
from atom_workflows.core.states import TERMINAL_STEP_STATES, RunState
from atom_workflows.core.workflow import Workflow
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Document, Query, Store, Write, WriteResult
from support.commands import cancel_run, retry_run
from support.loops import RUN, each, start, step, workflow
from support.mortal import Died, Fate, deaths_at, make_mortal

SIZE, PLACES = 9, 3

LATE = {"step": "train[0]", "duration": 35}
QUICK = json.dumps({"rules": [LATE]})
FAILING = json.dumps({"rules": [LATE, {"step": "train[2]", "fail_times": 1}, {"step": "train[3]", "fail_times": 1}]})


def flow(tolerate: int = 0) -> Workflow:
    """Return a workflow whose places have several shards, one of which has fewer items than the others."""
    return workflow(step("train", for_each=each(list(range(SIZE)), max_parallel=PLACES, tolerate=tolerate)))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each place a shard of its own, and small loops several batches and levels of barriers."""
    shrink(monkeypatch)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits."""
    monkeypatch.setattr(places, "PLACES_OF_SHARD", 2)
    monkeypatch.setattr(expansion, "FAN_OUT_LIMIT", 2)
    monkeypatch.setattr(expansion, "FAN_IN_LIMIT", 3)
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 8)


@dataclass(slots=True)
class CountingAlive:
    """A store that checks after each commit that no more items are under way than there are places."""

    inner: Store
    alive: set[str] = field(default_factory=set)
    most: int = 0

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.inner.get(paths, fields=fields)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        results = self.inner.commit(writes)
        for write in writes:
            name, state = write.path.rpartition("/")[2], write.fields.get("state")
            if parse_item_id(name) and state is not None and "/steps/" in write.path:
                is_open = state not in TERMINAL_STEP_STATES and state != "PENDING"
                self.alive = self.alive | {name} if is_open else self.alive - {name}
        self.most = max(self.most, len(self.alive))
        assert self.most <= PLACES, self.alive
        return results


def play(world: World, fate: Fate, *, tolerate: int = 0, retries: int = 0, cancel_at: int | None = None) -> None:
    """Run the workflow, retrying it if it fails, while one handler dies; unacknowledged events come again."""
    counting = CountingAlive(world.services.store)
    world.services = replace(world.services, store=counting)
    start(world, flow(tolerate))
    plain = world.services
    make_mortal(world, fate)
    for turn in range(150):
        deliver_all(world)
        if turn == cancel_at:
            cancel_run(plain, RUN)
        if world.run(RUN).state.is_terminal:
            if not retries or world.run(RUN).state is RunState.SUCCEEDED:
                break
            retries -= 1
            do_twice(lambda: retry_run(world.services, RUN))
        world.clock.move(timedelta(seconds=10))
        with suppress(Died):
            handle_tick(world.services, Tick())


def do_twice(command: Callable[[], object]) -> None:
    """Give a command, again if it dies."""
    try:
        command()
    except Died:
        with suppress(Exception):
            command()


def deliver_all(world: World) -> None:
    """Deliver every event, again if its handler dies."""
    while taken := world.bus.take_all("steps") + world.bus.take_all("start"):
        for message in taken:
            try:
                world.deliver(message)
            except Died:
                world.bus.nack(message)


PLAYS = {
    "plain": (QUICK, {}),
    "retried": (FAILING, {"retries": 2}),
    "tolerant": (FAILING, {"tolerate": 2}),
    "cancelled": (QUICK, {"retries": 1, "cancel_at": 1}),
}


def deaths() -> list[ParameterSet]:
    """Return the deaths that differ in each play."""
    found = []
    for name, (script, options) in PLAYS.items():
        with pytest.MonkeyPatch.context() as patch:
            shrink(patch)
            fate = Fate()
            play(World(script), fate, **options)
        found += [pytest.param(name, *one.values, id=f"{name}-{one.id}") for one in deaths_at(fate.calls)]
    return found


@pytest.mark.parametrize(("name", "fatal", "after"), deaths())
def test_a_death_at_any_write_loses_no_place(name: str, fatal: int, *, after: bool) -> None:
    """Every item runs, all places are free in the end, and at no time more items run than there are places."""
    script, options = PLAYS[name]
    world = World(script)
    play(world, Fate(fatal=fatal, after=after), **options)
    assert world.run(RUN).state is RunState.SUCCEEDED, world.states(RUN)
    assert {one.partition("]")[0] for one in world.submissions()} == {f"train[{number}" for number in range(SIZE)}
    steps = world.steps(RUN)
    assert not list(find_flaws(steps, now=world.clock.now()))
    assert sum(one.places.free for one in steps.values() if one.places is not None) == PLACES
    assert not any(one.waits_at for one in steps.values())
