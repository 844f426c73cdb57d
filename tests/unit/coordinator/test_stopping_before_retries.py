"""A retry begins once the jobs of earlier attempts have been stopped, if the Task Runner can stop them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import START, TASK_RUNNER_URL
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import RequestNotAccepted
from atom_workflows.ports import JobAnswer
from support.commands import retry_run
from unit.coordinator.test_stopping import (
    STOP_TIMEOUT,
    TIMEOUT,
    Spoilt,
    cancel,
    drive,
    one_step,
    overlaps,
    started,
    world_with,
)


@pytest.mark.parametrize("stop", [{"after": 200}, 500])
def test_a_retried_run_waits_for_the_jobs_of_its_last_round(stop: str | int | Mapping[str, Any]) -> None:
    """The job that was left is stopped before another one is submitted, if that is possible."""
    world = world_with(stop)
    run_id = started(world)
    cancel(world, run_id)
    retried_at = world.clock.now()
    retry_run(world.services, run_id)
    drive(world, run_id, until=lambda step: step.state is StepState.RUNNING)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.leftovers) == (StepState.RUNNING, 2, ())
    if stop == 500:
        assert step.unstopped == ("job-000001",)
        assert world.clock.now() - retried_at <= STOP_TIMEOUT + timedelta(minutes=3)
    else:
        assert overlaps(world) == 0
        assert step.unstopped == ()
    # Its time begins with its submission.
    assert world.task_runner.timeouts[-1] == TIMEOUT


def test_waiting_for_an_earlier_job_does_not_delay_later_submissions() -> None:
    """Only submissions that failed count towards the wait before the next one."""
    tried_at: list[datetime] = []

    class Busy(Spoilt):
        """A Task Runner that has no capacity for another job."""

        def submit(self, *_: object, **__: object) -> JobAnswer:
            """See `ports.TaskRunner.submit`."""
            tried_at.append(world.clock.now())
            raise RequestNotAccepted("no capacity", is_busy=True)

    world = world_with({"after": 300})
    run_id = started(world)
    cancel(world, run_id)
    inner = world.services.task_runner
    world.services = replace(world.services, task_runner=Busy(inner, lambda: inner.stop(TASK_RUNNER_URL, "job-000001")))
    retry_run(world.services, run_id)
    drive(world, run_id)
    assert tried_at[1] - tried_at[0] <= timedelta(seconds=20)


def test_a_retried_run_fails_beside_a_job_that_does_not_stop() -> None:
    """The step is not submitted beside a job that should have stopped."""
    world = world_with("ignore")
    run_id = started(world)
    cancel(world, run_id)
    retry_run(world.services, run_id)
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (world.run(run_id).state, step.reason) == (RunState.FAILED, "NOT_STOPPED")
    assert world.submissions() == ["a/1"]
    assert world.clock.now() - START <= STOP_TIMEOUT + timedelta(minutes=4)


def test_a_retried_run_goes_on_beside_jobs_that_cannot_be_stopped() -> None:
    """It goes on at once, and remembers the job."""
    world = world_with("cannot")
    run_id = started(world)
    cancel(world, run_id)
    retry_run(world.services, run_id)
    world.settle_down()
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.unstopped) == (StepState.RUNNING, 2, ("job-000001",))


def test_a_job_that_was_left_may_have_ended_by_itself() -> None:
    """The new attempt begins at once, and no job is said to go on."""
    world = world_with("ignore", duration=60)
    run_id = started(world)
    cancel(world, run_id)
    world.clock.move(timedelta(minutes=5))
    job = world.task_runner.jobs._jobs["job-000001"]
    world.task_runner.jobs._jobs["job-000001"] = replace(job, duration_s=1)
    retry_run(world.services, run_id)
    world.settle_down()
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.unstopped) == (StepState.RUNNING, 2, ())


def test_a_lost_job_is_stopped_before_the_next() -> None:
    """A Task Runner that has forgotten a job is asked to stop it, in case that it still runs."""
    world = world_with(lose_job="once")
    run_id = world.start(one_step(timeout="1h"))
    drive(world, run_id, until=lambda step: step.attempt == 2 and step.state is StepState.RUNNING)
    step = world.steps(run_id)["a"]
    assert (step.attempt, step.losses, step.unstopped) == (2, 1, ())
    assert world.task_runner.stopped == ["job-000001"]
