"""Status calls that fail, and what those say that tell of a job's end."""

from __future__ import annotations

from datetime import timedelta

from atom_emulator.testing.world import World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.states import RunState
from atom_workflows.messages.internal import StepsCompleted, Tick, read_steps_event
from support.workflows import chain, definition

SILENT = "rules: [{step: s0, duration: 20, status_errors: [{status: 500, times: 6}]}]"


def test_failed_status_calls_are_repeated_less_and_less_often_and_fail_nothing() -> None:
    """Failed polls are repeated ever less often, and fail nothing."""
    world = World(SILENT)
    run_id = world.start(chain(1))
    world.settle_down()
    messages = []
    for _ in range(12):
        world.clock.move(timedelta(seconds=10))
        world.tick()
        messages.append(world.steps(run_id)["s0"].message)
    assert 4 <= len(world.task_runner.polled) <= 6
    assert "failed 3 times in a row: the Task Runner responded with HTTP 500" in " ".join(messages)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert len(world.task_runner.polled) == 7
    assert world.submissions() == ["s0/1"]


def test_the_outputs_and_the_reason_of_a_job_are_in_the_event_of_its_end() -> None:
    """The checker passes on what the answer says: outputs, their problem, and the reason of a failure."""
    world = World(
        "rules:\n"
        "  - {step: s0, duration: 5, outputs: {rows: 12}}\n"
        "  - {step: s1, duration: 5, outputs: {n: 9223372036854775808}}\n"
        "  - {step: s2, duration: 5, always_fail: true, reason: OOM}\n"
    )
    world.start(definition({"s0": [], "s1": [], "s2": []}))
    world.settle_down()
    world.clock.move(timedelta(seconds=10))
    handle_tick(world.services, Tick())
    events = [read_steps_event(taken.body) for taken in world.bus.take_all("steps")]
    ends = {one.step_id: one for event in events if isinstance(event, StepsCompleted) for one in event.outcomes}
    assert (ends["s0"].outputs, ends["s0"].outputs_problem, ends["s0"].reason) == ('{"rows":12}', "", "")
    assert (ends["s1"].outputs, ends["s1"].reason) == ("", "")
    assert "its output 'n' has a number" in ends["s1"].outputs_problem
    assert (ends["s2"].outputs, ends["s2"].reason) == ("", "OOM")
