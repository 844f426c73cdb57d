"""Which runs share a line, and that a free place is given away at once, whatever is at the head of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Update
from atom_workflows.run_documents import stop_fields
from support import groups
from support.commands import cancel_run
from support.groups import in_state, limited

FOREVER = "rules: [{step: s0, duration: 1000000}]"


def start(world: World, number: int, **concurrency: Any) -> str:
    """Start a run a second after the one before, and deliver what it published."""
    world.clock.move(timedelta(seconds=1))
    run_id = groups.start(world, limited(**concurrency), f"key-{number}")
    world.settle_down()
    return run_id


def cancel(world: World, run_id: str) -> None:
    """Cancel a run, and deliver what that published."""
    cancel_run(world.services, run_id)
    world.settle_down()


def test_a_run_that_is_being_stopped_does_not_hold_up_the_line() -> None:
    """If whoever stops the first in line dies, the place goes to the next without waiting for an audit."""
    world = World(FOREVER)
    holder, stopped, following = (start(world, number) for number in range(3))
    stop = Stop(kind=StopKind.CANCEL, reason="by hand", requested_at=world.clock.now())
    world.store.inner.commit([Update(path=run_path(stopped), fields={"stop": stop_fields(stop)})])
    cancel(world, holder)
    assert world.run(following).state is RunState.RUNNING
    assert world.run(stopped).state is RunState.QUEUED


@pytest.mark.parametrize("expired", [1, 3, 70])
def test_runs_whose_wait_is_over_do_not_hold_up_the_line(expired: int) -> None:
    """Those that have waited too long are skipped, and the one behind them begins in the same invocation."""
    world = World(FOREVER)
    holder = start(world, 0)
    late = [start(world, number, maxWait="2m") for number in range(1, 1 + expired)]
    last = start(world, 1 + expired)
    world.clock.move(timedelta(minutes=3))
    cancel(world, holder)
    assert {world.run(run_id).state for run_id in late} == {RunState.SKIPPED}
    assert world.run(last).state is RunState.RUNNING


def test_a_broken_run_does_not_hold_up_the_line() -> None:
    """A run without its end is skipped, and the one behind it begins in the same invocation."""
    world = World(FOREVER)
    holder, broken, following, last = (start(world, number) for number in range(4))
    world.store.inner.delete(step_path(broken, "~end"))
    cancel(world, holder)
    states = [world.run(run_id).state for run_id in (broken, following, last)]
    assert states == [RunState.SKIPPED, RunState.RUNNING, RunState.QUEUED]


@pytest.mark.parametrize("cancelled", ["the holder", "the first in line"])
def test_runs_with_a_higher_limit_begin_once_those_before_them_have_begun_or_ended(cancelled: str) -> None:
    """A newer file's higher limit holds for its own runs as soon as none of the older file's is before them."""
    world = World(FOREVER)
    holder, first = start(world, 0), start(world, 1)
    others = [start(world, number, limit=40) for number in range(2, 60)]
    assert {world.run(run_id).state for run_id in others} == {RunState.QUEUED}
    cancel(world, holder if cancelled == "the holder" else first)
    assert world.run(first).state is (RunState.RUNNING if cancelled == "the holder" else RunState.CANCELLED)
    assert len(in_state(world, RunState.RUNNING)) == 40
    assert world.run(others[38]).state is RunState.RUNNING
    assert world.run(others[39]).state is RunState.QUEUED


def test_equal_numbers_are_one_group() -> None:
    """A number is the same group however it was given, as it is equal in expressions, too."""
    world = World(FOREVER)
    text = json.loads(limited(group="${{ params.shard }}")) | {"params": {"shard": {"type": "number"}}}
    ids = [
        groups.start(world, json.dumps(text), f"key-{at}", params={"shard": shard})
        for at, shard in enumerate((0, 0.0, -0.0, 1.5, 1e300))
    ]
    states = [world.run(run_id).state for run_id in ids]
    assert states == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED, RunState.RUNNING, RunState.RUNNING]
