"""Commands about runs that the start function accepts and a dispatcher carries out: once, whatever happens to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.run_commands import accept_command, handle_command
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.errors import RunContended, RunNotFound, RunStateError
from atom_workflows.messages.internal import CANCEL, RETRY, RunCommand, read_steps_event
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.workflows import chain, definition

BEN = "ben@example.com"
ALWAYS_FAILS = "rules: [{step: s1, always_fail: true}]"
FAILS_ONCE = "rules: [{step: s1, fail_times: 1}]"
RUNS_LONG = "default: {duration: 1000}"


@dataclass(slots=True)
class AtPublish(Fate):
    """Kills before anything is published."""

    def live(self, name: str, call: Callable[[], Any]) -> Any:
        """See `Fate.live`."""
        self.fatal = len(self.calls) + 1 if name == "publish" else 0
        return super(AtPublish, self).live(name, call)


def failed(script: str = FAILS_ONCE) -> tuple[World, str]:
    """Return a world with a run whose second step of three has failed."""
    world = World(script)
    run_id = world.start(chain(3))
    assert world.run_to_end(run_id).state is RunState.FAILED
    return world, run_id


def ask(world: World, run_id: str, command: str, *, retries: int | None = None, **options: Any) -> RunCommand:
    """Have a command accepted, and take its message off the bus."""
    asked = RunCommand(run_id, command, retries=0, actor=BEN, reason="we need it", **options)
    accept_command(world.services, asked, retries=retries)
    [taken] = world.bus.take_all("steps")
    world.bus.ack(taken)
    assert (taken.body["type"], taken.body["schema"]) == ("run.command", 3)
    read = read_steps_event(taken.body)
    assert isinstance(read, RunCommand)
    return read


def test_a_retry_runs_again_what_did_not_succeed() -> None:
    """A run that is retried by a command succeeds, and records who asked for that and why."""
    world, run_id = failed()
    handle_command(world.services, ask(world, run_id, RETRY))
    run = world.run_to_end(run_id)
    assert (run.state, run.retries) == (RunState.SUCCEEDED, 1)
    assert world.submissions() == ["s0/1", "s1/1", "s1/2", "s2/1"]
    assert [(one.actor, one.what, one.why) for one in run.changes] == [(BEN, "retry", "we need it")]


def test_a_retry_may_name_steps() -> None:
    """A retry runs again what it names, of a run that SUCCEEDED as well, and once however often it is delivered."""
    world = World()
    run_id = world.start(chain(4))
    world.run_to_end(run_id)
    command = ask(world, run_id, RETRY, first=("s2",), only=("s3",), failed=True)
    for _ in range(2):
        handle_command(world.services, command)
    run = world.run_to_end(run_id)
    handle_command(world.services, command)
    assert (run.state, run.retries) == (RunState.SUCCEEDED, 1)
    assert [one.what for one in run.changes] == ["retry --from s2 --only s3 --failed"]
    assert sorted(world.submissions()) == ["s0/1", "s1/1", "s2/1", "s2/2", "s3/1", "s3/2"]


def test_a_step_that_is_gone_by_then_is_refused() -> None:
    """A selection that can no longer be made is logged, and changes nothing."""
    world, run_id = failed()
    handle_command(world.services, ask(world, run_id, RETRY)._replace(first=("none",)))
    assert (world.run(run_id).state, world.run(run_id).retries) == (RunState.FAILED, 0)


def test_accepting_a_command_changes_nothing() -> None:
    """The start function writes no document; a command that is lost leaves the run as it was, and may be repeated."""
    world, run_id = failed()
    writes = world.store.writes
    lost = ask(world, run_id, RETRY)
    assert (world.store.writes, world.run(run_id).state) == (writes, RunState.FAILED)
    assert ask(world, run_id, RETRY) == lost


def test_a_retry_that_is_delivered_again_retries_once() -> None:
    """The second delivery does nothing, even if the run has failed again by then."""
    world, run_id = failed(ALWAYS_FAILS)
    command = ask(world, run_id, RETRY)
    handle_command(world.services, command)
    handle_command(world.services, command)
    assert world.run_to_end(run_id).state is RunState.FAILED
    handle_command(world.services, command)
    world.settle_down()
    run = world.run(run_id)
    assert (run.state, run.retries, len(run.changes)) == (RunState.FAILED, 1, 1)
    assert world.submissions().count("s1/2") == 1


def test_two_commands_for_one_failure_retry_once() -> None:
    """Two callers who both see a failed run and retry it have it retried once."""
    world, run_id = failed(ALWAYS_FAILS)
    first, second = ask(world, run_id, RETRY), ask(world, run_id, RETRY)
    for command in (first, second):
        handle_command(world.services, command)
        world.run_to_end(run_id)
    assert world.run(run_id).retries == 1


def test_a_retry_that_comes_after_another_one_is_late() -> None:
    """A command that waited while a person retried the run does not retry it a second time."""
    world, run_id = failed(ALWAYS_FAILS)
    late = ask(world, run_id, RETRY)
    retry_run(world.services, run_id)
    world.run_to_end(run_id)
    handle_command(world.services, late)
    assert (world.run(run_id).state, world.run(run_id).retries) == (RunState.FAILED, 1)


def test_a_retry_by_someone_else_at_the_same_moment() -> None:
    """A run that is retried and fails again just before the command's commit is not retried by the command."""
    world, run_id = failed(ALWAYS_FAILS)
    command = ask(world, run_id, RETRY)

    def retry_first() -> None:
        retry_run(world.services, run_id)
        world.run_to_end(run_id)

    store = meanwhile(world, lambda name, _: name == "commit", retry_first)
    with pytest.raises(RunContended):
        handle_command(world.services, command)
    assert store.happened
    handle_command(world.services, command)
    assert (world.run(run_id).state, world.run(run_id).retries) == (RunState.FAILED, 1)


