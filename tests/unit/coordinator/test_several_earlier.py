"""What earlier attempts left is found and stopped one after the other, if a step has several such jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.core.states import StepState
from support.commands import cancel_run, retry_run
from unit.coordinator.test_stopping import AT_ONCE, Witness, cancel, drive, one_step, started, world_with


def interrupt(world: World, run_id: str, *, times: int = 1) -> list[str]:
    """Let a user cancel and retry the run during the dispatcher's next call, and during those of the next attempts.

    Returns what is submitted beside a running job.
    """
    plain, beside, left = world.services, list[str](), [times]
    witness = Witness(plain.task_runner, world, lambda: None, beside)

    def act() -> None:
        left[0] -= 1
        witness.during = act if left[0] else lambda: None
        cancel_run(plain, run_id)
        retry_run(plain, run_id)
        world.settle_down("start", "steps")

    witness.during = act
    world.services = replace(plain, task_runner=witness)
    return beside


def drive_until_it_runs(world: World, run_id: str, attempt: int) -> None:
    """Go on until the attempt has a job of its own, and nothing that was left is remembered."""
    drive(world, run_id, until=lambda step: step.attempt == attempt and step.state is StepState.RUNNING)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt) == (StepState.RUNNING, attempt)
    assert (step.leftovers, step.unresolved, step.unstopped) == ((), (), ())


def test_a_known_job_is_stopped_before_an_unknown_one_is_looked_for() -> None:
    """Looking for a job may start one, so no attempt is looked for while a job that is known still runs."""
    world = world_with({"after": 200})
    run_id = started(world)
    cancel(world, run_id)
    beside = interrupt(world, run_id)
    retry_run(world.services, run_id)
    world.settle_down("steps")
    drive_until_it_runs(world, run_id, attempt=3)
    assert beside == []
    # The second attempt never had a job, but it might have.
    assert world.submissions() == ["a/1", "a/2", "a/3"]


@pytest.mark.parametrize("stop", [AT_ONCE, {"after": 100}])
@pytest.mark.parametrize("times", [2, 3])
def test_unknown_jobs_are_looked_for_one_after_the_other(stop: Mapping[str, Any], times: int) -> None:
    """A job that was found has ended before the next attempt is looked for."""
    world = world_with(stop)
    run_id = world.start(one_step(timeout="1h"))
    beside = interrupt(world, run_id, times=times)
    world.settle_down("steps")
    drive_until_it_runs(world, run_id, attempt=times + 1)
    assert beside == []
