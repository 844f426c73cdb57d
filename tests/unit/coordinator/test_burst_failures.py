"""What goes wrong within a burst delays nothing but what it goes wrong with."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.due_handler import DueHandler
from atom_workflows.coordinator.checker.due_steps import BEGINNING, InFlight, place_of, read_due
from atom_workflows.core.states import RunState
from atom_workflows.documents import BURST_LEASE_PATH, run_path, step_path
from atom_workflows.errors import BusUnavailable
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Create, JobAnswer, Message, StopAnswer, Update
from support.helpful_clock import HelpfulClock
from support.workflows import chain, definition

BURST = timedelta(seconds=50)
POLICIES = {
    "timeout_s": 3600.0,
    "max_attempts": 1,
    "backoff_initial_s": 10.0,
    "backoff_factor": 2.0,
    "backoff_max_s": 600.0,
    "backoff_jitter": 0.0,
    "on_lost": "retry",
}
LONG = "{rules: [{step: long, duration: 100000}], default: {duration: 20}}"


def long_and_short(script: str = LONG) -> tuple[World, str, str]:
    """Return two runs after two seconds, one with a long and one with a short job."""
    world = World(script, burst=BURST)
    long = world.start(definition({"long": []}), run_key="long")
    short = world.start(chain(1), run_key="short")
    world.settle_down("steps")
    world.bus.take_all("tick")
    world.clock.move(timedelta(seconds=2))
    return world, long, short


def burst(world: World, **ports: Any) -> None:
    """Let one tick's burst happen, in which dispatchers take what is published."""
    handle_tick(replace(world.services, clock=HelpfulClock(world), **ports), Tick())
    world.settle_down("steps")