def test_a_cancel_ends_the_run_once_its_jobs_have_stopped() -> None:
    """A cancelled run's jobs are stopped by the checker, without anyone waiting for them."""
    world = World(RUNS_LONG)
    run_id = world.start(chain(2))
    world.settle_down()
    command = ask(world, run_id, CANCEL)
    began = world.clock.now()
    for _ in range(2):
        handle_command(world.services, command)
    assert world.clock.now() == began
    run = world.run_to_end(run_id, within=timedelta(minutes=5))
    assert run.state is RunState.CANCELLED
    assert run.stop is not None
    assert run.stop.reason == "we need it"
    assert [(one.actor, one.what) for one in run.changes] == [(BEN, "cancel")]
    assert world.states(run_id) == {"s0": "CANCELLED", "s1": "CANCELLED"}


def test_a_cancel_now_ends_the_steps_under_finally_too() -> None:
    """With `now`, a run whose steps under `finally` are running ends."""
    world = World("rules: [{step: last, duration: 1000}]")
    text = definition({"a": []}).removesuffix("}") + ', "finally": [{"id": "last", "task": {"imageUri": "image"}}]}'
    run_id = world.start(text)
    world.settle_down()
    with pytest.raises(RunStateError, match="cancel it with --now"):
        ask(world, run_id, CANCEL)
    handle_command(world.services, ask(world, run_id, CANCEL, now=True))
    run = world.run_to_end(run_id, within=timedelta(minutes=5))
    assert (run.state, [one.what for one in run.changes]) == (RunState.CANCELLED, ["cancel --now"])


def test_a_cancel_that_is_late_spares_a_retried_run() -> None:
    """A command to cancel a run does nothing to the same run once it has been cancelled and retried."""
    world = World(RUNS_LONG)
    run_id = world.start(chain(2))
    world.settle_down()
    late = ask(world, run_id, CANCEL)
    cancel_run(world.services, run_id)
    retry_run(world.services, run_id)
    handle_command(world.services, late)
    run = world.run(run_id)
    assert (run.state, run.stop, run.retries) == (RunState.RUNNING, None, 1)


def test_a_cancel_of_a_run_that_has_ended_meanwhile_is_late() -> None:
    """A run that ends before the command arrives keeps its result."""
    world = World()
    run_id = world.start(chain(2))
    late = RunCommand(run_id=run_id, command=CANCEL, retries=0, actor=BEN)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    handle_command(world.services, late)
    assert world.run(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize(("command", "script"), [(RETRY, FAILS_ONCE), (CANCEL, RUNS_LONG)])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 9))
