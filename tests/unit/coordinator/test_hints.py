"""A hint that a job has ended costs at most a status call, and changes nothing but time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.hints import handle_hint
from atom_workflows.coordinator.close import Closing, request_stop
from atom_workflows.coordinator.limits import HintLimit
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.changes import apply_change
from atom_workflows.core.hints import LONGEST_WAIT
from atom_workflows.core.polling import HINT_GAP, NOTIFIED_POLL
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.transitions import claim
from atom_workflows.documents import step_path
from atom_workflows.errors import HintNotHandled
from atom_workflows.messages.internal import JobEnded, Tick
from atom_workflows.ports import JobAnswer, StopAnswer, TaskRunner, Update
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.workflows import chain, definition

LONG: Final = timedelta(seconds=50)


def world_with(duration: float = 90, **more: Any) -> World:
    """Return a world whose Task Runner reports the ends of its jobs."""
    world = World(json.dumps({"default": {"duration": duration, "notifies": True, **more}}), burst=LONG)
    world.services = replace(world.services, hint_limit=HintLimit(timedelta(milliseconds=50)))
    return world


def started(world: World, text: str = chain(1)) -> str:
    """Return a run whose first step runs."""
    run_id = world.start(text)
    world.settle_down()
    return run_id


def hint_at(run_id: str, step_id: str = "s0", attempt: int = 1) -> JobEnded:
    """Return a hint about an attempt."""
    return JobEnded(idempotency_key=f"{run_id}/{step_id}/{attempt}")


def polls(world: World) -> int:
    """Return how often the Task Runner was asked about a job."""
    return len(world.task_runner.polled)


def test_a_hint_settles_a_step_at_once() -> None:
    """The dependents start without a tick, and each job is asked about once."""
    world = world_with()
    run_id = started(world, chain(3))
    for _ in range(3):
        world.clock.move(timedelta(seconds=90))
        world.settle_down()
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert polls(world) == 3


def test_a_job_that_notifies_wakes_no_one() -> None:
    """Its submission publishes no tick, and a burst neither waits for it nor polls it before five minutes."""
    world = world_with(100_000)
    run_id = started(world)
    assert world.bus.take_all("tick") == []
    for _ in range(4):
        began = world.clock.now()
        handle_tick(world.services, Tick())
        assert world.clock.now() - began < timedelta(seconds=1)
        world.clock.move(timedelta(minutes=1))
    assert polls(world) == 0
    assert world.steps(run_id)["s0"].notifies
    world.clock.move(timedelta(minutes=1))
    for _ in range(20):
        handle_tick(world.services, Tick())
        world.clock.move(timedelta(minutes=1))
    assert 4 <= polls(world) <= 5


def test_a_lost_hint_costs_five_minutes() -> None:
    """The job is polled as a safety net."""
    world = world_with(90)
    run_id = started(world)
    world.clock.move(NOTIFIED_POLL)
    handle_tick(world.services, Tick())
    world.settle_down("steps")
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_a_job_that_notifies_is_timed_out_in_time() -> None:
    """Its deadline comes before its next poll."""
    world = world_with(100_000)
    run_id = started(world, definition({"s0": []}, s0={"timeout": "2m"}))
    assert world.steps(run_id)["s0"].due_at == world.steps(run_id)["s0"].attempt_deadline


def test_that_a_job_notifies_may_be_said_later() -> None:
    """The first answer that says so makes the polls rare."""
    world = World('{"default": {"duration": 100000}}', burst=LONG)
    run_id = started(world)

    @dataclass(slots=True)
    class Late:
        """A Task Runner that says in status answers that it notifies, and where the log is."""

        inner: TaskRunner

        def submit(self, *_: object, **__: object) -> JobAnswer:
            """Not called."""
            raise NotImplementedError

        def status(self, base_url: str, job_id: str) -> JobAnswer:
            """See `ports.TaskRunner.status`."""
            answer = self.inner.status(base_url, job_id)
            return replace(answer, notifies=True, logs_url=f"https://logs.test/{polls(world)}")

        def stop(self, base_url: str, job_id: str) -> StopAnswer:
            """See `ports.TaskRunner.stop`."""
            return self.inner.stop(base_url, job_id)

        def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
            """See `ports.TaskRunner.look_up`."""
            return self.inner.look_up(base_url, idempotency_key)

    world.services = replace(world.services, task_runner=Late(world.services.task_runner))
    world.clock.move(timedelta(seconds=5))
    for _ in range(3):
        handle_tick(world.services, Tick())
        world.clock.move(timedelta(minutes=1))
    step = world.steps(run_id)["s0"]
    assert (step.notifies, step.logs_url, polls(world)) == (True, "https://logs.test/1", 1)
    assert step.due_at is not None
    assert step.due_at > world.clock.now()


def test_forged_and_doubled_hints_cost_one_call_in_five_seconds() -> None:
    """However many hints come, a job is asked about once in that time."""
    world = world_with(1000)
    run_id = started(world)
    for _ in range(100):
        handle_hint(world.services, hint_at(run_id))
        world.clock.move(timedelta(milliseconds=200))
    assert polls(world) <= 20 / HINT_GAP.total_seconds() + 1
    assert world.states(run_id) == {"s0": "RUNNING"}


@pytest.mark.parametrize(
    "key", ["{run}/s0/2", "{run}/s0/7", "{run}/s1/1", "{run}/~end/1", "{run}/none/1", "no-run/s0/1"]
)
def test_a_hint_about_anything_else_costs_no_call(key: str) -> None:
    """Only the attempt whose job runs is asked about."""
    world = world_with()
    run_id = started(world, chain(2))
    before = world.store.writes
    handle_hint(world.services, JobEnded(idempotency_key=key.format(run=run_id)))
    assert polls(world) == 0
    assert world.store.writes == before


def test_a_hint_with_the_jobs_id_alone_is_ignored() -> None:
    """There is no index to find its step with."""
    world = world_with()
    started(world)
    reads = world.store.reads
    handle_hint(world.services, JobEnded(job_id="job-000001"))
    assert (polls(world), world.store.reads) == (0, reads)


def test_an_early_hint_does_not_lose_the_end() -> None:
    """The job is looked at again five seconds later, though its own hint is dropped."""
    world = world_with(10)
    run_id = started(world)
    world.clock.move(timedelta(seconds=7))
    handle_hint(world.services, hint_at(run_id))
    world.clock.move(timedelta(seconds=4))
    handle_hint(world.services, hint_at(run_id))
    assert polls(world) == 1
    began = world.clock.now()
    for taken in world.bus.take_all("tick"):
        world.deliver(taken)
    world.settle_down("steps")
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.clock.now() - began <= timedelta(seconds=12)


def test_nothing_stays_awake_after_an_early_hint() -> None:
    """After the look that follows, the job is left alone again."""
    world = world_with(100_000)
    started(world)
    world.clock.move(timedelta(seconds=7))
    handle_hint(world.services, hint_at(started(world)))
    for taken in world.bus.take_all("tick"):
        world.deliver(taken)
    assert polls(world) == 2
    for _ in range(4):
        began = world.clock.now()
        handle_tick(world.services, Tick())
        assert world.clock.now() - began < timedelta(seconds=1)
        world.clock.move(timedelta(minutes=1))
    assert polls(world) == 2


def test_a_hint_before_the_job_is_recorded_is_delivered_again() -> None:
    """The dispatcher's record of the job is not disturbed, and the end is not lost."""
    world = world_with()
    run_id = world.start(chain(1))
    plain = world.services

    @dataclass(slots=True)
    class Fast:
        """A Task Runner whose hint comes before its answer."""

        inner: TaskRunner

        def submit(
            self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta
        ) -> JobAnswer:
            """See `ports.TaskRunner.submit`."""
            answer = self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
            with pytest.raises(HintNotHandled, match="not recorded"):
                handle_hint(plain, hint_at(run_id))
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

    world.services = replace(plain, task_runner=Fast(plain.task_runner))
    world.settle_down("steps")
    assert world.steps(run_id)["s0"].state is StepState.RUNNING
    world.clock.move(timedelta(seconds=90))
    handle_hint(plain, hint_at(run_id))
    world.settle_down("steps")
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_a_hint_is_not_lost_to_a_poll_at_the_same_time() -> None:
    """If the step changes while a hint is handled, it is judged again."""
    world = world_with(90)
    run_id = started(world)
    world.clock.move(timedelta(seconds=90))
    stored = world.steps(run_id)["s0"]

    def poll() -> None:
        update = Update(path=step_path(run_id, "s0"), fields={"job_state": stored.job_state, "unanswered": 1})
        world.store.commit([update])

    store = meanwhile(world, lambda name, _: name == "commit", poll)
    handle_hint(world.services, hint_at(run_id))
    assert store.happened
    world.settle_down("steps")
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_there_is_a_limit_on_all_hints_together() -> None:
    """Hints take turns; those that would wait for long are delivered again."""
    world = world_with(1000)
    run_id = started(world, definition({f"s{i}": [] for i in range(100)}))
    limit = HintLimit(timedelta(milliseconds=50))
    world.services = replace(world.services, hint_limit=limit)
    began, later = world.clock.now(), 0
    frozen = world.clock.now()
    for i in range(100):
        wait = limit.reserve(frozen, LONGEST_WAIT)
        later += wait is None
        assert wait is None or wait <= LONGEST_WAIT
        assert i < 41 or wait is None
    assert later == 59
    with pytest.raises(HintNotHandled, match="too many"):
        handle_hint(world.services, hint_at(run_id, "s5"))
    world.clock.move(timedelta(seconds=5))
    for i in range(100):
        handle_hint(world.services, hint_at(run_id, f"s{i}"))
    assert polls(world) == 100
    assert world.clock.now() - began >= timedelta(seconds=5 + 99 / 20)


