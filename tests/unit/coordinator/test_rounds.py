"""More due steps than a burst can remember: rounds of pages that several instances share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.checker import due_steps, rounds
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.due_handler import DueHandler
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.documents import ROUND_PATH, step_path
from atom_workflows.messages.internal import SweepPage, Tick, read_tick_event
from atom_workflows.ports import Bus, Create, Document, JobAnswer, Message, Query, StopAnswer, Store
from support.helpful_clock import HelpfulClock

pytestmark = pytest.mark.usefixtures("small_sizes")

BURST = timedelta(seconds=50)
MINUTE = timedelta(minutes=1)
JOBS = 230
PAGE = 50
POLICIES = {
    "timeout_s": 360_000.0,
    "max_attempts": 1,
    "backoff_initial_s": 10.0,
    "backoff_factor": 2.0,
    "backoff_max_s": 600.0,
    "backoff_jitter": 0.0,
    "on_lost": "retry",
}


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fifty steps be as many as a thousand are."""
    monkeypatch.setattr(due_steps, "PAGE", PAGE)
    monkeypatch.setattr(due_steps, "CAPACITY", PAGE)


@dataclass(slots=True)
class Asked:
    """A Task Runner whose jobs never end, and the seconds at which each was asked about."""

    world: World
    at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.world.task_runner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:  # noqa: ARG002 (there is but one)
        """See `ports.TaskRunner.status`."""
        self.at[job_id].append((self.world.clock.now() - START).total_seconds())
        return JobAnswer(job_id=job_id, state="RUNNING")

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.world.task_runner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.world.task_runner.look_up(base_url, idempotency_key)


def put_in_flight(world: World, jobs: int, *, age: timedelta, run_id: str = "crowd", **fields: Any) -> None:
    """Write the documents of jobs that began so long ago.

    Each began a tenth of a second after the one before.
    """
    began = world.clock.now() - age
    creates = [
        Create(
            path=step_path(run_id, f"s{number:05}"),
            fields={
                "schema": 1,
                "state": "RUNNING",
                "attempt": 1,
                "job_id": f"j{number}",
                "job_state": "RUNNING",
                "remaining": 0,
                "task": "{}",
                "task_runner_url": "http://task-runner.test",
                "claimed_at": began,
                "due_at": began + timedelta(seconds=number / 10),
                "policies": POLICIES,
                **fields,
            },
        )
        for number in range(jobs)
    ]
    for start in range(0, jobs, 200):
        world.store.inner.commit(creates[start : start + 200])


def crowded(jobs: int = JOBS, age: timedelta = timedelta(hours=1)) -> tuple[World, Asked]:
    """Return a world with more jobs in flight than a burst can remember."""
    world = World(burst=BURST)
    asked = Asked(world)
    put_in_flight(world, jobs, age=age)
    world.services = replace(world.services, task_runner=asked)
    return world, asked


def tick_each_minute(world: World, minutes: int, clock: HelpfulClock | None) -> None:
    """Tick each minute, and take pages in between if there is such a clock."""
    for _ in range(minutes):
        tick_at = world.clock.now() + MINUTE
        handle_tick(replace(world.services, clock=clock or world.clock), Tick())
        while clock and (pages := world.bus.take_all("tick")):
            for page in pages:
                world.deliver(page)
        world.clock.move(max(timedelta(0), tick_at - world.clock.now()))


def test_a_round_asks_about_every_job_once() -> None:
    """A round reads and polls every old job once a minute."""
    world, asked = crowded()
    reads = world.store.reads
    tick_each_minute(world, 1, HelpfulClock(world, "tick"))
    assert {len(times) for times in asked.at.values()} == {1}
    assert len(asked.at) == JOBS
    # Besides: what did not fit, the leases, the rounds over young jobs, of which there are none.
    assert world.store.reads - reads < JOBS + PAGE + 60


