"""A handler that dies at any of its calls leaves nothing that is not repaired."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from _pytest.mark import ParameterSet

from atom_emulator.testing.world import World
from atom_workflows.coordinator import limits
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.states import RunState
from atom_workflows.messages.internal import Tick
from support.commands import cancel_run, retry_run
from support.gauge import lose
from support.mortal import Died, Fate, deaths_at, make_mortal
from support.workflows import definition

EDGES = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"], "f": ["e"]}
SCRIPT = "rules: [{step: c, duration: 15}, {step: e, fail_times: 1}]"
RETRY = {"retry": {"maxAttempts": 2, "backoff": {"initial": "5s"}}}


def play(world: World, fate: Fate) -> str:
    """Run the workflow while one handler dies.

    Events that were not acknowledged are delivered again.
    """
    make_mortal(world, fate)
    text = definition(EDGES, e=RETRY)
    try:
        run_id = world.start(text)
    except Died:
        run_id = world.start(text)
    for _ in range(60):
        deliver_all(world)
        if world.run(run_id).state.is_terminal:
            break
        world.clock.move(timedelta(seconds=10))
        tick(world)
    return run_id


def deliver_all(world: World) -> None:
    """Deliver every event, again if its handler dies."""
    while taken := world.bus.take_all("steps") + world.bus.take_all("start"):
        for message in taken:
            try:
                world.deliver(message)
            except Died:
                world.bus.nack(message)


def tick(world: World) -> None:
    """Tick, while the handler may die as well."""
    try:
        handle_tick(world.services, Tick())
    except Died:
        return


def counters(world: World, run_id: str) -> None:
    """Check that each step's counters agree with its dependencies' states."""
    steps = world.steps(run_id)
    for step in steps.values():
        terminal = [steps[need] for need in step.depends_on if steps[need].state.is_terminal]
        assert step.remaining == len(step.depends_on) - len(terminal), step


def calls_of_a_run() -> list[str]:
    """Return the port calls that the run takes when nothing dies."""
    fate = Fate()
    play(World(SCRIPT), fate)
    return fate.calls


CALLS = calls_of_a_run()


@pytest.mark.parametrize(("fatal", "after"), deaths_at(CALLS))
def test_a_death_at_any_call_leaves_a_run_that_ends_as_it_should(fatal: int, *, after: bool) -> None:
    """Whichever call kills a handler, a run SUCCEEDS, with counters that its states imply."""
    fate = Fate(fatal=fatal, after=after)
    world = World(SCRIPT)
    run_id = play(world, fate)
    assert world.run(run_id).state is RunState.SUCCEEDED, world.states(run_id)
    counters(world, run_id)
    submissions = world.submissions()
    assert set(submissions) == {"a/1", "b/1", "c/1", "d/1", "e/1", "e/2", "f/1"}
    died_at = fate.calls[fatal - 1]
    repeats = len(submissions) - len(set(submissions))
    # A claimed group of steps shares the fate of the one at whose submission or recording its dispatcher died.
    assert repeats == 0 or died_at in {"submit", "get", "commit"}
    assert repeats <= 2


@pytest.mark.parametrize("fatal", range(1, 9))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_cancel_that_dies_is_finished_by_the_checker(fatal: int, *, after: bool) -> None:
    """The checker finishes a cancel that died after it was recorded."""
    world = World("default: {duration: 1000}")
    run_id = world.start(definition({"a": [], "b": [], "c": ["a"]}))
    world.settle_down()
    make_mortal(world, Fate(fatal=fatal, after=after))
    try:
        cancel_run(world.services, run_id)
    except Died:
        if world.run(run_id).stop is None:
            cancel_run(world.services, run_id)
    world.clock.move(timedelta(seconds=60))
    assert world.run_to_end(run_id, within=timedelta(seconds=70)).state is RunState.CANCELLED
    assert set(world.states(run_id).values()) == {"CANCELLED"}


@pytest.mark.parametrize("fatal", range(1, 10))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_retry_that_dies_is_finished_by_the_checker(fatal: int, *, after: bool) -> None:
    """The checker finishes a retry that died."""
    world = World("rules: [{step: b, fail_times: 1}]")
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"], "d": ["a"]}))
    world.settle_down()
    assert world.run(run_id).state is RunState.FAILED
    make_mortal(world, Fate(fatal=fatal, after=after))
    try:
        retry_run(world.services, run_id)
    except Died:
        if world.run(run_id).state is RunState.FAILED:
            retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1", "b/1", "d/1", "b/2", "c/1"]


def close(world: World) -> str:
    """Begin a run of ten steps that is out of time."""
    run_id = world.start(definition({f"s{i}": [] for i in range(10)}).replace('"name"', '"timeout": "60s", "name"'))
    lose(world, "steps")
    world.clock.move(timedelta(seconds=61))
    return run_id


def skip(world: World) -> str:
    """Begin a chain of ten steps whose first one fails."""
    return world.start(definition({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(10)}))


WORKS = {"close": close, "skip": skip}


def play_handed_on(work: Callable[[World], str], fate: Fate) -> tuple[World, str]:
    """Do the work in small parts, each handed on, while one handler dies, then let the checker go on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MAX_WRITTEN", "MAX_AUDIT_WRITTEN"):
            patch.setattr(limits, name, 3)
        world = World("rules: [{step: s0, always_fail: true}]")
        run_id = work(world)
        plain = world.services
        make_mortal(world, fate)
        for _ in range(12):
            tick(world)
            for topic in ("start", "steps"):
                for message in world.bus.take_all(topic):
                    world.bus.ack(message)
                    with suppress(Died):
                        world.deliver(message)
        world.services = plain
        world.run_to_end(run_id)
    return world, run_id


