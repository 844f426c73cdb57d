"""A Task Runner that answers slowly, or not at all, delays its own jobs alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Generic

import pytest

from atom_emulator.testing.world import START, TASK_RUNNER_URL, MovedClock, World
from atom_workflows.coordinator.checker import due_steps
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.rounds import PAGE_TIME, begin_round, load_round
from atom_workflows.documents import step_path
from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.messages.internal import Tick, read_tick_event
from atom_workflows.ports import Answer, Item, JobAnswer, Message, StopAnswer, Update
from support.workflows import chain, definition

BURST = timedelta(seconds=50)
SLOW = "http://slow.test"
TAKES = timedelta(seconds=5)
THREADS = 4


@dataclass(slots=True)
class Noted:
    """A Task Runner whose status calls are noted: for each address, the job and the second."""

    world: World
    fails: bool = False
    asked: dict[str, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.world.task_runner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        self.asked[base_url].append((job_id, (self.world.clock.now() - START).total_seconds()))
        if self.fails and base_url == SLOW:
            raise TaskRunnerUnavailable("no answer within 10 s")
        return self.world.task_runner.status(TASK_RUNNER_URL, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:  # noqa: ARG002 (all jobs are in one place)
        """See `ports.TaskRunner.stop`."""
        return self.world.task_runner.stop(TASK_RUNNER_URL, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:  # noqa: ARG002 (all jobs are in one place)
        """See `ports.TaskRunner.look_up`."""
        return self.world.task_runner.look_up(TASK_RUNNER_URL, idempotency_key)


@dataclass(frozen=True, slots=True)
class TimedWorkers:
    """Workers whose calls to the slow Task Runner take their time on the moved clock, a few at once."""

    clock: MovedClock
    noted: Noted
    takes: timedelta

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> TimedCalls[Item, Answer]:
        """See `ports.Workers.calls`."""
        return TimedCalls(self, call, lane or (lambda _: ""))


@dataclass(slots=True)
class TimedCalls(Generic[Item, Answer]):
    """Implements `ports.Calls`: an answer is there when the call has taken its time, at once if no call was made."""

    workers: TimedWorkers
    call: Callable[[Item], Answer]
    lane: Callable[[Item], str]
    _queued: list[Item] = field(default_factory=list)
    _running: list[tuple[datetime, Item, Answer]] = field(default_factory=list)

    @property
    def pending(self) -> list[Item]:
        """See `ports.Calls.pending`."""
        return [*self._queued, *(item for _, item, _ in self._running)]

    def begin(self, items: Sequence[Item]) -> None:
        """See `ports.Calls.begin`."""
        self._queued += items
        self._start()

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """See `ports.Calls.wave`."""
        now = self.workers.clock.now()
        until = None if within_s is None else now + timedelta(seconds=within_s)
        first = min((ends_at for ends_at, _, _ in self._running), default=now)
        self.workers.clock.move((first if until is None else min(first, until)) - now)
        ended = [one for one in self._running if one[0] <= self.workers.clock.now()]
        self._running = [one for one in self._running if one not in ended]
        self._start()
        return [(item, answer) for _, item, answer in ended]

    def _start(self) -> None:
        now = self.workers.clock.now()
        busy = Counter(self.lane(item) for _, item, _ in self._running)
        for item in list(self._queued):
            lane = self.lane(item)
            if busy[lane] < THREADS:
                busy[lane] += 1
                self._queued.remove(item)
                asked = len(self.workers.noted.asked[SLOW])
                answer = self.call(item)
                was_slow = len(self.workers.noted.asked[SLOW]) > asked
                self._running.append((now + self.workers.takes if was_slow else now, item, answer))


def slow_and_quick(slow: int, quick: int, takes: timedelta = TAKES) -> tuple[World, Noted]:
    """Return a world with jobs at a slow and a quick Task Runner.

    They have been in flight for two seconds.
    """
    world = World("default: {duration: 100000}", burst=BURST)
    run_id = world.start(definition({f"s{number}": [] for number in range(slow)}))
    world.settle_down("steps")
    moved = [
        Update(path=step_path(step.run_id, step.id), fields={"task_runner_url": SLOW})
        for step in world.steps(run_id).values()
        if step.request is not None
    ]
    world.store.commit(moved)
    for number in range(quick):
        world.start(chain(1), run_key=f"quick-{number}")
    world.settle_down("steps")
    world.bus.take_all("tick")
    world.clock.move(timedelta(seconds=2))
    noted = Noted(world)
    world.services = replace(world.services, task_runner=noted, workers=TimedWorkers(world.clock, noted, takes))
    return world, noted


def test_jobs_of_others_are_looked_at_as_if_there_were_no_slow_one() -> None:
    """A slow Task Runner does not delay polls of another's jobs."""
    world, noted = slow_and_quick(100, 1)
    handle_tick(world.services, Tick())
    assert [at - 2 for _, at in noted.asked[TASK_RUNNER_URL]] == [0, 2, 4, 7, 11.5, 18.25, 28.25, 38.25, 48.25]
    assert len(noted.asked[SLOW]) == THREADS * 10


