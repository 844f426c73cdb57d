"""More due steps than a page: rounds of pages that several instances take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from atom_workflows.coordinator import sweep
from atom_workflows.coordinator.check import handle_tick
from atom_workflows.events import SweepPage, Tick
from support.workflows import chain, definition
from support.world import HelpfulClock, World

BURST = timedelta(seconds=50)


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


def test_only_the_first_round_of_a_crowded_burst_asks_for_every_job() -> None:
    """With more jobs than a page, later rounds neither ask for jobs that have run for long nor read them."""
    world = crowded(timedelta(hours=1))
    reads = world.store.reads
    handle_tick(replace(world.services, clock=HelpfulClock(world, "tick")), Tick())
    polls = Counter(world.task_runner.polled)
    assert len(polls) == polls.total() == sweep.PAGE + 120
    assert world.store.reads - reads < 1.2 * len(polls)


def test_a_round_begins_when_the_one_before_is_through() -> None:
    """While no instance takes a round's second page, no other round begins; pages at the end have their turn."""
    world = crowded(timedelta(seconds=11))
    handle_tick(world.services, Tick())
    assert len(world.task_runner.polled) == sweep.PAGE
    (page,) = world.bus.take_all("tick")
    assert page.body["since"] is None
    world = crowded(timedelta(seconds=11))
    handle_tick(replace(world.services, clock=HelpfulClock(world, "tick")), Tick())
    assert set(Counter(world.task_runner.polled).values()) <= {4, 5}


def crowded(age: timedelta) -> World:
    """More than a page of jobs in flight, of that age."""
    world = World("default: {duration: 100000}")
    world.start(definition({f"s{i}": [] for i in range(sweep.PAGE + 120)}))
    world.settle_down("steps", "tick")
    world.task_runner.polled.clear()
    world.clock.move(age)
    world.services = replace(world.services, settings=replace(world.services.settings, burst=BURST))
    return world


def test_a_page_that_comes_late_is_left_to_the_next_burst() -> None:
    """When pages pile up behind a slow Task Runner, those of an earlier burst are dropped."""
    world = World("default: {duration: 1000}")
    world.start(chain(1))
    world.settle_down()
    world.clock.move(timedelta(seconds=30))
    now = world.clock.now()
    early = (now - timedelta(minutes=5), "runs/a/steps/a")
    late = now - timedelta(seconds=1)
    handle_tick(world.services, SweepPage(after=early, until=now, valid_until=late))
    assert world.task_runner.polled == []
    handle_tick(world.services, SweepPage(after=early, until=now, valid_until=now + BURST))
    assert len(world.task_runner.polled) == 1
