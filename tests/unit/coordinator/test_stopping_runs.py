"""The jobs of a run that ends are stopped, and the end waits for them no longer than half a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import START, CallsInTurn, InTurn
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.close import Closing, request_stop
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.stopping import RUN_WAIT
from atom_workflows.documents import step_path
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Answer, Item, Update
from support.commands import cancel_run
from support.meanwhile import meanwhile
from support.workflows import definition
from unit.coordinator.test_stopping import AT_ONCE, cancel, drive, hang, lie, lives, one_step, started, world_with


@pytest.mark.parametrize(("stop", "longest"), [(AT_ONCE, 5), ({"after": 5}, 15)])
def test_a_cancelled_run_ends_once_its_jobs_have_stopped(stop: Mapping[str, Any], longest: float) -> None:
    """The run ends soon after its job."""
    world = world_with(stop)
    run_id = started(world)
    took = cancel(world, run_id)
    step = world.steps(run_id)["a"]
    assert (world.run(run_id).state, step.state, step.unstopped) == (RunState.CANCELLED, StepState.CANCELLED, ())
    assert step.job_state == "CANCELLED"
    assert took <= timedelta(seconds=longest)
    assert all(end <= world.clock.now() for _, end in lives(world))


@pytest.mark.parametrize("stop", [{"after": 100}, "ignore", 500])
def test_a_cancelled_run_waits_no_longer_than_half_a_minute(stop: str | int | Mapping[str, Any]) -> None:
    """A job that does not stop in time is named, and the run ends."""
    world = world_with(stop)
    run_id = started(world)
    took = cancel(world, run_id)
    step = world.steps(run_id)["a"]
    assert (world.run(run_id).state, step.state) == (RunState.CANCELLED, StepState.CANCELLED)
    assert step.unstopped == ("job-000001",)
    assert RUN_WAIT <= took <= RUN_WAIT + timedelta(seconds=5)


def test_a_cancelled_run_does_not_wait_for_a_task_runner_that_hangs() -> None:
    """Calls without an answer delay the end of the run no more than jobs that do not stop."""
    world = world_with()
    hang(world)
    run_id = started(world)
    assert cancel(world, run_id) <= RUN_WAIT + timedelta(seconds=60)
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.steps(run_id)["a"].unstopped == ("job-000001",)


def test_a_cancelled_run_ends_at_once_if_its_jobs_cannot_be_stopped() -> None:
    """It ends as soon as the Task Runner has said so, and names the jobs that go on."""
    world = world_with("cannot")
    run_id = started(world)
    assert cancel(world, run_id) <= timedelta(seconds=5)
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.steps(run_id)["a"].unstopped == ("job-000001",)


def test_a_cancelled_run_ends_though_no_checker_works() -> None:
    """The command ends the run itself after half a minute."""
    world = world_with()
    run_id = started(world)
    cancel_run(world.services, run_id)
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.steps(run_id)["a"].unstopped == ("job-000001",)


def test_a_job_that_succeeds_while_its_run_is_closed_has_succeeded() -> None:
    """The step keeps its success, so that a retry of the run need not repeat it."""
    world = world_with(duration=20)
    lie(world)
    run_id = started(world)
    took = cancel(world, run_id)
    assert world.states(run_id) == {"a": "SUCCEEDED"}
    assert world.run(run_id).state is RunState.CANCELLED
    assert took < RUN_WAIT


def test_a_run_whose_time_is_up_has_its_jobs_stopped() -> None:
    """The timeout of a run stops the jobs like a cancellation."""
    world = world_with({"after": 3})
    run_id = world.start(one_step(timeout="1h").replace('"name": "flow"', '"name": "flow", "timeout": "3m"'))
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (world.run(run_id).state, step.state, step.job_state) == (RunState.FAILED, StepState.FAILED, "CANCELLED")
    assert world.clock.now() - START <= timedelta(minutes=4)


@pytest.mark.parametrize("others", [0, 1])
def test_a_step_that_changes_while_its_run_is_closed_is_asked_about_at_once(others: int) -> None:
    """A poll that is saved first delays neither the request to stop the job nor the end of the run."""
    world = world_with()
    run_id = world.start(definition({"a": [], **{f"b{i}": [] for i in range(others)}}))
    world.settle_down()
    plain = world.services

    def poll() -> None:
        world.store.commit([Update(path=step_path(run_id, "a"), fields={"job_state": "PREPARING"})])

    store = meanwhile(world, lambda name, writes: name == "commit" and "stop_for" in writes[0].fields, poll)
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=world.clock.now())
    assert request_stop(Outbox(world.services), run_id, stop) is Closing.WAITS
    assert store.happened
    world.services = plain
    assert {step.stop_for for name, step in world.steps(run_id).items() if name != "~end"} == {"run"}


def test_the_end_of_a_run_is_due_once_its_jobs_have_had_time_though_it_changes_meanwhile() -> None:
    """If someone else writes to the run's end node at that moment, the due time is written all the same."""
    world = world_with("ignore")
    run_id = started(world)
    path = step_path(run_id, "~end")

    def touch() -> None:
        world.store.commit([Update(path=path, fields={}, increments={"touches": 1})])

    store = meanwhile(world, lambda name, writes: name == "commit" and writes[0].path == path, touch)
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=world.clock.now())
    assert request_stop(Outbox(world.services), run_id, stop) is Closing.WAITS
    assert store.happened
    assert world.steps(run_id)["~end"].due_at == world.clock.now() + RUN_WAIT