def test_a_round_outlives_bursts_that_have_no_time_for_it() -> None:
    """The last steps of a round get their turn as often as the first."""
    world, asked = crowded()
    for _ in range(15):
        handle_tick(replace(world.services, settings=replace(world.services.settings, burst=timedelta(1e-6))), Tick())
        pages = world.bus.take_all("tick")
        if pages:
            world.deliver(pages[0])
        world.bus.take_all("tick")
        world.clock.move(MINUTE)
    counts = Counter({job: len(times) for job, times in asked.at.items()})
    assert len(counts) == JOBS
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_burst_takes_pages_that_no_one_takes() -> None:
    """A single instance polls every job within two minutes."""
    world, asked = crowded()
    tick_each_minute(world, 6, None)
    assert len(asked.at) == JOBS
    gaps = [after - before for times in asked.at.values() for before, after in pairwise(times)]
    assert max(gaps) <= 120


@pytest.mark.parametrize("seconds", [1, 9, 23, 44])
def test_a_crowd_delays_no_back_off_of_another_run(seconds: int) -> None:
    """A step whose back-off ends is not delayed by a crowd."""
    world, _ = crowded()
    due_at = world.clock.now() + timedelta(seconds=seconds)
    put_in_flight(world, 1, age=timedelta(0), run_id="small", state="RETRYING", due_at=due_at)
    published: list[datetime] = []

    class Watching(HelpfulClock):
        """A clock that sees in its sleeps what was published, and takes pages."""

        def sleep(self, seconds: float) -> None:
            """See `ports.Clock.sleep`."""
            if any(one.body["type"] == "step.ready" for one in world.bus.take_all("steps")):
                published.append(world.clock.now())
            super().sleep(seconds)

    watching = Watching(world, "tick")
    handle_tick(replace(world.services, clock=watching), Tick())
    watching.sleep(0)
    assert published[0] - due_at <= timedelta(seconds=10)


class ReadingUntilPublished:
    """A store and a bus: the queries for due steps before a step is handed to a dispatcher."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.queries = 0
        self.before: list[int] = []

    def __getattr__(self, name: str) -> Any:
        """Everything else of a store."""
        return getattr(self._world.store, name)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        self.queries += query.group
        return self._world.store.query(query)

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.before += [self.queries for message in messages if message.body["type"] == "step.ready"]
        self._world.bus.publish(messages)


@pytest.mark.parametrize(("seconds", "fresh"), [(55, 0), (41, 10 * PAGE)])
def test_a_back_off_that_ends_between_bursts_waits_for_no_reading_of_a_crowd(seconds: int, fresh: int) -> None:
    """A back-off that ends between bursts is published by the next look."""
    world, _ = crowded(20 * PAGE, age=2 * MINUTE)
    tick_each_minute(world, 1, None)
    put_in_flight(
        world, 1, age=timedelta(0), run_id="small", state="RETRYING", due_at=START + timedelta(seconds=seconds)
    )
    put_in_flight(world, fresh, age=timedelta(0), run_id="fresh", due_at=START + timedelta(seconds=seconds + 1))
    reading = ReadingUntilPublished(world)
    handle_tick(replace(world.services, store=cast(Store, reading), bus=cast(Bus, reading)), Tick())
    # Is anything due, does it fit, what has become due.
    assert reading.before[0] == 3


def test_a_crowd_that_ends_lets_the_burst_end() -> None:
    """With few jobs left the burst remembers all of them and ends."""
    world, asked = crowded()

    class Ending(HelpfulClock):
        """A clock in whose sleep most of the jobs end."""

        def sleep(self, seconds: float) -> None:
            """See `ports.Clock.sleep`."""
            world.store.inner.delete(*(step_path("crowd", f"s{n:05}") for n in range(JOBS - 10)))
            super().sleep(seconds)

    handle_tick(replace(world.services, clock=Ending(world, "tick")), Tick())
    assert world.clock.now() - START <= BURST / 2
    assert {f"j{number}" for number in range(JOBS - 10, JOBS)} <= asked.at.keys()


def test_a_long_burst_goes_through_everything_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old jobs are polled once a minute, even in a long burst."""
    world, asked = crowded()
    monkeypatch.setattr(
        world, "services", replace(world.services, settings=replace(world.services.settings, burst=5 * MINUTE))
    )
    handle_tick(replace(world.services, clock=HelpfulClock(world, "tick")), Tick())
    assert {len(times) for times in asked.at.values()} == {5}


