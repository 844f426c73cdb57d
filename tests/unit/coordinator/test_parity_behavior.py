"""Where the first version's behavior is kept, and where it misbehaved."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState
from atom_workflows.language.step_fields import TASK
from support.workflows import chain, definition


def test_a_job_that_fails_later_ends_its_step_at_the_next_look() -> None:
    """A polled FAILED ends the run at once, unlike in the first version."""
    world = World("rules: [{step: s0, duration: 25, always_fail: true, message: out of memory}]")
    run = world.run_to_end(world.start(chain(2)))
    assert run.state is RunState.FAILED
    assert run.finished_at is not None
    assert run.finished_at - run.created_at <= timedelta(seconds=40)
    assert world.states(run.id) == {"s0": "FAILED", "s1": "SKIPPED"}
    assert list(run.errors) == [{"step": "s0", "message": "out of memory"}]
    polls = len(world.task_runner.polled)
    world.clock.move(timedelta(hours=1))
    world.tick()
    assert len(world.task_runner.polled) == polls


def test_a_job_that_has_failed_at_once_is_a_failure() -> None:
    """A submission answered FAILED fails its step, unlike in the first version."""
    world = World("rules: [{step: s0, always_fail: true}]")
    run = world.run_to_end(world.start(chain(2)))
    assert run.state is RunState.FAILED
    assert world.submissions() == ["s0/1"]
    assert world.states(run.id) == {"s0": "FAILED", "s1": "SKIPPED"}


@pytest.mark.parametrize("duration", [0, 15])
def test_a_cancelled_job_is_no_success(duration: int) -> None:
    """A job that is CANCELLED cancels its step and fails the run."""
    world = World(f"rules: [{{step: s0, duration: {duration}, states: [RUNNING, CANCELLED]}}]")
    run = world.run_to_end(world.start(chain(2)))
    assert run.state is RunState.FAILED
    assert world.states(run.id) == {"s0": "CANCELLED", "s1": "SKIPPED"}


def test_a_step_without_a_timeout_has_ten_hours() -> None:
    """A step without a timeout has ten hours, as in the first version."""
    world = World("default: {duration: 1000000}")
    run_id = world.start(chain(1))
    world.settle_down()
    world.clock.move(timedelta(hours=9, minutes=59))
    world.tick()
    assert world.run(run_id).state is RunState.RUNNING
    world.clock.move(timedelta(minutes=1))
    run = world.run_to_end(run_id, within=timedelta(minutes=1))
    assert run.state is RunState.FAILED
    assert "timed out after 10h" in run.errors[0]["message"]


@pytest.mark.parametrize("args", [["--day", "yesterday", 3], {"day": "yesterday", "tries": 3, "deep": {"list": [1]}}])
def test_every_field_of_a_task_reaches_the_task_runner(args: object) -> None:
    """Every field of a task is sent under its name."""
    task = {"imageUri": "i", "engine": "edge", "url": "u", "scaleTier": "CUSTOM", "masterType": "m", "args": args}
    assert {"name", *task, "labels"} == set(TASK.names)
    world = World()
    world.run_to_end(world.start(definition({"load": []}, load={"description": "d", "task": task})))
    labels = {"workflow": "flow", "type": "step"}
    assert world.task_runner.submitted[0][1] == {"job_name": "load", **task, "labels": labels}


def test_a_step_may_depend_on_one_declared_later() -> None:
    """The order of steps in the file does not matter."""
    world = World()
    run = world.run_to_end(world.start(definition({"last": ["middle"], "middle": ["first"], "first": []})))
    assert run.state is RunState.SUCCEEDED
    assert world.submissions() == ["first/1", "middle/1", "last/1"]
