"""Status calls that fail."""

from __future__ import annotations

from datetime import timedelta

from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState
from support.workflows import chain

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
    assert "failed 3 times in a row: the Task Runner answered HTTP 500" in " ".join(messages)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert len(world.task_runner.polled) == 7
    assert world.submissions() == ["s0/1"]