@pytest.mark.parametrize("gap_ms", [50, 1000])
def test_a_flood_of_hints_leaves_half_of_a_process_to_others(gap_ms: int) -> None:
    """A process of one thread waits for the turns of hints for half of its time, and acts on as many all the same."""
    limit, now = HintLimit(timedelta(milliseconds=gap_ms)), START
    waited, acted = timedelta(0), 0
    while now < START + timedelta(minutes=5):
        wait = limit.reserve(now, LONGEST_WAIT)
        acted += wait is not None
        waited += wait or timedelta(0)
        now += (wait or timedelta(0)) + timedelta(milliseconds=2)
    assert waited <= timedelta(minutes=2.6)
    assert acted >= 0.9 * 300_000 / gap_ms


def test_a_hint_that_has_no_turn_costs_no_read() -> None:
    """In a flood, hints are refused before their steps are read."""
    world = world_with(1000)
    run_id = started(world)
    while world.services.hint_limit.reserve(world.clock.now(), LONGEST_WAIT) is not None:
        pass
    reads = meanwhile(world, lambda name, _: name == "get", lambda: None)
    with pytest.raises(HintNotHandled, match="too many"):
        handle_hint(world.services, hint_at(run_id))
    assert not reads.happened


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 6))
def test_a_hint_whose_handler_dies_costs_a_minute(fatal: int, *, after: bool) -> None:
    """If the hint never comes again, the next ticks find the end, at the latest with the next poll."""
    world = world_with(90)
    run_id = started(world)
    world.clock.move(timedelta(seconds=90))
    plain = world.services
    fate = Fate(fatal=fatal, after=after)
    make_mortal(world, fate)
    try:
        handle_hint(world.services, hint_at(run_id))
    except Died:
        assert len(fate.calls) == fatal
    world.services = plain
    world.task_runner.jobs.take_ended(world.clock.now().timestamp())
    is_taken = world.steps(run_id)["s0"].hinted_at is not None
    for _ in range(2 if is_taken else 6):
        handle_tick(world.services, Tick())
        world.settle_down("steps")
        world.clock.move(timedelta(minutes=1))
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_a_hint_ends_the_wait_of_a_run_for_its_job() -> None:
    """A run that is being closed ends as soon as its job has stopped, though no checker is awake."""
    world = world_with(1000)
    run_id = started(world)
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=world.clock.now())
    assert request_stop(Outbox(world.services), run_id, stop) is Closing.WAITS
    world.clock.move(timedelta(seconds=6))
    handle_hint(world.services, hint_at(run_id))
    world.settle_down("start", "steps")
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.task_runner.stopped == ["job-000001"]