def deaths_in_work() -> list[ParameterSet]:
    """Return the deaths in either work, as parameters `work`, `fatal` and `after`."""
    found = []
    for name, work in WORKS.items():
        fate = Fate()
        play_handed_on(work, fate)
        found += [pytest.param(name, *one.values, id=f"{name}-{one.id}") for one in deaths_at(fate.calls)]
    return found


@pytest.mark.parametrize(("work", "fatal", "after"), deaths_in_work())
def test_a_death_in_work_that_is_handed_on_is_made_good(work: str, fatal: int, *, after: bool) -> None:
    """A run ends as it should though an invocation of many dies."""
    world, run_id = play_handed_on(WORKS[work], Fate(fatal=fatal, after=after))
    assert world.run(run_id).state is RunState.FAILED
    states = sorted(world.states(run_id).values())
    assert states == (["SKIPPED"] * 10 if work == "close" else ["FAILED", *["SKIPPED"] * 9])


STOPS = "default: {duration: 100000, stop: {after: 5}}"


def play_stops(world: World, fate: Fate) -> str:
    """Run two steps that time out twice, while one handler dies."""
    make_mortal(world, fate)
    retry = {"timeout": "30s", "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}}}
    run_id = "flow-00cfe846bce2"
    for _ in range(2):
        with suppress(Died):
            run_id = world.start(definition({"a": [], "b": []}, a=retry, b=retry))
    for _ in range(60):
        deliver_all(world)
        if world.run(run_id).state.is_terminal:
            break
        world.clock.move(timedelta(seconds=10))
        tick(world)
    return run_id


def calls_of_stops() -> list[str]:
    """Return the port calls of steps that time out when nothing dies."""
    fate = Fate()
    play_stops(World(STOPS), fate)
    return fate.calls


@pytest.mark.parametrize(("fatal", "after"), deaths_at(calls_of_stops()))
def test_a_stop_that_dies_anywhere_ends_as_it_should(fatal: int, *, after: bool) -> None:
    """Whichever call kills a handler, attempts do not overlap and time out twice."""
    fate = Fate(fatal=fatal, after=after)
    world = World(STOPS)
    run_id = play_stops(world, fate)
    steps = world.steps(run_id)
    assert world.states(run_id) == {"a": "FAILED", "b": "FAILED"}
    assert (steps["a"].attempt, steps["b"].attempt) == (2, 2)
    assert "timed out" in steps["a"].message
    assert steps["a"].unstopped == ()
    first, second = (one for one in world.task_runner.jobs._jobs.values() if one.step[-1] == "a")
    began = dict(zip((key for key, _ in world.task_runner.submitted), world.task_runner.submitted_at, strict=True))
    assert first.ends_at <= began[f"{run_id}/a/2"].timestamp()
    assert second.ends_at <= world.clock.now().timestamp()


@pytest.mark.parametrize("fatal", range(1, 40))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_death_while_a_run_waits_for_its_jobs_delays_its_end_by_minutes(fatal: int, *, after: bool) -> None:
    """Whoever dies, the command or a function, the run ends and its retry begins with no job beside another."""
    world = World("default: {duration: 100000, stop: {after: 45}}")
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.settle_down()
    world.clock.move(timedelta(seconds=10))
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        cancel_run(world.services, run_id)
    if world.run(run_id).stop is None:
        cancel_run(world.services, run_id)
    for _ in range(40):
        deliver_all(world)
        if world.run(run_id).state.is_terminal:
            break
        world.clock.move(timedelta(seconds=10))
        tick(world)
    assert world.run(run_id).state is RunState.CANCELLED
    with suppress(Died):
        retry_run(world.services, run_id)
    if world.run(run_id).state is RunState.CANCELLED:
        retry_run(world.services, run_id)
    for _ in range(40):
        deliver_all(world)
        world.clock.move(timedelta(seconds=10))
        tick(world)
    assert "a/2" in world.submissions()
    first = world.task_runner.jobs._jobs["job-000001"]
    at = [
        at
        for at, (key, _) in zip(world.task_runner.submitted_at, world.task_runner.submitted, strict=True)
        if key.endswith("a/2")
    ]
    assert first.ends_at <= at[0].timestamp()