@pytest.mark.parametrize(("takes", "calls"), [(2, 5), (6, 4), (9.5, 3)])
def test_jobs_of_a_slow_one_are_looked_at_all_through_the_burst(takes: float, calls: int) -> None:
    """The wait for the next poll counts from the slow answer."""
    world, noted = slow_and_quick(1, 0, takes=timedelta(seconds=takes))
    world.clock.move(timedelta(minutes=1))
    handle_tick(world.services, Tick())
    assert len(noted.asked[SLOW]) == calls


def test_a_burst_ends_when_the_calls_of_a_slow_one_have_ended() -> None:
    """A burst waits for its last calls and gives its lease back."""
    world, noted = slow_and_quick(100, 0, takes=timedelta(seconds=9))
    handle_tick(world.services, Tick())
    assert max(at for _, at in noted.asked[SLOW]) - 2 <= BURST.total_seconds()
    assert world.clock.now() - START - timedelta(seconds=2) <= BURST + timedelta(seconds=9)


def test_a_job_that_is_being_asked_for_is_not_asked_for_twice_at_once() -> None:
    """However many looks pass, a job has one call under way."""
    world, noted = slow_and_quick(3, 1, takes=timedelta(seconds=15))
    handle_tick(world.services, Tick())
    assert Counter(job for job, _ in noted.asked[SLOW]).most_common(1)[0][1] <= 50 / 15 + 1


def test_a_hanging_one_is_left_alone_while_others_are_looked_at() -> None:
    """A Task Runner that never answers is called a few times in a burst."""
    world, noted = slow_and_quick(100, 1, takes=timedelta(seconds=10))
    noted.fails = True
    handle_tick(world.services, Tick())
    looks = [at for _, at in noted.asked[TASK_RUNNER_URL]]
    # One that is due in between waits for a fifth of the interval to be over since the look before.
    assert max(later - earlier for earlier, later in pairwise(looks)) <= 10 + 2
    assert len(looks) >= 8
    assert THREADS <= len(noted.asked[SLOW]) <= 5 * THREADS


def test_a_page_asks_a_slow_one_for_ten_seconds() -> None:
    """A page polls a slow Task Runner for ten seconds, and all others' jobs."""
    world, noted = slow_and_quick(100, 20, takes=timedelta(seconds=8))
    now = world.clock.now()
    take_all(world)
    assert len(noted.asked[TASK_RUNNER_URL]) == 20
    assert len(noted.asked[SLOW]) == 2 * THREADS
    assert world.clock.now() == now + timedelta(seconds=16)


def test_pages_ask_a_slow_one_about_other_jobs_each_time() -> None:
    """Pages poll other jobs of a slow Task Runner each time."""
    world, noted = slow_and_quick(40, 0, takes=timedelta(seconds=8))
    for _ in range(3 * 40 // (2 * THREADS)):
        began = world.clock.now()
        take_all(world)
        world.clock.move(began + timedelta(minutes=1) - world.clock.now())
    assert len({job for job, _ in noted.asked[SLOW]}) == 40


@pytest.mark.parametrize("seconds", [1, 3, 7])
def test_a_page_that_the_burst_takes_delays_no_back_off(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that the burst takes does not delay its looks."""
    monkeypatch.setattr(due_steps, "PAGE", 30)
    monkeypatch.setattr(due_steps, "CAPACITY", 30)
    world, noted = slow_and_quick(100, 0, takes=timedelta(seconds=8))
    world.clock.move(timedelta(minutes=3))
    begin_round(world.services, load_round(world.services))
    world.clock.move(PAGE_TIME)
    due_at = world.clock.now() + timedelta(seconds=seconds)
    run_id = world.start(chain(1), run_key="late")
    world.store.commit(
        [Update(path=step_path(run_id, "s0"), fields={"state": "RETRYING", "attempt": 1, "due_at": due_at})]
    )
    world.bus.take_all("steps")
    published: list[datetime] = []
    publish = world.bus.publish

    def noting(messages: Sequence[Message]) -> None:
        published.extend(world.clock.now() for message in messages if message.body["type"] == "step.ready")
        publish(messages)

    monkeypatch.setattr(world.bus, "publish", noting)
    handle_tick(world.services, Tick())
    assert noted.asked[SLOW]
    assert published[0] - due_at <= timedelta(seconds=2)


def take_all(world: World) -> None:
    """Take the page of a new round that holds every step."""
    begin_round(world.services, load_round(world.services))
    for page in world.bus.take_all("tick"):
        handle_tick(world.services, read_tick_event(page.body))
