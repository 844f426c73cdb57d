"""A job whose id no one knows is looked up by its key, and has ended before the next attempt begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import ACK_DEADLINE_S, TASK_RUNNER_URL, World
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.core.polling import MISSING_GRACE
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import LookupUnsupported, TaskRunnerUnavailable
from atom_workflows.messages.internal import ReadyStep, StepsReady, ready_messages
from atom_workflows.ports import JobAnswer, StopAnswer, TaskRunner
from support.commands import cancel_run, retry_run
from support.mortal import Died, Fate, make_mortal
from unit.coordinator.test_stopping import (
    AT_ONCE,
    STOP_TIMEOUT,
    cancel,
    drive,
    one_step,
    world_with,
)

LEASE: Final = timedelta(minutes=3)
FINAL: Final = LEASE + MISSING_GRACE


@dataclass(slots=True)
class LooksUp:
    """A Task Runner that looks keys up in its own way."""

    inner: TaskRunner
    answer: Callable[[str], JobAnswer | None]

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.inner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:  # noqa: ARG002 (it has one address)
        """See `ports.TaskRunner.look_up`."""
        return self.answer(idempotency_key)


def cannot_look_up(_key: str) -> JobAnswer | None:
    """Answer as a Task Runner that does not know the call."""
    raise LookupUnsupported("HTTP 404")


def fail_to_look_up(_key: str) -> JobAnswer | None:
    """Answer as a Task Runner that is not there."""
    raise TaskRunnerUnavailable("HTTP 502")


def let(world: World, answer: Callable[[str], JobAnswer | None]) -> None:
    """Have keys looked up in this way."""
    world.services = replace(world.services, task_runner=LooksUp(world.services.task_runner, answer))


@dataclass(slots=True)
class AtSubmission(Fate):
    """Kills at the first submission."""

    def live(self, name: str, call: Callable[[], Any]) -> Any:
        """See `Fate.live`."""
        self.fatal = len(self.calls) + 1 if name == "submit" else 0
        return super(AtSubmission, self).live(name, call)


@dataclass(slots=True)
class AtLookup(Fate):
    """Kills after the first lookup."""

    def live(self, name: str, call: Callable[[], Any]) -> Any:
        """See `Fate.live`."""
        self.fatal, self.after = (len(self.calls) + 1 if name == "look up" else 0), True
        return super(AtLookup, self).live(name, call)


def die_at_submission(world: World, *, after: bool) -> None:
    """Have the dispatcher of the only step die after or before `POST /job`."""
    world.settle_down("start")
    plain = world.services
    make_mortal(world, AtSubmission(after=after))
    with pytest.raises(Died):
        world.settle_down("steps")
    world.services = plain


def lost(world: World, *, after: bool = True) -> str:
    """Have the dispatcher of a step die after or before `POST /job`, and return the run once it has failed for that."""
    run_id = world.start(one_step(timeout="1h", onLost="fail"))
    die_at_submission(world, after=after)
    drive(world, run_id)
    assert world.run(run_id).state is RunState.FAILED
    return run_id


def retried(world: World, run_id: str) -> datetime:
    """Retry the run until its step runs again, and return when that was submitted."""
    retry_run(world.services, run_id)
    drive(world, run_id, until=is_second)
    step = world.steps(run_id)["a"]
    assert (step.state, step.attempt, step.leftovers, step.unresolved) == (StepState.RUNNING, 2, (), ())
    assert step.unresolved_since is None
    return world.task_runner.submitted_at[-1]


def is_second(step: StepRecord) -> bool:
    """Return True once the second attempt runs."""
    return step.attempt == 2 and step.state is StepState.RUNNING


def beside(world: World) -> int:
    """Count the jobs that began while another one ran."""
    jobs = list(world.task_runner.jobs._jobs.values())
    return sum(any(one.started < job.started < one.ends_at for one in jobs) for job in jobs)


@pytest.mark.parametrize("stop", [AT_ONCE, {"after": 100}])
def test_with_on_lost_fail_the_job_of_a_dead_dispatcher_is_stopped_first(stop: Mapping[str, Any]) -> None:
    """A person's retry finds the job that no one knew, and nothing is submitted to find it."""
    world = world_with(stop)
    run_id = lost(world)
    retried(world, run_id)
    assert (world.submissions(), world.task_runner.stopped) == (["a/1", "a/2"], ["job-000001"])
    assert [job.end for job in world.task_runner.jobs._jobs.values()] == ["CANCELLED", "SUCCEEDED"]
    assert beside(world) == 0


def test_nothing_is_started_if_there_was_no_job() -> None:
    """Once the last job that may be submitted is listed, the answer that there is no job is believed at once."""
    world = world_with()
    run_id = lost(world, after=False)
    world.clock.move(FINAL)
    began = world.clock.now()
    assert retried(world, run_id) - began < timedelta(seconds=10)
    assert (world.submissions(), world.task_runner.stopped) == (["a/2"], [])


