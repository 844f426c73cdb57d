"""The checker's burst, and its lease."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.checker.burst import end_of_burst, handle_tick
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path
from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.messages.internal import Tick, read_tick_event
from atom_workflows.ports import Create, JobAnswer, StopAnswer, Update
from support.helpful_clock import HelpfulClock
from support.meanwhile import Before, meanwhile
from support.workflows import chain, definition

BURST = timedelta(seconds=50)


class Watched:
    """A Task Runner whose status calls are noted, in seconds from now, and take some time."""

    def __init__(self, world: World, takes: timedelta = timedelta(0)) -> None:
        self._world, self._takes = world, takes
        self._began = world.clock.now()
        self.looks: list[float] = []

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self._world.task_runner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        self.looks.append((self._world.clock.now() - self._began).total_seconds())
        self._world.clock.move(self._takes)
        return self._world.task_runner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self._world.task_runner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self._world.task_runner.look_up(base_url, idempotency_key)


def looks(world: World, takes: timedelta = timedelta(0)) -> list[float]:
    """Run one tick's burst and return the seconds at which it polled."""
    watched = Watched(world, takes)
    began = world.clock.now()
    handle_tick(replace(world.services, task_runner=watched), Tick())
    assert world.clock.now() - began <= BURST + takes
    return watched.looks


def test_a_job_is_looked_at_soon_after_it_began_and_then_every_ten_seconds() -> None:
    """A burst polls a young job soon, and later once an interval."""
    world = World("default: {duration: 1000}", burst=BURST)
    world.start(chain(1))
    world.settle_down()
    world.clock.move(timedelta(seconds=2))
    assert looks(world) == [0, 2, 4, 7, 11.5, 18.25, 28.25, 38.25, 48.25]


def test_a_job_that_has_run_for_long_is_looked_at_less_often() -> None:
    """After four minutes a twentieth of that is the wait."""
    world = old_job(timedelta(minutes=4))
    assert looks(world) == [pytest.approx(at) for at in (0, 12, 24.6, 37.83)]


def test_a_job_that_has_run_for_very_long_is_left_to_the_ticks() -> None:
    """A burst ends when no look is due soon."""
    for age in (timedelta(minutes=7), timedelta(hours=1)):
        world = old_job(age)
        before, reads = world.clock.now(), world.store.reads
        assert looks(world) == [0]
        assert world.clock.now() == before
        assert world.store.reads - reads < 10


def test_a_retry_is_waited_for() -> None:
    """A back-off that ends within the burst keeps it awake."""
    world = old_job(timedelta(hours=1))
    retry = {"maxAttempts": 2, "backoff": {"initial": "30s", "max": "30s", "jitter": 0}}
    run_id = world.start(definition({"flaky": []}, flaky={"retry": retry}), run_key="fails once")
    world.settle_down("steps")
    world.clock.move(timedelta(seconds=2))
    before = world.clock.now()
    handle_tick(replace(world.services, clock=HelpfulClock(world)), Tick())
    assert [key for key, _ in world.task_runner.submitted].count(f"{run_id}/flaky/2") == 1
    assert timedelta(seconds=30) <= world.clock.now() - before <= BURST


def old_job(age: timedelta) -> World:
    """Return a world with one job that has run for so long."""
    script = "{default: {duration: 100000}, rules: [{step: flaky, duration: 1, fail_times: 1}]}"
    world = World(script, burst=BURST)
    world.start(chain(1))
    world.settle_down()
    world.clock.move(age)
    return world


def test_a_burst_reads_a_job_once_however_often_it_looks() -> None:
    """A burst reads a job once, however often it polls it."""
    world = World("default: {duration: 1000}", burst=BURST)
    world.start(definition({f"s{number}": [] for number in range(40)}))
    world.settle_down("steps")
    world.clock.move(timedelta(seconds=30))
    reads = world.store.reads
    polls = len(looks(world))
    assert polls == 40 * 5
    assert world.store.reads - reads < 40 + 20


def test_a_burst_never_asks_for_a_job_when_its_time_is_over() -> None:
    """A burst makes no call after its end."""
    world = World("default: {duration: 1000}", burst=BURST)
    world.start(definition({f"s{number}": [] for number in range(40)}))
    world.settle_down("steps")
    world.clock.move(timedelta(seconds=30))
    assert looks(world, takes=timedelta(seconds=9)) == [0, 9, 18, 27, 36, 45]


def test_a_task_runner_that_does_not_answer_is_not_asked_for_all_its_jobs() -> None:
    """After three failed calls a look leaves a Task Runner's other jobs."""
    world = World("default: {duration: 1000, status_errors: [{status: 503, times: 1000}]}")
    world.start(definition({f"s{number}": [] for number in range(40)}))
    world.settle_down("steps")
    world.clock.move(timedelta(seconds=10))
    handle_tick(world.services, Tick())
    assert len(world.task_runner.polled) <= 6


class Hanging(Watched):
    """Where jobs of one Task Runner are asked for in vain, each time for ten seconds."""

    url = "http://hangs.test"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.hung = 0

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        if base_url != self.url:
            return super().status(base_url, job_id)
        self.hung += 1
        self._world.clock.move(timedelta(seconds=10))
        raise TaskRunnerUnavailable("no answer within 10 s")


