"""A stop ends items without counting them in the places of their step, and this is no contradiction."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.repair import examine
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.loops import RUN, each, start, step, workflow
from support.meanwhile import meanwhile

SHARD = "~places.train~1.0"
SLOW = json.dumps({"default": {"duration": 100_000}, "rules": [{"step": "train[0]", "duration": 2}]})


def flow() -> Workflow:
    """Return a workflow with one step under `finally`, so that the run goes on after a stop."""
    train = step("train", for_each=each(list(range(7)), max_parallel=2, tolerate=7))
    return workflow(
        train, timeout=timedelta(minutes=2), finally_steps=(step("clean"),), finally_timeout=timedelta(hours=1)
    )


def at_work() -> World:
    """Return a run of which one item has ended and others are under way."""
    world = World(SLOW)
    start(world, flow())
    world.settle_down()
    world.clock.move(timedelta(seconds=5))
    world.tick()
    world.settle_down()
    return world


def cancel(world: World) -> None:
    """Cancel the run, and begin the steps under `finally`."""
    cancel_run(world.services, RUN)
    begin_finally(world)


def time_out(world: World) -> None:
    """Let the run's timeout expire, and begin the steps under `finally`."""
    world.clock.move(timedelta(minutes=2))
    begin_finally(world)


def begin_finally(world: World) -> None:
    """Tick until the stop has ended the main part."""
    for _ in range(10):
        world.tick()
        world.settle_down()
        world.clock.move(timedelta(seconds=10))
    run = world.run(RUN)
    assert (run.state, run.stop, run.main_state is None) == (RunState.RUNNING, None, False)


@pytest.mark.parametrize("stop", [cancel, time_out])
def test_places_are_not_recounted_after_a_stop(stop: Callable[[World], None]) -> None:
    """While steps under `finally` run, neither the doctor nor an audit counts the places of what was stopped."""
    world = at_work()
    shard = world.steps(RUN)[SHARD]
    stop(world)
    assert not list(find_flaws(world.steps(RUN), now=world.clock.now()))
    assert not examine(world.services, RUN, fixing=True).found
    world.clock.move(timedelta(minutes=20))
    world.tick()
    world.settle_down()
    assert world.steps(RUN)[SHARD] == shard


def test_places_are_not_recounted_if_a_stop_comes_meanwhile() -> None:
    """Items that a stop ends while the doctor counts do not look as if they had kept their places."""
    world = at_work()
    world.store.inner.commit([Update(path=step_path(RUN, SHARD), increments={"failed": 1})])
    shard = world.steps(RUN)[SHARD]
    store = meanwhile(world, lambda name, _: name == "count", lambda: cancel(world))
    examined = examine(world.services, RUN, fixing=True)
    assert store.happened
    assert not examined.found
    assert not examined.fixed
    assert world.steps(RUN)[SHARD] == shard


def test_places_are_recounted_after_a_retry() -> None:
    """Once a stopped step runs again, its places are checked as before."""
    world = at_work()
    cancel(world)
    cancel_run(world.services, RUN, now=True)
    assert world.run_to_end(RUN).state is RunState.CANCELLED
    retry_run(world.services, RUN)
    world.settle_down()
    assert not examine(world.services, RUN, fixing=False).found
    world.store.inner.commit([Update(path=step_path(RUN, SHARD), increments={"failed": 1})])
    assert [one.step_id for one in examine(world.services, RUN, fixing=True).fixed] == [SHARD]