def test_the_answer_that_there_is_no_job_is_not_believed_while_one_may_be_submitted() -> None:
    """With `onLost: fail`, a retry waits until no dispatcher can submit it any more, and a new job would be listed."""
    world = world_with()
    run_id = lost(world, after=False)
    ended = world.run(run_id).finished_at
    assert ended is not None
    assert FINAL <= retried(world, run_id) - ended <= FINAL + timedelta(minutes=2)
    assert world.submissions() == ["a/2"]


def test_a_job_that_is_not_listed_yet_is_found_before_another_begins() -> None:
    """A job may be submitted as late as its lease allows, and be found by its key only a minute later."""
    world = world_with()
    run_id = lost(world)
    ended, plain = world.run(run_id).finished_at, world.task_runner
    assert ended is not None
    listed_at = ended + LEASE + MISSING_GRACE - timedelta(seconds=20)
    let(world, lambda key: plain.look_up(TASK_RUNNER_URL, key) if world.clock.now() >= listed_at else None)
    assert retried(world, run_id) >= listed_at
    assert (world.submissions(), world.task_runner.stopped) == (["a/1", "a/2"], ["job-000001"])
    assert beside(world) == 0


@pytest.mark.parametrize("stop", [AT_ONCE, {"after": 100}])
def test_a_task_runner_that_cannot_look_up_is_submitted_to_once_more(stop: Mapping[str, Any]) -> None:
    """A person's retry allows it, once the dispatcher can work no more; the job of the answer is stopped first."""
    world = world_with(stop)
    let(world, cannot_look_up)
    run_id = lost(world)
    ended = world.run(run_id).finished_at
    assert ended is not None
    retried(world, run_id)
    assert world.submissions() == ["a/1", "a/1", "a/2"]
    assert world.task_runner.submitted_at[1] - ended >= LEASE
    assert beside(world) == 0


def test_a_lookup_that_fails_is_repeated_for_as_long_as_a_stop() -> None:
    """Only then is the earlier attempt submitted once more, as if the Task Runner could not look up."""
    world = world_with()
    let(world, fail_to_look_up)
    run_id = lost(world)
    began = world.clock.now()
    retried(world, run_id)
    assert world.submissions() == ["a/1", "a/1", "a/2"]
    waited = world.task_runner.submitted_at[1] - began
    assert STOP_TIMEOUT <= waited <= STOP_TIMEOUT + timedelta(minutes=3)
    assert beside(world) == 0


def test_a_task_runner_that_can_do_neither_gets_no_further_submission() -> None:
    """The next attempt begins beside the job, as nothing could be done about it."""
    world = world_with("cannot")
    let(world, cannot_look_up)
    run_id = lost(world)
    retried(world, run_id)
    assert world.submissions() == ["a/1", "a/2"]


def test_a_job_that_is_found_and_cannot_be_stopped_is_named() -> None:
    """The next attempt begins beside it, and says so."""
    world = world_with("cannot")
    run_id = lost(world)
    retried(world, run_id)
    assert world.steps(run_id)["a"].unstopped == ("job-000001",)


def test_a_job_that_is_found_may_have_ended() -> None:
    """Then there is nothing to stop."""
    world = world_with(duration=30)
    run_id = lost(world)
    retry_run(world.services, run_id)
    drive(world, run_id)
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert (world.submissions(), world.task_runner.stopped) == (["a/1", "a/2"], [])


def test_with_on_lost_retry_a_key_is_taken_only_from_a_dispatcher_that_may_live() -> None:
    """While one may still submit the job, the earlier attempt is submitted; minutes later, nothing is."""
    for later, submitted in ((timedelta(0), ["a/1", "a/2"]), (FINAL, ["a/2"])):
        world = world_with()
        run_id = world.start(one_step(timeout="1h"))
        die_at_submission(world, after=False)
        cancel(world, run_id)
        world.clock.move(later)
        retried(world, run_id)
        assert world.submissions() == submitted
        assert beside(world) == 0


@pytest.mark.parametrize("answer", [None, cannot_look_up])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fatal", range(1, 9))
def test_a_death_at_any_call_leaves_no_second_job_beside_the_first(
    fatal: int,
    after: bool,  # noqa: FBT001 (a case of the test)
    answer: Callable[[str], JobAnswer | None] | None,
) -> None:
    """Whoever begins the next attempt may die at each of its calls; another one goes on from there."""
    world = world_with({"after": 20})
    if answer is not None:
        let(world, answer)
    run_id = lost(world)
    world.clock.move(LEASE)
    retry_run(world.services, run_id)
    plain = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        world.settle_down("steps")
    world.services = plain
    for _ in range(3):
        drive(world, run_id, until=lambda step: step.state is StepState.RUNNING)
        if world.run(run_id).state is RunState.FAILED:
            retry_run(world.services, run_id)
    step = world.steps(run_id)["a"]
    assert (step.state, step.leftovers, step.unresolved) == (StepState.RUNNING, (), ())
    assert beside(world) == 0