def test_a_death_at_any_call_leaves_a_run_that_ends_as_it_should(
    command: str, script: str, fatal: int, *, after: bool
) -> None:
    """A dispatcher that dies at any call, and the event that then comes again, retry or cancel the run once."""
    world = World(script)
    run_id = world.start(chain(3))
    world.settle_down()
    if command == RETRY:
        world.run_to_end(run_id)
    asked, services = ask(world, run_id, command), world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    try:
        handle_command(world.services, asked)
    except Died:
        handle_command(services, asked)
    world.services = services
    run = world.run_to_end(run_id, within=timedelta(minutes=5))
    assert run.state is (RunState.SUCCEEDED if command == RETRY else RunState.CANCELLED)
    assert len(run.changes) == 1
    assert len(world.submissions()) == len(set(world.submissions()))


def test_a_retry_whose_dispatcher_died_is_published_again() -> None:
    """If the first delivery died after it reopened the run, the second one continues the run without the checker."""
    counted, counted_id = failed()
    alive = Fate()
    command = ask(counted, counted_id, RETRY)
    make_mortal(counted, alive)
    handle_command(counted.services, command)
    world, run_id = failed()
    command, services = ask(world, run_id, RETRY), world.services
    make_mortal(world, Fate(fatal=alive.calls.index("publish") + 1))
    with pytest.raises(Died):
        handle_command(world.services, command)
    world.services = services
    assert world.run(run_id).state is RunState.SEEDING
    handle_command(world.services, command)
    world.settle_down()
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_a_cancel_whose_dispatcher_died_publishes_the_steps_under_finally_again() -> None:
    """If the first delivery died after it ended the main part, the second one needs no checker to go on."""
    text = definition({"a": []}).removesuffix("}") + ', "finally": [{"id": "last", "task": {"imageUri": "image"}}]}'
    world = World("rules: [{step: a, duration: 1000}]")
    run_id = world.start(text)
    world.settle_down("start")
    for ready in world.bus.take_all("steps"):
        world.bus.ack(ready)
    command, services = ask(world, run_id, CANCEL), world.services
    make_mortal(world, AtPublish())
    with pytest.raises(Died):
        handle_command(world.services, command)
    world.services = services
    assert world.states(run_id) == {"a": "CANCELLED", "last": "PENDING"}
    handle_command(world.services, command)
    world.settle_down()
    # Nothing had started, so there is nothing to clean up.
    assert world.states(run_id) == {"a": "CANCELLED", "last": "SKIPPED"}
    assert world.run(run_id).state is RunState.CANCELLED


def test_a_run_that_keeps_changing_is_tried_again() -> None:
    """If the run changes at each attempt, the event is redelivered, and neither given up nor taken for late."""
    world, run_id = failed()
    command = ask(world, run_id, RETRY)

    def change() -> None:
        world.store.commit([Update(path=run_path(run_id), fields={"labels": {"at": "once"}})])
        store.happened = False

    store = meanwhile(world, lambda name, _: name == "commit", change)
    with pytest.raises(RunContended):
        handle_command(world.services, command)


@pytest.mark.parametrize("command", [CANCEL, RETRY])
def test_a_run_that_is_gone_is_not_found(command: str) -> None:
    """No command is accepted about a run that does not exist, and one whose run was deleted is given up."""
    world, run_id = failed()
    asked = ask(world, run_id, RETRY)._replace(command=command)
    world.store.inner.delete(run_path(run_id))
    with pytest.raises(RunNotFound):
        handle_command(world.services, asked)
    with pytest.raises(RunNotFound):
        ask(world, run_id, command)


def ended_well() -> tuple[World, str]:
    """Return a world with a run that succeeded."""
    world = World()
    run_id = world.start(chain(1))
    world.run_to_end(run_id)
    return world, run_id


@pytest.mark.parametrize(
    ("begin", "command", "retries", "sentence"),
    [
        (failed, CANCEL, None, "has ended: it is FAILED"),
        (ended_well, RETRY, None, "with --from or --only"),
        (failed, RETRY, 1, "`retries` is 1, but for run .* it is 0; check the run's state"),
    ],
)
def test_what_can_be_refused_at_once_is(
    begin: Callable[[], tuple[World, str]], command: str, retries: int | None, sentence: str
) -> None:
    """A command that would do nothing is refused with a sentence, and nothing is published."""
    world, run_id = begin()
    with pytest.raises(RunStateError, match=sentence):
        ask(world, run_id, command, retries=retries)
    assert world.bus.take_all("steps") == []
