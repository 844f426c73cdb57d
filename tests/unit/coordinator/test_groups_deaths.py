"""Whatever dies, and wherever: no place is lost or given away twice, and every run in line begins or is skipped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.states import RunState
from atom_workflows.errors import RunStateError
from atom_workflows.messages.internal import Tick
from support.commands import cancel_run, retry_run
from support.gauge import lose
from support.groups import at_work, in_state, limited, runs_of, start
from support.mortal import Died, Fate, deaths_at, make_mortal

SLOW = "rules: [{step: s0, duration: 15}]"
FOREVER = "rules: [{step: s0, duration: 100000}]"


def survive(call: Callable[[], Any], tries: int = 2) -> None:
    """Make a call whose handler may die, again if it does, as a redelivery or a person would."""
    for _ in range(tries):
        with suppress(Died):
            call()
            return


def deliver_all(world: World) -> None:
    """Deliver every event, again if its handler dies."""
    while taken := world.bus.take_all("steps") + world.bus.take_all("start"):
        for message in taken:
            try:
                world.deliver(message)
            except Died:
                world.bus.nack(message)


def play_on(world: World, *, rounds: int = 60) -> int:
    """Deliver and tick until all runs have ended. Returns the most runs that were ever at work together."""
    most = 0
    for _ in range(rounds):
        deliver_all(world)
        most = max(most, len(at_work(runs_of(world).values())))
        if all(run.state.is_terminal for run in runs_of(world).values()):
            break
        world.clock.move(timedelta(seconds=10))
        with suppress(Died):
            handle_tick(world.services, Tick())
    return most


def play_three(fate: Fate, definition: str, script: str = SLOW) -> tuple[World, int]:
    """Start three runs, one after the other, while one handler dies."""
    world = World(script)
    make_mortal(world, fate)
    for number in range(3):
        survive(partial(start, world, definition, f"key-{number}"))
        world.clock.move(timedelta(seconds=1))
    return world, play_on(world)


def calls_of(play: Callable[[Fate], object]) -> list[str]:
    """Return the port calls if nothing dies."""
    fate = Fate()
    play(fate)
    return fate.calls


QUEUE = limited(limit=1)
LATEST = limited(limit=1, whenFull="latest")


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of(lambda fate: play_three(fate, QUEUE))))
def test_every_run_in_line_runs_whichever_call_kills_a_handler(fatal: int, *, after: bool) -> None:
    """Three runs queue; one handler dies at one call; all three run, one at a time, in their order."""
    world, most = play_three(Fate(fatal=fatal, after=after), QUEUE)
    runs = in_state(world, *RunState)
    assert [run.state for run in runs] == [RunState.SUCCEEDED] * 3
    assert most == 1
    begun = [run.started_at for run in runs]
    assert begun == sorted(filter(None, begun))


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of(lambda fate: play_three(fate, LATEST))))
def test_the_latest_run_runs_whichever_call_kills_a_handler(fatal: int, *, after: bool) -> None:
    """Under `latest`, the first and the last of three runs run, and the second is skipped, whoever dies."""
    world, most = play_three(Fate(fatal=fatal, after=after), LATEST)
    states = [run.state for run in in_state(world, *RunState)]
    assert states == [RunState.SUCCEEDED, RunState.SKIPPED, RunState.SUCCEEDED]
    assert most == 1


def cancel_one_of_three(fate: Fate, which: int) -> World:
    """Cancel one of three runs, of which one is at work, while the handler dies; no one repeats the command."""
    world = World(FOREVER)
    ids = []
    for number in range(3):
        ids.append(start(world, QUEUE, f"key-{number}"))
        world.clock.move(timedelta(seconds=1))
        deliver_all(world)
    plain = world.services
    make_mortal(world, fate)
    survive(lambda: cancel_run(world.services, ids[which]), tries=1)
    world.services = plain
    for _ in range(40):
        deliver_all(world)
        world.clock.move(timedelta(seconds=10))
        handle_tick(world.services, Tick())
    return world


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of(lambda fate: cancel_one_of_three(fate, 0))))
def test_a_cancel_that_dies_gives_the_place_to_the_next(fatal: int, *, after: bool) -> None:
    """If a cancellation dies and is not repeated, the place is given to the next run, or the run keeps it."""
    world = cancel_one_of_three(Fate(fatal=fatal, after=after), 0)
    states = [run.state for run in in_state(world, *RunState)]
    assert states in (
        [RunState.CANCELLED, RunState.RUNNING, RunState.QUEUED],
        [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED],
    )


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of(lambda fate: cancel_one_of_three(fate, 1))))
def test_a_cancel_of_a_waiting_run_that_dies_is_carried_out_or_not(fatal: int, *, after: bool) -> None:
    """If the cancellation of a waiting run dies, the audit ends the run, or it waits on; it never begins early."""
    world = cancel_one_of_three(Fate(fatal=fatal, after=after), 1)
    states = [run.state for run in in_state(world, *RunState)]
    assert states in (
        [RunState.RUNNING, RunState.CANCELLED, RunState.QUEUED],
        [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED],
    )


def retry_in_line(fate: Fate) -> tuple[World, str]:
    """Retry a failed run while another is at work, and the command dies; it is repeated if it took no effect."""
    world = World("rules: [{step: s0, fail_times: 1, duration: 25}]")
    failed = start(world, QUEUE, "key-0")
    play_on(world)
    start(world, QUEUE, "key-1")
    deliver_all(world)
    plain = world.services
    make_mortal(world, fate)
    with suppress(RunStateError):
        survive(lambda: retry_run(world.services, failed))
    world.services = plain
    play_on(world)
    return world, failed


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of(retry_in_line)))
def test_a_retry_that_dies_in_line_begins_in_the_end(fatal: int, *, after: bool) -> None:
    """A retry that waits is neither lost nor begun twice if the command dies."""
    world, failed = retry_in_line(Fate(fatal=fatal, after=after))
    assert world.run(failed).state is RunState.SUCCEEDED
    assert world.run(failed).retries == 1


@pytest.mark.parametrize("event", ["start", "steps"])
def test_an_event_that_is_lost_after_each_end_delays_the_next_run_by_minutes(event: str) -> None:
    """If the events of an admission are lost, the audit of the admitted run finds it within five minutes."""
    world = World(SLOW)
    first, second = (start(world, QUEUE, f"key-{number}") for number in range(2))
    deliver_all(world)
    cancel_run(world.services, first)
    lose(world, event)
    assert play_on(world) == 1
    run = world.run(second)
    assert run.state is RunState.SUCCEEDED
    assert run.admitted_at is not None
    assert run.started_at is not None
    assert run.started_at - run.admitted_at <= timedelta(minutes=5)
