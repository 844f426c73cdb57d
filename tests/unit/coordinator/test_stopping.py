"""Jobs are stopped before their attempt ends or a new one begins, if the Task Runner can stop them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.messages.internal import tick_message
from atom_workflows.ports import JobAnswer, StopAnswer, TaskRunner
from support.commands import cancel_run, retry_run
from support.helpful_clock import HelpfulClock
from support.workflows import definition

TIMEOUT: Final = timedelta(minutes=2)
STOP_TIMEOUT: Final = timedelta(minutes=10)
AT_ONCE: Final[Mapping[str, Any]] = {}


@dataclass(slots=True)
class Spoilt:
    """A Task Runner that answers requests to stop jobs in its own way."""

    inner: TaskRunner
    answer: Callable[[], StopAnswer]

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:  # noqa: ARG002 (it answers in its own way)
        """See `ports.TaskRunner.stop`."""
        return self.answer()

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.inner.look_up(base_url, idempotency_key)


def world_with(stop: str | int | Mapping[str, Any] = AT_ONCE, *, duration: float = 100_000, **more: Any) -> World:
    """Return a world whose Task Runner stops jobs in a given way."""
    behavior = {"duration": duration, **({"stop": stop} if stop else {}), **more}
    return World(json.dumps({"default": behavior}), burst=timedelta(seconds=50))


def hang(world: World) -> None:
    """Let no request to stop a job be answered in time."""

    def answer() -> StopAnswer:
        world.clock.sleep(10)
        raise TaskRunnerUnavailable("no answer in time")

    world.services = replace(world.services, task_runner=Spoilt(world.services.task_runner, answer))


def deny(world: World) -> None:
    """Let the Task Runner deny that there are jobs which it reports as running."""
    spoilt = Spoilt(world.services.task_runner, lambda: StopAnswer.GONE)
    world.services = replace(world.services, task_runner=spoilt)


def lie(world: World) -> None:
    """Let the Task Runner accept requests to stop jobs and do nothing."""
    spoilt = Spoilt(world.services.task_runner, lambda: StopAnswer.STOPPING)
    world.services = replace(world.services, task_runner=spoilt)


def one_step(attempts: int = 1, **more: Any) -> str:
    """Return a workflow of a step that times out."""
    retry = {"maxAttempts": attempts, "backoff": {"initial": "1s", "jitter": 0}}
    return definition({"a": []}, a={"timeout": "2m", "retry": retry, **more})


def drive(
    world: World, run_id: str, *, until: Callable[[StepRecord], bool] = lambda _: False, most: float = 60
) -> None:
    """Tick each minute, with all that follows, until the run has ended or the step is as wanted."""
    clock = HelpfulClock(world, "start", "steps", "tick", "jobs")
    ends_at = world.clock.now() + timedelta(minutes=most)
    world.settle_down("start", "steps", "tick", "jobs")
    while world.clock.now() < ends_at:
        before = world.clock.now()
        world.bus.publish([tick_message("schedule")])
        for taken in world.bus.take_all("tick"):
            world.services, plain = replace(world.services, clock=clock), world.services
            world.deliver(taken)
            world.services = replace(world.services, clock=plain.clock)
            world.settle_down("start", "steps", "tick", "jobs")
            if world.run(run_id).state.is_terminal or until(world.steps(run_id)["a"]):
                return
        world.clock.move(max(timedelta(0), before + timedelta(minutes=1) - world.clock.now()))


def cancel(world: World, run_id: str) -> timedelta:
    """Cancel the run while the checker works, and return when it ended."""
    began = world.clock.now()
    cancel_run(replace(world.services, clock=HelpfulClock(world, "start", "steps", "tick", "jobs")), run_id)
    world.settle_down("start", "steps")
    finished_at = world.run(run_id).finished_at
    assert finished_at is not None
    return finished_at - began


def started(world: World, **more: Any) -> str:
    """Return a run whose step runs."""
    run_id = world.start(one_step(**more))
    world.settle_down()
    assert world.steps(run_id)["a"].state is StepState.RUNNING
    world.clock.move(timedelta(seconds=15))
    return run_id


def lives(world: World) -> list[tuple[datetime, datetime]]:
    """Return when each job began and ended, in order."""
    jobs = world.task_runner.jobs._jobs.values()
    far = 10.0**10
    ends = [datetime.fromtimestamp(min(job.ends_at, far), START.tzinfo) for job in jobs]
    return list(zip(world.task_runner.submitted_at, ends, strict=True))


def overlaps(world: World) -> int:
    """Count the jobs of the only step that began while an earlier one ran."""
    times = lives(world)
    return sum(any(end > began for _, end in times[:place]) for place, (began, _) in enumerate(times))


# -- a timeout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [AT_ONCE, {"after": 5}, {"after": 200}])
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_timeout_counts_once_its_job_has_stopped(stop: Mapping[str, Any], attempts: int) -> None:
    """No attempt begins before the job of the last one has ended, and the last one is stopped, too."""
    world = world_with(stop)
    run_id = world.start(one_step(attempts))
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.unstopped) == (StepState.FAILED, attempts, ())
    assert "timed out after 2m; job job-00000" in step.message
    assert step.message.endswith("was stopped and is CANCELLED: stopped on request")
    assert overlaps(world) == 0
    assert all(end <= world.clock.now() for _, end in lives(world))
    assert len(world.task_runner.stopped) == attempts


def test_a_job_that_does_not_stop_fails_its_step() -> None:
    """A Task Runner that accepted a request which it does not carry out gets no other job of the step."""
    world = world_with("ignore")
    run_id = world.start(one_step(3))
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.reason) == (StepState.FAILED, 1, "NOT_STOPPED")
    assert "had not ended 10m after its Task Runner accepted the request to stop it" in step.message
    assert step.unstopped == ("job-000001",)
    assert TIMEOUT + STOP_TIMEOUT <= world.clock.now() - START <= TIMEOUT + STOP_TIMEOUT + timedelta(minutes=2)


def test_a_lie_about_a_stop_ends_likewise() -> None:
    """A Task Runner that only claims to stop jobs is treated as one whose jobs do not stop."""
    world = world_with()
    lie(world)
    run_id = world.start(one_step(3))
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.reason) == (StepState.FAILED, 1, "NOT_STOPPED")


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_task_runner_that_cannot_stop_jobs_is_treated_as_before(attempts: int) -> None:
    """The next attempt begins at once, and the step shows which jobs go on."""
    world = world_with("cannot")
    run_id = world.start(one_step(attempts))
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.reason) == (StepState.FAILED, attempts, "")
    assert step.message.endswith("its Task Runner cannot stop jobs")
    assert step.unstopped == ("job-000001", "job-000002")[:attempts]
    assert overlaps(world) == attempts - 1
    # It is asked once, and then remembered.
    assert len(world.task_runner.stopped) == 1
    assert world.clock.now() - START <= attempts * (TIMEOUT + timedelta(seconds=30))


def test_that_jobs_cannot_be_stopped_is_remembered_for_a_while() -> None:
    """After ten minutes the Task Runner is asked again."""
    world = world_with("cannot")
    run_id = world.start(one_step(9))
    drive(world, run_id)
    assert world.steps(run_id)["a"].attempt == 9
    assert len(world.task_runner.stopped) == 2


def test_a_task_runner_that_denies_its_job_cannot_stop_it() -> None:
    """A job that is reported as running is not gone, whatever the answer to the request to stop it."""
    world = world_with()
    deny(world)
    run_id = world.start(one_step(2))
    drive(world, run_id)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.unstopped) == (StepState.FAILED, 2, ("job-000001", "job-000002"))


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("spoil", [None, hang])
def test_a_request_that_is_never_answered_is_given_up(spoil: Callable[[World], None] | None, attempts: int) -> None:
    """If the request is never accepted, the attempt ends after the stop timeout, and another one may begin."""
    world = world_with(500 if spoil is None else AT_ONCE)
    if spoil is not None:
        spoil(world)
    run_id = world.start(one_step(attempts))
    drive(world, run_id, most=120)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.reason) == (StepState.FAILED, attempts, "")
    assert "has not responded to requests to stop job" in step.message
    assert step.unstopped == ("job-000001", "job-000002")[:attempts]
    # A retry asks for the earlier job to be stopped again, for as long.
    longest = attempts * (TIMEOUT + STOP_TIMEOUT + timedelta(minutes=3)) + (attempts - 1) * STOP_TIMEOUT
    assert world.clock.now() - START <= longest


def test_an_outage_leads_to_no_second_job_beside_the_first() -> None:
    """A Task Runner that is down for long is asked to stop the earlier job before it gets the next one."""
    world = world_with(stop_errors=[{"status": 500, "times": 60}])
    run_id = world.start(one_step(2))
    drive(world, run_id, until=lambda step: step.attempt == 2 and step.state is StepState.RUNNING)
    assert world.steps(run_id)["a"].attempt == 2
    assert overlaps(world) == 0


def test_a_job_that_succeeds_while_it_is_stopped_has_succeeded() -> None:
    """A result that is there is not thrown away."""
    world = world_with({"after": 100}, duration=130)
    run_id = world.start(one_step(2))
    lie(world)
    drive(world, run_id)
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1"]


def test_the_task_runner_is_told_how_long_an_attempt_may_take() -> None:
    """It gets the time that the attempt has left."""
    world = world_with()
    run_id = world.start(one_step(2))
    drive(world, run_id)
    assert world.task_runner.timeouts == [TIMEOUT, TIMEOUT]


# -- a submission that comes too late ---------------------------------------------------------------------------------


def cancel_during_submission(world: World, run_id: str) -> None:
    """Let the job of the only step be submitted while a user cancels the run."""
    plain = world.services

    @dataclass(slots=True)
    class Slow:
        """A Task Runner during whose submissions a user cancels the run."""

        inner: TaskRunner

        def submit(
            self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta
        ) -> JobAnswer:
            """See `ports.TaskRunner.submit`."""
            answer = self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
            cancel_run(plain, run_id)
            return answer

        def status(self, base_url: str, job_id: str) -> JobAnswer:
            """See `ports.TaskRunner.status`."""
            return self.inner.status(base_url, job_id)

        def stop(self, base_url: str, job_id: str) -> StopAnswer:
            """See `ports.TaskRunner.stop`."""
            return self.inner.stop(base_url, job_id)

        def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
            """See `ports.TaskRunner.look_up`."""
            return self.inner.look_up(base_url, idempotency_key)

    world.services = replace(plain, task_runner=Slow(plain.task_runner))
    world.settle_down("steps")
    world.services = plain
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.task_runner.stopped == ["job-000001"]


def test_a_submission_that_comes_too_late_is_undone() -> None:
    """If a step ends while its job is being submitted, the job is stopped."""
    world = world_with()
    run_id = world.start(one_step())
    cancel_during_submission(world, run_id)
    step = world.steps(run_id)["a"]
    assert (step.leftovers, step.unstopped) == (("job-000001",), ())
    retry_run(world.services, run_id)
    drive(world, run_id, until=lambda step: step.attempt == 2 and step.state is StepState.RUNNING)
    assert overlaps(world) == 0


@pytest.mark.parametrize("stop", ["cannot", 500])
def test_a_submission_that_comes_too_late_and_goes_on_is_named(stop: str | int) -> None:
    """A job that is submitted while its run is cancelled, and that cannot be stopped, is listed like any other."""
    world = world_with(stop)
    run_id = world.start(one_step())
    cancel_during_submission(world, run_id)
    assert world.steps(run_id)["a"].unstopped == ("job-000001",)


@dataclass(slots=True)
class Witness:
    """A Task Runner that watches for jobs beside each other.

    Something happens during its first submission, or during its first stop if that comes before.
    """

    inner: TaskRunner
    world: World
    during: Callable[[], None]
    beside: list[str]

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        jobs, now = self.world.task_runner.jobs, self.world.clock.now().timestamp()
        before = jobs.made
        alive = [name for name, job in jobs._jobs.items() if job.ends_at > now]
        answer = self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
        if jobs.made > before and alive:
            self.beside.append(f"{idempotency_key} beside {alive}")
        self._happen()
        return answer

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        answer = self.inner.stop(base_url, job_id)
        self._happen()
        return answer

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.inner.look_up(base_url, idempotency_key)

    def _happen(self) -> None:
        during, self.during = self.during, lambda: None
        during()


def retried_during_submission(world: World, *, dies: bool, **more: Any) -> tuple[str, list[str]]:
    """Let a user cancel and retry a run while its only job is being submitted; the next attempt is dispatched.

    Returns the run, and what was submitted beside a running job.
    """
    run_id = world.start(one_step(timeout="1h", **more))
    plain, beside = world.services, list[str]()

    def act() -> None:
        cancel_run(plain, run_id)
        retry_run(plain, run_id)
        world.settle_down("start", "steps")
        if dies:
            raise TaskRunnerUnavailable("its dispatcher died, or the answer was lost")

    world.services = replace(plain, task_runner=Witness(plain.task_runner, world, act, beside))
    world.settle_down("steps")
    drive(world, run_id, until=lambda step: step.attempt == 2 and step.state is StepState.RUNNING)
    return run_id, beside


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("stop", [AT_ONCE, {"after": 100}])
def test_a_retry_during_a_slow_submission_leads_to_no_second_job_beside(stop: Mapping[str, Any], dies: bool) -> None:  # noqa: FBT001 (a case of the test)
    """The job whose answer no one has yet is found out by its key and stopped before another one is submitted."""
    world = world_with(stop)
    run_id, beside = retried_during_submission(world, dies=dies)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.leftovers, step.unresolved) == (StepState.RUNNING, 2, (), ())
    assert beside == []
    assert [job.end for job in world.task_runner.jobs._jobs.values()] == ["CANCELLED", "SUCCEEDED"]
    # Its time begins with its submission.
    assert world.task_runner.timeouts[-1] == timedelta(hours=1)


def test_with_on_lost_fail_a_retry_waits_for_the_slow_submission() -> None:
    """Nothing is submitted again: the next attempt waits until the dispatcher has recorded its job."""
    world = world_with({"after": 100})
    run_id, beside = retried_during_submission(world, dies=False, onLost="fail")
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.leftovers, step.unresolved) == (StepState.RUNNING, 2, (), ())
    assert beside == []
    assert world.submissions() == ["a/1", "a/2"]


def test_with_on_lost_fail_a_retry_waits_no_longer_than_a_dispatcher_may_work() -> None:
    """A dispatcher that died records nothing, and nothing is submitted with its key."""
    world = world_with()
    run_id, _ = retried_during_submission(world, dies=True, onLost="fail")
    assert world.steps(run_id)["a"].attempt == 2
    assert world.submissions() == ["a/1", "a/2"]
    assert world.clock.now() - START <= timedelta(minutes=6)


def test_a_task_runner_that_cannot_stop_jobs_gets_no_further_submission_of_an_earlier_attempt() -> None:
    """It would only start another job that no one can stop."""
    world = world_with("cannot")
    run_id, beside = retried_during_submission(world, dies=True)
    assert world.submissions() == ["a/1", "a/2"]
    assert len(beside) == 1
    assert world.steps(run_id)["a"].unresolved == ()
