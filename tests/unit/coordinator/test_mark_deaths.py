"""A command that marks a step is accepted, delivered twice, and dies at each of its calls: it takes effect once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.run_commands import accept_command, handle_command
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.marks import read_mark
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import MalformedEvent, MarkError, NewerVersion, RunStateError
from atom_workflows.messages.internal import MARK, RETRY, RunCommand, command_message, read_steps_event
from support.commands import ACTOR, cancel_run, mark_step, retry_run
from support.groups import limited
from support.groups import start as start_limited
from support.mortal import Died, Fate, make_mortal
from support.workflows import definition, script

BACK_OFF = {"retry": {"maxAttempts": 9, "backoff": {"initial": "5m", "max": "5m"}}}
MOST_CALLS = 14


def backing_off() -> tuple[World, str]:
    """Return a world with a run whose first step waits for its next attempt."""
    world = World(script(a={"fail_times": 1}))
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"]}, a=BACK_OFF))
    world.settle_down()
    assert world.states(run_id)["a"] == "RETRYING"
    return world, run_id


def running() -> tuple[World, str]:
    """Return a world with a run whose first step runs for long."""
    world = World(script(a={"duration": 500, "fail_times": 1}))
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.settle_down()
    return world, run_id


def failed() -> tuple[World, str]:
    """Return a world with a run that has failed at its first step."""
    world = World(script(a={"fail_times": 1}))
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"]}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    return world, run_id


CASES = {"back-off": backing_off, "running": running, "failed": failed}


def ask(world: World, run_id: str, **options: Any) -> RunCommand:
    """Have a mark accepted, and take its message off the bus."""
    fields = {"step": "a", "state": "succeeded", **options}
    accept_command(world.services, RunCommand(run_id, MARK, retries=0, actor=ACTOR, reason="by hand", **fields))
    [taken] = world.bus.take_all("steps")
    world.bus.ack(taken)
    assert taken.body["schema"] == 4
    read = read_steps_event(taken.body)
    assert isinstance(read, RunCommand)
    return read


def require_marked(world: World, run_id: str) -> None:
    """Let the run go on to its end, and check that the mark took effect once."""
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert not list(find_flaws(world.steps(run_id), now=world.clock.now()))
    assert [change.what for change in world.run(run_id).changes] == ["mark a succeeded"]
    assert world.steps(run_id)["a"].message == f"marked as succeeded by {ACTOR}: by hand"
    assert [name for name in world.submissions() if name != "a/1"] == sorted(
        f"{name}/1" for name in world.states(run_id) if name != "a"
    )


@pytest.mark.parametrize("case", CASES)
def test_a_command_marks_a_step_once(case: str) -> None:
    """However often it is delivered, also after the run has ended."""
    world, run_id = CASES[case]()
    command = ask(world, run_id)
    for _ in range(2):
        handle_command(world.services, command)
    require_marked(world, run_id)
    handle_command(world.services, command)
    require_marked(world, run_id)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, MOST_CALLS))
@pytest.mark.parametrize("case", CASES)
def test_a_command_that_dies_is_carried_out_by_its_next_delivery(case: str, fatal: int, *, after: bool) -> None:
    """Whatever it had done before."""
    world, run_id = CASES[case]()
    command, services = ask(world, run_id), world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    try:
        handle_command(world.services, command)
    except Died:
        world.services = services
        handle_command(world.services, command)
    world.services = services
    require_marked(world, run_id)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, MOST_CALLS))
@pytest.mark.parametrize("case", CASES)
def test_a_user_who_dies_leaves_a_mark_or_nothing(case: str, fatal: int, *, after: bool) -> None:
    """No event comes again; the audit finds what a mark released, and resets what a reopened run needs."""
    world, run_id = CASES[case]()
    services = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    try:
        mark_step(world.services, run_id, "a", reason="by hand")
    except Died:
        world.services = services
        if not world.run(run_id).changes:
            mark_step(world.services, run_id, "a", reason="by hand")
    world.services = services
    require_marked(world, run_id)


def test_a_mark_for_an_earlier_round_is_late() -> None:
    """A command that was accepted before someone retried the run does nothing."""
    world, run_id = failed()
    late = ask(world, run_id)
    retry_run(world.services, run_id)
    handle_command(world.services, late)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert [change.what for change in world.run(run_id).changes] == ["retry"]


def waiting() -> tuple[World, str]:
    """Return a world with a run whose second step waits for the first one, which runs."""
    world = World(script(a={"duration": 500}))
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.settle_down()
    return world, run_id


def test_a_command_that_is_delivered_again_does_not_replace_a_later_mark() -> None:
    """In whichever order they are delivered, the one that was accepted last decides."""
    for again in ("earlier", "later"):
        world, run_id = waiting()
        earlier = ask(world, run_id, step="b", state="skipped")
        world.clock.move(timedelta(seconds=1))
        later = ask(world, run_id, step="b", state="succeeded")
        for command in (earlier, later, earlier) if again == "earlier" else (later, earlier, later):
            handle_command(world.services, command)
        mark = read_mark(world.steps(run_id)["b"])
        assert mark is not None
        assert mark.state is StepState.SUCCEEDED


def test_a_command_replaces_a_mark_by_a_clock_that_is_ahead() -> None:
    """It was accepted after that, whatever the clocks say."""
    world, run_id = waiting()
    mark_step(world.services, run_id, "b", "skipped")
    world.clock.move(-timedelta(minutes=5))
    handle_command(world.services, ask(world, run_id, step="b", state="succeeded"))
    mark = read_mark(world.steps(run_id)["b"])
    assert mark is not None
    assert mark.state is StepState.SUCCEEDED


@pytest.mark.parametrize("times", [0, 1])
def test_a_mark_of_an_open_run_does_not_reopen_it(times: int) -> None:
    """The command comes, or comes again, after someone has cancelled the run."""
    world, run_id = waiting()
    command = ask(world, run_id, step="b")
    for _ in range(times):
        handle_command(world.services, command)
    cancel_run(world.services, run_id)
    world.run_to_end(run_id)
    handle_command(world.services, command)
    assert world.run(run_id).state is RunState.CANCELLED


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"step": "z"}, MarkError),
        ({"state": "failed"}, MalformedEvent),
        ({"outputs": '{"n": 1}'}, MarkError),
    ],
)
def test_a_mark_that_is_impossible_is_not_accepted(options: Mapping[str, str], error: type[Exception]) -> None:
    """The caller is told why."""
    world, run_id = failed()
    with pytest.raises(error):
        ask(world, run_id, **options)
    handle_command(world.services, ask(world, run_id)._replace(step="z"))
    assert world.run(run_id).state is RunState.FAILED


def test_a_queued_or_seeding_run_is_refused() -> None:
    """Its steps can be marked once it is RUNNING."""
    world, run_id = failed()
    command = ask(world, run_id)
    handle_command(world.services, command)
    assert world.run(run_id).state is RunState.SEEDING
    with pytest.raises(RunStateError, match="is SEEDING; its steps can be marked once it is RUNNING"):
        mark_step(world.services, run_id, "b")


def test_a_run_without_steps_is_refused_for_its_state() -> None:
    """Its steps exist once it has begun, so none of them is called unknown."""
    world = World(script(s0={"duration": 100}))
    for key in ("first", "second"):
        queued = start_limited(world, limited(), key)
        world.settle_down()
    with pytest.raises(RunStateError, match="is QUEUED; its steps can be marked once it is RUNNING"):
        mark_step(world.services, queued, "s0")
    invalid = world.start("steps: []")
    world.settle_down()
    with pytest.raises(RunStateError, match="is INVALID, so none of its steps can run"):
        mark_step(world.services, invalid, "s0")


def test_other_commands_are_written_as_before() -> None:
    """An earlier version reads them; it leaves a mark to this one."""
    body = dict(command_message(RunCommand("r", RETRY, retries=0, actor="a")).body)
    assert body.keys().isdisjoint({"step", "state", "outputs", "at", "reopens"})
    assert body["schema"] == 3
    with pytest.raises(NewerVersion):
        read_steps_event({**command_message(RunCommand("r", MARK, retries=0, actor="a", step="s")).body, "schema": 5})