def redeliver(world: World) -> None:
    """Deliver what a dead handler had taken once more."""
    world.clock.move(timedelta(seconds=ACK_DEADLINE_S))
    world.settle_down("steps")


def states(world: World) -> list[str | None]:
    """Return how each job ended, None for one that runs."""
    return [job.end if job.ends_at <= world.clock.now().timestamp() else None for job in all_jobs(world)]


def all_jobs(world: World) -> list[Any]:
    """Return all jobs, in the order in which they began."""
    return list(world.task_runner.jobs._jobs.values())


def test_the_job_of_a_dead_dispatcher_is_stopped_though_its_run_has_ended() -> None:
    """The event comes again and finds the step cancelled: its job is looked up and stopped, once."""
    world = world_with()
    run_id = world.start(one_step(timeout="1h"))
    die_at_submission(world, after=True)
    cancel(world, run_id)
    redeliver(world)
    assert (states(world), world.steps(run_id)["a"].leftovers) == (["CANCELLED"], ("job-000001",))
    looked_up = list(world.task_runner.looked_up)
    redeliver(world)
    assert (world.task_runner.looked_up, world.task_runner.stopped) == (looked_up, ["job-000001"])
    retried(world, run_id)
    assert beside(world) == 0


def test_a_job_that_was_found_by_a_dispatcher_which_then_died_is_stopped() -> None:
    """A dispatcher found the job of the attempt before and died; the run was cancelled meanwhile."""
    world = world_with()
    run_id = lost(world)
    world.clock.move(FINAL)
    retry_run(world.services, run_id)
    plain = world.services
    make_mortal(world, AtLookup())
    with pytest.raises(Died):
        world.settle_down("steps")
    world.services = plain
    cancel(world, run_id)
    assert states(world) == [None]
    redeliver(world)
    assert (states(world), world.submissions()) == (["CANCELLED"], ["a/1"])


def with_finally(**policies: Any) -> str:
    """Return a workflow whose only step of the main part is `a`, and whose step under `finally` is `f`."""
    under_finally = {"id": "f", "task": {"imageUri": "image"}, **policies}
    return json.dumps({**json.loads(one_step(timeout="1h")), "finally": [under_finally]})


def test_the_job_of_a_main_step_is_stopped_while_the_steps_under_finally_run() -> None:
    """A stop of the main part is over once those have begun, but its steps are stopped all the same."""
    world = world_with()
    run_id = world.start(with_finally())
    die_at_submission(world, after=True)
    cancel_run(world.services, run_id)
    redeliver(world)
    assert world.run(run_id).state is RunState.RUNNING
    assert (states(world), world.submissions()) == (["CANCELLED", None], ["a/1", "f/1"])


def test_the_job_of_a_step_under_finally_that_was_lost_is_left_alone() -> None:
    """The steps under `finally` are not stopped with the main part."""
    world = world_with()
    run_id = world.start(with_finally(timeout="1h", onLost="fail"))
    die_at_submission(world, after=True)
    cancel_run(world.services, run_id)
    for message in world.bus.take_all("steps"):
        world.bus.ack(message)
    world.bus.publish(ready_messages(run_id, [ReadyStep(step_id="f")]))
    die_at_submission(world, after=True)
    drive(world, run_id)
    assert world.states(run_id) == {"a": "CANCELLED", "f": "FAILED"}
    handle_steps(world.services, StepsReady(run_id=run_id, steps=(ReadyStep(step_id="a"), ReadyStep(step_id="f"))))
    assert (world.submissions(), states(world)) == (["a/1", "f/1"], ["CANCELLED", None])


def test_what_an_event_releases_is_published_before_jobs_are_looked_up() -> None:
    """Ten lookups may take more than a minute and a half, which the steps under `finally` must not wait for."""
    world = world_with()
    run_id = world.start(with_finally())
    die_at_submission(world, after=True)
    cancel_run(world.services, run_id)
    fate = Fate()
    make_mortal(world, fate)
    handle_steps(world.services, StepsReady(run_id=run_id, steps=(ReadyStep(step_id="a"),)))
    assert fate.calls.index("publish") < fate.calls.index("look up")


@pytest.mark.parametrize("answer", [cannot_look_up, fail_to_look_up, lambda _key: None])
def test_a_job_that_cannot_be_found_is_left_to_a_retry(answer: Callable[[str], JobAnswer | None]) -> None:
    """Nothing is submitted for a run that has ended."""
    world = world_with()
    run_id = world.start(one_step(timeout="1h"))
    die_at_submission(world, after=True)
    cancel(world, run_id)
    plain = world.services
    let(world, answer)
    redeliver(world)
    assert (world.submissions(), states(world)) == (["a/1"], [None])
    world.services = plain
    retried(world, run_id)
    assert beside(world) == 0


def test_the_job_of_a_step_that_was_lost_is_left_alone() -> None:
    """With `onLost: fail`, a user decides what becomes of it, as long as no one stops the run."""
    world = world_with()
    run_id = lost(world)
    redeliver(world)
    assert (states(world), world.run(run_id).stop) == ([None], None)