def test_a_step_that_ends_while_its_run_is_closed_is_not_waited_for() -> None:
    """If the only job ends before its step is marked, the run ends at once."""
    world = world_with()
    run_id = world.start(definition({"a": []}))
    world.settle_down()

    def end() -> None:
        update = {"state": "FAILED", "job_state": "FAILED", "due_at": None}
        world.store.commit([Update(path=step_path(run_id, "a"), fields=update)])

    meanwhile(world, lambda name, writes: name == "commit" and "stop_for" in writes[0].fields, end)
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=world.clock.now())
    assert request_stop(Outbox(world.services), run_id, stop) is Closing.DONE
    assert world.run(run_id).state is RunState.CANCELLED


def test_hundreds_of_jobs_are_stopped_and_the_rest_ends_at_once() -> None:
    """Steps that wait for their jobs do not keep others from ending."""
    world = world_with()
    edges: dict[str, list[str]] = {f"s{i:03}": [] for i in range(450)}
    run_id = world.start(definition({**edges, "z": ["s000"]}))
    world.settle_down()
    assert cancel(world, run_id) <= timedelta(seconds=20)
    assert set(world.states(run_id).values()) == {"CANCELLED"}
    assert {step.job_state for name, step in world.steps(run_id).items() if name.startswith("s")} == {"CANCELLED"}


def test_a_run_is_closed_once_for_all_of_its_jobs() -> None:
    """Jobs that stop one after the other do not each have all the open steps of the run read."""

    class OneByOne(InTurn):
        """Workers whose calls end one after the other."""

        def calls(self, call: Callable[[Item], Answer], *, lane: object = None) -> CallsInTurn[Item, Answer]:  # noqa: ARG002 (there is but one thread)
            """See `ports.Workers.calls`."""
            return CallsInTurn(call, at_a_time=1)

    world = world_with()
    run_id = world.start(definition({f"s{i:02}": [] for i in range(20)}))
    world.settle_down()
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=world.clock.now())
    assert request_stop(Outbox(world.services), run_id, stop) is Closing.WAITS
    handle_tick(replace(world.services, workers=OneByOne()), Tick())
    assert len(world.task_runner.stopped) == 20
    assert len(world.bus.take_all("start")) == 1