def test_a_task_runner_that_hangs_is_left_alone_for_longer_and_longer() -> None:
    """A Task Runner that hangs is called ever less, and others as usual."""
    world = World("default: {duration: 1000}", burst=timedelta(minutes=8))
    run_id = world.start(definition({f"s{number}": [] for number in range(40)}))
    world.settle_down("steps")
    moved = [
        Update(path=step_path(step.run_id, step.id), fields={"task_runner_url": Hanging.url})
        for step in world.steps(run_id).values()
        if step.request is not None
    ]
    world.store.commit(moved)
    world.start(chain(1), run_key="answers")
    world.settle_down("steps")
    hanging = Hanging(world)
    handle_tick(replace(world.services, task_runner=hanging), Tick())
    assert 3 <= hanging.hung <= 12
    assert len(hanging.looks) >= 12


def test_a_burst_ends_when_nothing_is_in_flight() -> None:
    """After the last job's end there is one more look."""
    world = World("default: {duration: 5}", burst=BURST)
    world.start(chain(1))
    world.settle_down("steps")
    before = world.clock.now()
    handle_tick(replace(world.services, clock=HelpfulClock(world)), Tick())
    assert len(world.task_runner.polled) == 3
    assert world.clock.now() - before == timedelta(seconds=16)
    world.settle_down()
    reads = world.store.reads
    handle_tick(world.services, Tick())
    assert world.store.reads - reads == 1


def test_a_second_burst_leaves_at_once() -> None:
    """A tick during a burst only reads the lease."""
    world = World("default: {duration: 1000}", burst=BURST)
    world.start(chain(1))
    world.settle_down()
    polled: list[int] = []

    class TickingClock:
        """A clock in whose sleep another tick arrives."""

        def now(self) -> datetime:
            """See `ports.Clock.now`."""
            return world.clock.now()

        def sleep(self, seconds: float) -> None:
            """See `ports.Clock.sleep`."""
            before = len(world.task_runner.polled)
            handle_tick(world.services, Tick())
            polled.append(len(world.task_runner.polled) - before)
            world.clock.sleep(seconds)

    handle_tick(replace(world.services, clock=TickingClock()), Tick())
    assert polled == [0] * len(polled)
    assert len(polled) > 3


@pytest.mark.parametrize(("second", "lasts"), [(0, 50), (10, 50), (11, 49), (30, 30), (59.5, 0.5)])
def test_a_burst_that_a_dispatcher_woke_ends_when_the_scheduler_ticks(second: float, lasts: float) -> None:
    """A burst between ticks ends at the whole minute."""
    began = START + timedelta(minutes=7, seconds=second)
    assert end_of_burst(began, BURST, is_scheduled=False) - began == timedelta(seconds=lasts)
    assert end_of_burst(began, BURST, is_scheduled=True) - began == BURST


@pytest.mark.parametrize("second", range(0, 60, 5))
def test_a_jobs_end_is_noticed_soon_whenever_its_step_began(second: int) -> None:
    """A job's end is noticed soon, whenever its step began."""
    world = World("default: {duration: 55}", burst=BURST)
    world.clock.move(timedelta(seconds=second))
    run_id = world.start(chain(1))
    world.settle_down("steps")
    while not world.run(run_id).state.is_terminal:
        taken = world.bus.take_all("tick")
        for one in taken:
            world.bus.ack(one)
        if not taken:
            world.clock.move(timedelta(minutes=1) - (world.clock.now() - START) % timedelta(minutes=1))
        tick = read_tick_event(taken[0].body) if taken else Tick()
        handle_tick(replace(world.services, clock=HelpfulClock(world)), tick)
        world.settle_down("steps")
    finished_at = world.run(run_id).finished_at
    assert finished_at is not None
    assert finished_at - START <= timedelta(seconds=second + 55 + 20)


def test_a_dead_burst_is_followed_by_the_next_ticks() -> None:
    """A dead instance's lease is over when its burst would have been."""
    world = World("default: {duration: 70}", burst=BURST)
    run_id = world.start(chain(1))
    world.settle_down()
    lease = {"schema": 1, "holder": "dead", "until": world.clock.now() + BURST}
    world.store.commit([Create(path="control/checker", fields=lease)])
    world.clock.move(timedelta(seconds=60))
    world.tick()
    world.clock.move(timedelta(seconds=60))
    world.tick()
    assert world.run(run_id).state is RunState.SUCCEEDED


def test_jobs_that_become_due_one_by_one_are_looked_at_once_a_round() -> None:
    """Jobs that become due one by one are polled together."""
    world = World("default: {duration: 1000}", burst=BURST)
    for number in range(40):
        world.start(chain(1), run_key=str(number))
        world.settle_down()
        world.clock.move(timedelta(seconds=0.25))
    handle_tick(world.services, Tick())
    assert 4 <= len(world.task_runner.polled) / 40 <= 8


def test_jobs_that_start_as_bursts_end_are_looked_at() -> None:
    """A job that starts as a burst ends is noticed."""
    world = World("default: {duration: 5}", burst=BURST)
    world.start(chain(1), run_key="first")
    world.settle_down("steps")
    world.bus.take_all("tick")

    def another_starts() -> None:
        world.clock.move(timedelta(seconds=1))
        world.start(chain(1), run_key=str(world.clock.now()))
        world.settle_down("steps", "tick")

    def gives_back(name: str, writes: object) -> bool:
        return name == "commit" and "control/checker" in str(writes) and "holder" not in str(writes)

    handle_tick(_with_help(world, gives_back, another_starts), Tick())
    for _ in range(2):
        (tick,) = world.bus.take_all("tick")
        handle_tick(_with_help(world, gives_back, another_starts), read_tick_event(tick.body))
    assert len(set(world.task_runner.polled)) == 3


def _with_help(world: World, moment: Before, happens: Callable[[], None]) -> Services:
    plain = world.services
    meanwhile(world, moment, happens)
    interrupted, world.services = world.services, plain
    return replace(interrupted, clock=HelpfulClock(world))
