"""What waiting for jobs takes, as rehearsed, is held to the checker's own code in time that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from atom_client.cost.rehearsal import rehearse
from atom_client.cost.usage import Assumptions, Tally
from atom_emulator.testing.world import HelpfulClock, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.language.parser import parse_workflow
from atom_workflows.messages.internal import Tick, TickEvent, TickOrigin, read_tick_event
from atom_workflows.settings import Settings
from support.workflows import chain, fan

TICK_S: Final = 60
MOST_TICKS: Final = 300
FIRST_TICK_S: Final = 30
"""The dispatcher wakes the checker at once; the scheduler is half a minute off, as a rehearsal has it."""


@dataclass(slots=True)
class Watched:
    """A run whose checker is woken like a deployment's; `awake_s` is how long its invocations took."""

    world: World
    began: datetime
    awake_s: float = 0.0

    @classmethod
    def of(cls, text: str, job_s: int, settings: Settings) -> Watched:
        """Play the whole run."""
        script = f"{{default: {{duration: {job_s}}}}}"
        world = World(script, burst=settings.burst, check_interval=settings.check_interval)
        # The scheduler ticks at whole minutes.
        world.clock.move(timedelta(seconds=TICK_S - FIRST_TICK_S))
        watched = cls(world, world.clock.now())
        run_id = watched.world.start(text)
        watched.world.settle_down()
        for _ in range(MOST_TICKS):
            if watched.world.run(run_id).state.is_terminal:
                return watched
            watched.tick(is_scheduled=watched.awake_s > 0)
        raise AssertionError(f"run {run_id} has not ended within {MOST_TICKS} ticks")

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return (self.world.clock.now() - self.began).total_seconds()

    def tick(self, *, is_scheduled: bool) -> None:
        """Wake the checker, then wait for the next tick behind what it does."""
        self.burst(Tick(is_scheduled=is_scheduled))
        for taken in self.world.bus.take_all("tick"):
            self.world.bus.ack(taken)
            if taken.body["origin"] == TickOrigin.BURST:
                self.burst(read_tick_event(taken.body))
        ticks = max(0, (self.now - FIRST_TICK_S) // TICK_S + 1)
        self.world.clock.move(timedelta(seconds=FIRST_TICK_S + ticks * TICK_S - self.now))

    def burst(self, tick: TickEvent) -> None:
        """Handle the tick, and what it leads to."""
        before = self.now
        handle_tick(replace(self.world.services, clock=HelpfulClock(self.world)), tick)
        self.awake_s += self.now - before
        self.world.settle_down()


def rehearsed(text: str, job_s: int, settings: Settings) -> Tally:
    """What the rehearsal says of it."""
    given = Assumptions(job=timedelta(seconds=job_s), new_states=0, settings=settings)
    return rehearse(parse_workflow(text.encode(), filename="flow.yaml"), given)


@pytest.mark.parametrize(
    ("text", "job_s"),
    [(chain(1), 45), (chain(1), 600), (chain(1), 7200), (chain(3), 600), (fan(40), 600)],
    ids=["45 s", "10 min", "2 h", "chain", "fan"],
)
def test_waiting_takes_what_the_checker_takes(text: str, job_s: int) -> None:
    """How long it is awake, what it asks of the Task Runner, and what it reads and writes."""
    real, said = Watched.of(text, job_s, Settings()), rehearsed(text, job_s, Settings())
    assert said.watched_s == pytest.approx(real.awake_s, rel=0.1)
    assert said.polls == pytest.approx(len(real.world.task_runner.polled), rel=0.08, abs=2)
    assert said.reads == pytest.approx(real.world.store.reads, rel=0.2, abs=4)
    assert said.writes == pytest.approx(real.world.store.writes, rel=0.08, abs=3)


def test_a_checker_that_looks_once_a_minute_takes_as_little_as_rehearsed() -> None:
    """With bursts of a second it is hardly awake, and a job's end is seen at the next tick."""
    settings = Settings(burst=timedelta(seconds=1))
    real, said = Watched.of(chain(2), 600, settings), rehearsed(chain(2), 600, settings)
    assert real.awake_s < 30
    assert said.watched_s < 30
    assert said.took_s == pytest.approx(real.now, rel=0.1)
    assert said.polls == pytest.approx(len(real.world.task_runner.polled), abs=5)


@pytest.mark.parametrize("interval_s", [30, 60, 600])
def test_a_longer_interval_takes_as_little_as_rehearsed(interval_s: int) -> None:
    """Jobs of two hours that are looked at seldom keep the checker awake, and reading, as seldom."""
    settings = Settings(check_interval=timedelta(seconds=interval_s))
    real, said = Watched.of(chain(1), 7200, settings), rehearsed(chain(1), 7200, settings)
    assert said.watched_s == pytest.approx(real.awake_s, rel=0.15, abs=30)
    assert said.polls == pytest.approx(len(real.world.task_runner.polled), rel=0.08, abs=2)
    assert said.reads == pytest.approx(real.world.store.reads, rel=0.2, abs=4)
    assert said.writes == pytest.approx(real.world.store.writes, rel=0.15, abs=4)
