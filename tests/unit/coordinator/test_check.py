"""The checker's burst, its lease, and its pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from atom_workflows.coordinator import sweep
from atom_workflows.coordinator.check import handle_tick
from atom_workflows.core.states import RunState
from atom_workflows.events import SweepPage, Tick
from atom_workflows.ports import Create
from support.meanwhile import meanwhile
from support.workflows import chain, definition
from support.world import World

BURST = timedelta(seconds=50)


def test_a_burst_looks_every_ten_seconds_while_a_job_is_in_flight() -> None:
    """One tick polls a long job five times within its fifty seconds, and then stops."""
    world = World("default: {duration: 1000}", burst=BURST)
    world.start(chain(1))
    world.settle_down()
    before = world.clock.now()
    handle_tick(world.services, Tick())
    assert len(world.task_runner.polled) == 4
    assert world.clock.now() - before <= BURST


def test_a_burst_ends_when_nothing_is_in_flight() -> None:
    """After a job's end there is one more look, for what that released, and no more."""
    world = World("default: {duration: 5}", burst=BURST)
    world.start(chain(1))
    world.settle_down()
    before = world.clock.now()
    handle_tick(world.services, Tick())
    assert len(world.task_runner.polled) == 4
    assert world.clock.now() - before <= BURST
    world.settle_down()
    reads = world.store.reads
    handle_tick(world.services, Tick())
    assert world.store.reads - reads == 1


def test_a_second_burst_leaves_at_once() -> None:
    """While one instance sweeps, a tick reads the lease and does nothing else."""
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


def test_a_dead_burst_is_followed_by_the_next_ticks() -> None:
    """The lease of an instance that died is over when its burst would have been."""
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


def test_more_due_steps_than_a_page_are_handed_on() -> None:
    """Each sweep takes a page, and an event names the next; together they poll every job once."""
    world = World("default: {duration: 1000}")
    world.start(definition({f"s{i}": [] for i in range(sweep.PAGE + 120)}))
    world.settle_down("steps", "tick")
    world.clock.move(timedelta(seconds=11))
    handle_tick(world.services, Tick())
    assert len(world.task_runner.polled) == sweep.PAGE
    world.settle_down("tick")
    assert len(world.task_runner.polled) == len(set(world.task_runner.polled)) == sweep.PAGE + 120


def test_jobs_that_become_due_one_by_one_are_looked_at_once_a_round() -> None:
    """Forty jobs begun a quarter of a second apart are each polled five times in a burst, not each time one is due."""
    world = World("default: {duration: 1000}", burst=BURST)
    for number in range(40):
        world.start(chain(1), run_key=str(number))
        world.settle_down()
        world.clock.move(timedelta(seconds=0.25))
    handle_tick(world.services, Tick())
    assert 4 <= len(world.task_runner.polled) / 40 <= 6


def test_a_page_that_comes_late_is_left_to_the_next_sweep() -> None:
    """When pages pile up behind a slow Task Runner, those of an earlier sweep are dropped."""
    world = World("default: {duration: 1000}")
    world.start(chain(1))
    world.settle_down()
    world.clock.move(timedelta(seconds=30))
    now = world.clock.now()
    early = (now - timedelta(minutes=5), "runs/a/steps/a")
    handle_tick(world.services, SweepPage(after=early, until=now, valid_until=now - timedelta(seconds=1)))
    assert world.task_runner.polled == []
    handle_tick(world.services, SweepPage(after=early, until=now, valid_until=now))
    assert len(world.task_runner.polled) == 1


class HelpfulClock:
    """A clock in whose sleep dispatchers settle what was published."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return self._world.clock.now()

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        self._world.settle_down("steps")
        self._world.clock.sleep(seconds)


def test_a_job_that_starts_as_a_burst_ends_is_looked_at() -> None:
    """A wake-up that finds the lease still held is dropped, so whoever gives the lease back looks once more."""
    world = World("default: {duration: 5}", burst=BURST)
    world.start(chain(1), run_key="first")
    world.settle_down("steps")
    world.bus.take_all("tick")

    def another_starts() -> None:
        world.clock.move(timedelta(seconds=1))
        world.start(chain(1), run_key="second")
        world.settle_down("steps", "tick")

    def gives_back(name: str, writes: object) -> bool:
        return name == "commit" and "control/checker" in str(writes) and "holder" not in str(writes)

    store = meanwhile(world, gives_back, another_starts)
    handle_tick(replace(world.services, clock=HelpfulClock(world)), Tick())
    assert store.happened
    assert len(set(world.task_runner.polled)) == 2
