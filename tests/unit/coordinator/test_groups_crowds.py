"""Up to a thousand starts of one group at the same time: never more than the limit at work, none lost, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.core.groups import place_of
from atom_workflows.core.states import RunState
from support.commands import cancel_run
from support.groups import in_state, limited, runs_of, start
from support.interleaved import Crowd, dice, interleave

FOREVER = "rules: [{step: s0, duration: 100000}]"
STARTS = 1_000
MANY = 300


def starts(world: World, keys: Iterable[int], **concurrency: Any) -> list[Callable[[], object]]:
    """Return a start of a run of one group for each key."""
    definition = limited(**concurrency)
    return [partial(start, world, definition, f"key-{key}") for key in keys]


def start_at_once(seed: int, count: int = STARTS, **concurrency: Any) -> tuple[World, Crowd, Counter[RunState]]:
    """Start so many runs at the same time; chance decides who goes on. Their steps need not have been written yet."""
    world = World(FOREVER)
    crowd = interleave(world, starts(world, range(count), **concurrency), dice(seed))
    states = Counter(run.state for run in runs_of(world).values())
    states[RunState.RUNNING] += states.pop(RunState.SEEDING, 0)
    return world, crowd, states


def test_a_thousand_starts_queue() -> None:
    """Under `queue`, as many runs as the limit begin, and all others wait; hardly any commit is refused."""
    _, crowd, states = start_at_once(7, limit=7, maxQueued=1_000)
    assert states == {RunState.RUNNING: 7, RunState.QUEUED: STARTS - 7}
    assert max(crowd.most.values()) == 7
    # Everyone may be refused once: at first, all of them see a free place.
    assert crowd.refused <= 2 * STARTS


def test_starts_with_places_for_all_begin() -> None:
    """With as many places as starts, all runs begin, though places are given away under one guard."""
    _, crowd, states = start_at_once(3, MANY, limit=1_000)
    assert states == {RunState.RUNNING: MANY}
    assert crowd.refused <= 2 * MANY


def test_starts_fill_the_queue_exactly() -> None:
    """Beyond `maxQueued`, runs are skipped: as many wait as may, and no fewer."""
    world, crowd, states = start_at_once(4, MANY, limit=2, maxQueued=30)
    assert states == {RunState.RUNNING: 2, RunState.QUEUED: 30, RunState.SKIPPED: MANY - 32}
    assert max(crowd.most.values()) == 2
    assert all("`maxQueued`" in run.because for run in in_state(world, RunState.SKIPPED))


def test_of_many_starts_one_waits_as_the_latest() -> None:
    """Under `latest`, one run waits in the end, and each of the others names the one that took its place."""
    world, crowd, states = start_at_once(5, MANY, limit=3, whenFull="latest")
    assert states == {RunState.RUNNING: 3, RunState.QUEUED: 1, RunState.SKIPPED: MANY - 4}
    assert max(crowd.most.values()) == 3
    known = {f"replaced by {run_id}" for run_id in runs_of(world)}
    assert {run.because for run in in_state(world, RunState.SKIPPED)} <= known


def test_of_many_starts_the_limit_is_not_skipped() -> None:
    """Under `skip`, as many runs as the limit begin, and all others are skipped."""
    world, crowd, states = start_at_once(6, MANY, limit=3, whenFull="skip")
    assert states == {RunState.RUNNING: 3, RunState.SKIPPED: MANY - 3}
    assert max(crowd.most.values()) == 3
    assert all(run.because.startswith("3 runs in its group") for run in in_state(world, RunState.SKIPPED))


@pytest.mark.parametrize("seed", range(5))
def test_the_line_is_kept_while_runs_end_and_join_at_the_same_time(seed: int) -> None:
    """While runs are cancelled and others join, the limit holds, and those that waited begin in order, every one."""
    world, _, _ = start_at_once(seed, 20, limit=3, maxQueued=1_000)
    world.settle_down()
    chance, lines = dice(seed), []
    for _ in range(60):
        at_work = in_state(world, RunState.RUNNING)
        ending = chance.sample(at_work, k=min(len(at_work), chance.randint(1, 3)))
        ends = [lambda run_id=run.id: cancel_run(world.services, run_id) for run in ending]
        world.clock.move(timedelta(seconds=1))
        used = len(runs_of(world))
        keys = range(used, used + chance.randint(0, 3)) if used < 60 else ()
        joining = starts(world, keys, limit=3, maxQueued=1_000)
        crowd = interleave(world, [*ends, *joining], chance)
        assert max(crowd.most.values(), default=0) <= 3
        world.settle_down()
        lines.append(sorted(filter(None, map(place_of, in_state(world, RunState.QUEUED)))))
        assert len(in_state(world, RunState.RUNNING)) == 3 or not lines[-1]
    runs = runs_of(world)
    assert not in_state(world, RunState.QUEUED)
    assert len(runs) >= 60
    for line in lines:
        begun = [runs[place.rpartition("/")[2]].admitted_at for place in line]
        assert None not in begun
        assert begun == sorted(filter(None, begun))


@pytest.mark.parametrize("seed", range(20))
def test_two_ends_and_a_start_at_the_same_time_leave_no_place_free(seed: int) -> None:
    """Whoever joins while others end is seen by them, or sees the free place itself."""
    world, _, _ = start_at_once(seed, 2, limit=2)
    ends = [lambda run_id=run_id: cancel_run(world.services, run_id) for run_id in runs_of(world)]
    crowd = interleave(world, [*ends, *starts(world, [2], limit=2)], dice(seed))
    world.settle_down()
    assert max(crowd.most.values(), default=0) <= 2
    assert not in_state(world, RunState.QUEUED)