def test_the_address_of_the_log_belongs_to_an_attempt() -> None:
    """It is stored and reported, and a new attempt begins without one."""
    script = {"default": {"duration": 30, "logsUrl": "https://logs.test/1", "notifies": True, "fail_times": 1}}
    world = World(json.dumps(script))
    run_id = started(world, definition({"s0": []}, s0={"retry": {"maxAttempts": 2, "backoff": {"initial": "60s"}}}))
    assert world.steps(run_id)["s0"].logs_url == "https://logs.test/1"
    world.clock.move(timedelta(seconds=31))
    world.settle_down()
    step = world.steps(run_id)["s0"]
    assert (step.state, step.logs_url) == (StepState.RETRYING, "https://logs.test/1")
    told = [change for message in world.changes() for change in message.body["changes"] if "logs_url" in change]
    assert {change["logs_url"] for change in told} == {"https://logs.test/1"}
    again = apply_change(step, claim(step, now=world.clock.now(), lease=timedelta(minutes=3)))
    assert (again.logs_url, again.notifies) == ("", False)


SILENT_SECOND: Final = {"rules": [{"step": "s1", "duration": 20}], "default": {"duration": 90, "notifies": True}}


def test_what_follows_a_hint_is_noticed_though_no_checker_is_awake() -> None:
    """A job that does not notify, and that was submitted because of a hint, is polled as soon as any other."""
    world = World(json.dumps(SILENT_SECOND), burst=LONG)
    started(world, chain(2))
    world.clock.move(timedelta(seconds=90))
    world.settle_down()
    assert world.submissions() == ["s0/1", "s1/1"]
    assert len(world.bus.take_all("tick")) == 1


def test_a_retry_after_a_hint_does_not_wait_for_the_scheduler() -> None:
    """The checker is woken for the next attempt of a job whose failure was reported."""
    world = world_with(30, fail_times=1)
    run_id = started(world, definition({"s0": []}, s0={"retry": {"maxAttempts": 2, "backoff": {"initial": "5s"}}}))
    world.clock.move(timedelta(seconds=31))
    world.settle_down()
    assert world.states(run_id) == {"s0": "RETRYING"}
    assert len(world.bus.take_all("tick")) == 1


def test_a_chain_of_jobs_that_notify_wakes_no_checker() -> None:
    """Nothing that follows a hint needs one, as each end is reported."""
    world = world_with()
    started(world, chain(3))
    world.clock.move(timedelta(seconds=90))
    world.settle_down()
    assert len(world.submissions()) == 2
    assert world.bus.take_all("tick") == []
