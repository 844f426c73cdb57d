"""An outage in the middle of an invocation, or of a burst, costs nothing but time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import CallsInTurn, World
from atom_workflows.coordinator.checker import rounds
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.states import RunState
from atom_workflows.documents import ROUND_PATH, run_path
from atom_workflows.errors import BusUnavailable, StoreUnavailable
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Message, Update, Write, WriteResult
from support.helpful_clock import HelpfulClock
from support.workflows import definition

SECOND = timedelta(seconds=1)


class OneAtATime:
    """Workers that answer each call in a wave of its own."""

    def calls(self, call: Any, *, lane: Any = None) -> Any:  # noqa: ARG002 (there is one lane)
        """See `ports.Workers.calls`."""
        return CallsInTurn(call, at_a_time=1)


@dataclass(slots=True)
class Faltering:
    """A store that fails once, when the state of that step is saved."""

    world: World
    step_id: str
    has_failed: bool = False

    def __getattr__(self, name: str) -> Any:
        """Pass every other call on."""
        return getattr(self.world.store, name)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        ended = any(
            one.path.endswith(f"/{self.step_id}") and getattr(one, "fields", {}).get("state") == "SUCCEEDED"
            for one in writes
        )
        if ended and not self.has_failed:
            self.has_failed = True
            raise StoreUnavailable("no answer in time")
        return self.world.store.commit(writes)


def test_an_outage_of_the_store_leaves_no_claimed_step_behind() -> None:
    """A claimed step is submitted though another outcome cannot be saved."""
    world = World("{default: {duration: 0}}")
    run_id = world.start(definition({"a": [], "b": [], "c": ["b"]}, c={"onLost": "fail"}))
    world.services = replace(world.services, workers=OneAtATime(), store=Faltering(world, "a"))
    for _ in range(60):
        for taken in world.bus.take_all("steps"):
            try:
                world.deliver(taken)
            except StoreUnavailable:
                world.bus.nack(taken)
        world.clock.move(10 * SECOND)
        handle_tick(world.services, Tick())
        if world.run(run_id).state.is_terminal:
            break
    assert world.run(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize("interval_s", [10, 600])
def test_calls_that_begin_too_late_change_nothing(interval_s: int) -> None:
    """Audits that begin too late for their burst are made in a later one."""
    world = World("{default: {duration: 100000}}", burst=50 * SECOND, check_interval=interval_s * SECOND)
    for number in range(3):
        world.start(definition({"a": []}), run_key=str(number))
    world.settle_down("steps")
    world.bus.take_all("tick")
    world.clock.move(70 * SECOND)

    class Slow(Faltering):
        """A store that takes half a minute to read a run."""

        def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> Any:
            """See `ports.Store.get`."""
            if paths[0].startswith("runs/") and paths[0].count("/") == 1:
                world.clock.move(30 * SECOND)
            return world.store.get(paths, fields=fields)

    for _ in range(3):
        handle_tick(replace(world.services, store=Slow(world, ""), clock=HelpfulClock(world)), Tick())


def test_a_time_that_no_clock_counts_spoils_one_run_alone() -> None:
    """A run whose timeout someone set beyond all calendars ends no burst."""
    world = World("{default: {duration: 100000}}", burst=50 * SECOND)
    broken = world.start(definition({"a": []}), run_key="broken")
    world.settle_down("steps")
    world.bus.take_all("tick")
    world.clock.move(timedelta(minutes=2))
    world.store.commit([Update(path=run_path(broken), fields={"timeout_s": 1e15})])
    handle_tick(replace(world.services, clock=HelpfulClock(world)), Tick())


def test_an_outage_of_the_bus_costs_a_page_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's steps are handled though the next page cannot be published."""
    monkeypatch.setattr("atom_workflows.coordinator.checker.due_steps.PAGE", 2)
    world = World("{default: {duration: 20}}")
    runs = [world.start(definition({"a": []}), run_key=str(number)) for number in range(4)]
    world.settle_down("steps")
    world.bus.take_all("tick")
    world.clock.move(timedelta(minutes=3))
    current = rounds.load_round(world.services)
    rounds.begin_round(world.services, current)
    page = rounds.load_round(world.services).page
    assert page is not None

    class Away:
        """A bus that takes no pages."""

        def __getattr__(self, name: str) -> Any:
            """Pass every other call on."""
            return getattr(world.bus, name)

        def publish(self, messages: Sequence[Message]) -> None:
            """See `ports.Bus.publish`."""
            if messages[0].topic == "tick":
                raise BusUnavailable("no answer in time")
            world.bus.publish(messages)

    rounds.handle_page(replace(world.services, bus=Away()), page)
    world.settle_down("steps")
    assert sum(world.run(run_id).state is RunState.SUCCEEDED for run_id in runs) == 2
    assert world.store.get([ROUND_PATH])[0] is not None