def test_young_jobs_are_asked_about_several_times_a_minute() -> None:
    """Young jobs are polled several times a minute."""
    _, asked = young = crowded(age=timedelta(seconds=20))
    tick_each_minute(young[0], 1, HelpfulClock(young[0], "tick"))
    assert min(len(times) for times in asked.at.values()) >= 4


def test_a_page_that_comes_again_is_dropped() -> None:
    """A page is handled once, however often its event comes."""
    world, asked = crowded()
    world.store.inner.commit([Create(path=ROUND_PATH, fields={"schema": 1, "at": START})])
    rounds.begin_round(world.services, rounds.load_round(world.services))
    (first,) = world.bus.take_all("tick")
    page = read_tick_event(first.body)
    for _ in range(3):
        handle_tick(world.services, page)
    assert len(asked.at) == PAGE
    assert len(world.bus.take_all("tick")) == 1
    handle_tick(world.services, SweepPage(after=(START, "runs/r/steps/s"), until=START))
    assert len(asked.at) == PAGE


def test_a_round_that_an_older_version_noted_is_over() -> None:
    """The first version's round document begins a new round."""
    world, asked = crowded()
    world.store.inner.commit([Create(path=ROUND_PATH, fields={"schema": 1, "over": START})])
    tick_each_minute(world, 1, HelpfulClock(world, "tick"))
    assert len(asked.at) == JOBS


@pytest.mark.parametrize("fields", [{"until": None}, {"at": START + timedelta(hours=1)}])
def test_a_round_goes_on_whatever_was_written_of_it(fields: Mapping[str, Any]) -> None:
    """An invalid round document does not stop rounds."""
    world, asked = crowded()
    page = {"next_due_at": START - timedelta(hours=1), "next_path": "runs/0/steps/0", "until": START, "at": START}
    written = {name: value for name, value in {"schema": 1, **page, **fields}.items() if value is not None}
    world.store.inner.commit([Create(path=ROUND_PATH, fields=written)])
    tick_each_minute(world, 3, None)
    assert len(asked.at) == JOBS


@pytest.mark.parametrize("end", [True, False])
def test_a_burst_remembers_no_more_than_it_has_room_for(*, end: bool) -> None:
    """A burst remembers a limited number of steps."""
    known = due_steps.InFlight()
    world = World()
    put_in_flight(world, 300, age=timedelta(minutes=1))
    taken = 0
    for page in pages(world):
        known.learn(page, since=START, now=START)
        taken += len(known.take_due(START + MINUTE)) if end else 0
        assert len(list(known.looks())) <= PAGE
    assert known.is_full is not end
    assert taken == (300 if end else 0)


def test_a_burst_keeps_no_more_calls_waiting_than_it_has_room_for() -> None:
    """A burst keeps a limited number of calls waiting."""
    world, _ = crowded()
    known = due_steps.InFlight()
    handler = DueHandler(world.services, known)
    begun = 0
    for page in pages(world):
        known.learn(page, since=START + MINUTE, now=START, pending=handler.pending)
        taken = known.take_due(START + MINUTE)
        handler.begin(taken, START + MINUTE)
        begun += len(taken)
    assert begun == PAGE
    assert known.is_full
    handler.take_all_answers()
    assert len(list(known.looks())) == PAGE


def pages(world: World) -> Iterator[list[StoredStep]]:
    """Yield all that is due within a minute, as a burst reads it."""
    after: due_steps.Cursor | None = due_steps.place_of(due_steps.BEGINNING)
    while after is not None:
        page, after = due_steps.read_due(world.services, until=START + MINUTE, after=after)
        yield page