@pytest.mark.parametrize("fields", [{"state": "PAUSED"}, {"stop": "by hand"}, {"timeout_s": "1h"}])
def test_a_run_that_cannot_be_read_keeps_no_other_from_being_looked_at(
    fields: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A run that cannot be read is logged, and other jobs end normally."""
    world, broken, other = long_and_short()
    world.clock.move(timedelta(minutes=2))
    world.store.commit([Update(path=run_path(broken), fields=fields)])
    burst(world)
    assert world.run(other).state is RunState.SUCCEEDED
    assert f"run {broken} could not be audited" in caplog.text


@pytest.mark.parametrize(
    "fields",
    [
        {"claimed_at": "noon"},
        {"unheard_since": "noon"},
        {"attempt": None},
        {"task_runner_url": []},
        {"job_state": 5},
        {"kind": "waterfall"},
        {"policies": {"timeout_s": "1h"}},
        {"policies": {**POLICIES, "timeout_s": 1e15}},
    ],
)
def test_a_step_that_cannot_be_read_keeps_no_other_from_being_looked_at(
    fields: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A step that cannot be read is logged, and other jobs end normally."""
    world, broken, other = long_and_short()
    path = step_path(broken, "long")
    world.store.commit([Update(path=path, fields=fields)])
    burst(world)
    assert world.run(other).state is RunState.SUCCEEDED
    assert f"{path} cannot be read" in caplog.text


@dataclass(slots=True)
class Stumbling:
    """A Task Runner that cannot be polled about one of its jobs, if any."""

    world: World
    job_id: str = ""

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.world.task_runner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, asked: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        if asked == self.job_id:
            raise ZeroDivisionError
        return self.world.task_runner.status(base_url, asked)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.world.task_runner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.world.task_runner.look_up(base_url, idempotency_key)


def test_a_defect_that_one_job_meets_keeps_no_other_from_being_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its trace, and the burst goes on."""
    world, broken, other = long_and_short()
    job_id = world.steps(broken)["long"].job_id

    burst(world, task_runner=Stumbling(world, job_id))
    assert world.run(other).state is RunState.SUCCEEDED
    (record, *_) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert job_id in record.getMessage()


def test_a_defect_is_no_word_that_an_overdue_job_goes_on() -> None:
    """A defect while polling an overdue job does not time it out."""
    world = World("default: {duration: 300}", burst=BURST)
    run_id = world.start(definition({"a": []}, a={"timeout": "10m", "retry": {"maxAttempts": 2}}))
    world.settle_down("steps")
    world.clock.move(timedelta(minutes=11))
    burst(world, task_runner=Stumbling(world, world.steps(run_id)["a"].job_id))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1"]


@dataclass(slots=True)
class FailingBus:
    """A bus that accepts nothing at first."""

    world: World
    failures: int
    tried: list[Message] = field(default_factory=list)

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.tried += messages
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("no answer")
        self.world.bus.publish(messages)


def test_a_job_that_another_instance_changed_is_looked_at_again() -> None:
    """A poll's result does not overwrite another instance's, and polls go on."""
    world, long, _ = long_and_short()
    world.clock.move(timedelta(minutes=1))

    class Meddling(Stumbling):
        """A Task Runner that notes its first answer about a job while another instance writes to the step."""

        def status(self, base_url: str, asked: str) -> JobAnswer:
            """See `ports.TaskRunner.status`."""
            if asked not in world.task_runner.polled:
                world.store.commit([Update(path=step_path(long, "long"), fields={"message": "another's"})])
                return replace(super().status(base_url, asked), state="PREPARING")
            return super().status(base_url, asked)

    burst(world, task_runner=Meddling(world))
    assert world.task_runner.polled.count(world.steps(long)["long"].job_id) >= 5


def test_a_burst_that_fails_gives_its_lease_back() -> None:
    """A burst that fails gives its lease back."""
    world, _, short = long_and_short()
    world.clock.move(timedelta(seconds=30))
    bus = FailingBus(world, failures=1)
    with pytest.raises(BusUnavailable):
        burst(world, bus=bus)
    world.clock.move(timedelta(seconds=10))
    burst(world, bus=bus)
    assert world.run(short).state is RunState.SUCCEEDED


@pytest.mark.parametrize("fields", [{}, {"until": START + timedelta(hours=1)}])
def test_an_odd_lease_keeps_no_burst_waiting(fields: Mapping[str, Any]) -> None:
    """An invalid or far too long lease does not stop a burst."""
    world, _, other = long_and_short()
    world.store.inner.commit([Create(path=BURST_LEASE_PATH, fields={"schema": 1, "holder": "x", **fields})])
    burst(world)
    assert world.run(other).state is RunState.SUCCEEDED


@dataclass(slots=True)
class NotedQueries:
    """A store whose queries for steps that are due are noted."""

    world: World
    looks: list[datetime] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        """Everything else."""
        return getattr(self.world.store, name)

    def query(self, query: Any) -> Any:
        """See `ports.Store.query`."""
        if query.group:
            self.looks.append(self.world.clock.now())
        return self.world.store.query(query)


def test_jobs_that_are_left_alone_keep_no_burst_busy() -> None:
    """Jobs that back off are not polled every two seconds."""
    world = World("default: {duration: 100000, status_errors: [{status: 500, times: 1000}]}", burst=BURST)
    for number in range(6):
        world.start(chain(1), run_key=str(number))
    world.settle_down("steps")
    world.bus.take_all("tick")
    noted = NotedQueries(world)
    for _ in range(3):
        world.clock.move(timedelta(minutes=5))
        burst(world, store=noted)
    assert len(noted.looks) <= 30, noted.looks


def test_a_job_that_is_unknown_after_an_outage_is_polled_like_any_other() -> None:
    """An unknown job ends the back-off of an outage."""
    answers = "[{status: 500, times: 4}, {status: 404, times: 1000}]"
    world, long, _ = long_and_short(f"{{rules: [{{step: long, duration: 100000, status_errors: {answers}}}]}}")
    polled: list[float] = []

    class Noted(Stumbling):
        """A Task Runner that notes when it is asked."""

        def status(self, base_url: str, asked: str) -> JobAnswer:
            """See `ports.TaskRunner.status`."""
            polled.append((world.clock.now() - START).total_seconds())
            return super().status(base_url, asked)

    while not world.steps(long)["long"].missing_since:
        burst(world, task_runner=Noted(world))
        world.clock.move(timedelta(seconds=10))
    polled.clear()
    burst(world, task_runner=Noted(world))
    assert world.steps(long)["long"].unanswered == 0
    assert len(polled) <= 5, polled


def test_a_job_that_is_asked_about_twice_is_saved_once() -> None:
    """A job that a round and its burst both polled is saved once."""
    world, long, _ = long_and_short()

    class Preparing(Stumbling):
        """A Task Runner that has a new word for a job."""

        def status(self, base_url: str, asked: str) -> JobAnswer:
            """See `ports.TaskRunner.status`."""
            return replace(super().status(base_url, asked), state="PREPARING")

    due, _ = read_due(world.services, until=START + timedelta(days=1), after=place_of(BEGINNING))
    held = [one for one in due if one.step.run_id == long and one.step.job_id]
    known = InFlight()
    known.learn(held, since=BEGINNING, now=world.clock.now())
    handler = DueHandler(replace(world.services, task_runner=Preparing(world)), known)
    handler.begin([*known.take_due(START + timedelta(days=1)), *held], START + timedelta(days=1))
    handler.take_all_answers()
    assert world.steps(long)["long"].job_state == "PREPARING"
    assert len(list(known.looks())) == 1
