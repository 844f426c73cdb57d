"""Whatever a run of 10,000 steps needs, no invocation takes more than its budget: the rest is handed on.

Most runs here are a quarter as large, and so are their budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import limits
from atom_workflows.coordinator.checker.audit import audit_run
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.commits import MAX_WRITES
from atom_workflows.coordinator.loading import PAGE, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.messages.internal import Tick, seed_message
from atom_workflows.ports import Document, Query, Update, Write, WriteResult
from atom_workflows.run_documents import stop_fields
from support.commands import cancel_run, reopen_run, retry_run
from support.gauge import Gauge, gauge_events, gauged, lose
from support.workflows import chain, definition, fan

SIZE = 10_000
QUARTER = SIZE // 4

LOOK_CALLS = 20
LOOK_DOCUMENTS = 200
"""What a look at one run may take of the checker, which has many to look at."""


@pytest.fixture
def quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let invocations take a quarter of what they may."""
    monkeypatch.setattr(limits, "MAX_CALLS", limits.MAX_CALLS // 4)
    monkeypatch.setattr(limits, "MAX_WRITTEN", limits.MAX_WRITTEN // 4)


def within_budget(gauges: Sequence[Gauge], size: int) -> bool:
    """Return True if every invocation for a run of that size kept to its budget.

    It may overdraw it by a call or a commit, and read the run, with the barriers of a wide graph, once.
    """
    return all(
        gauge.calls <= limits.MAX_CALLS + 10
        and gauge.written <= limits.MAX_WRITTEN + MAX_WRITES
        and gauge.read <= limits.MAX_WRITTEN + size + size // 25
        and gauge.at_once <= PAGE
        for gauge in gauges
    )


def looks(world: World) -> Gauge:
    """Measure a tick of the checker, and hold it to its bounds."""
    gauge = gauged(world, lambda: handle_tick(world.services, Tick()))
    assert gauge.calls <= LOOK_CALLS
    assert gauge.read <= LOOK_DOCUMENTS
    assert gauge.written <= LOOK_DOCUMENTS
    return gauge


def wide(size: int, **fields: str) -> str:
    """Define steps that wait for nothing."""
    named = "".join(f'"{name}": "{value}", ' for name, value in fields.items())
    return definition({f"s{number}": [] for number in range(size)}).replace('"name"', f'{named}"name"', 1)


def require_skips(workflow: str, size: int) -> None:
    """Let the first step fail, and require invocations that skip the others within their budgets."""
    world = World("rules: [{step: s0, always_fail: true}, {step: root, always_fail: true}]")
    run_id = world.start(workflow)
    gauges = gauge_events(world, "steps")
    assert within_budget(gauges, size)
    assert len(gauges) > 1
    assert world.run(run_id).state == "FAILED"
    assert sorted(world.states(run_id).values()) == ["FAILED", *["SKIPPED"] * (size - 1)]


def test_skips_are_handed_on() -> None:
    """A cascade of skips is shared by as many invocations as it takes."""
    require_skips(fan(SIZE - 2), SIZE)


@pytest.mark.usefixtures("quarter")
def test_skips_of_a_chain_are_handed_on() -> None:
    """A cascade from step to step is shared, too."""
    require_skips(chain(QUARTER), QUARTER)


def test_a_cascade_ends_with_the_time_of_its_invocation() -> None:
    """A cascade stops when the time of its invocation is over."""
    world = World("rules: [{step: s0, always_fail: true}]", inline_budget=timedelta(0))
    run_id = world.start(chain(5))
    gauges = gauge_events(world, "steps")
    assert max(gauge.written for gauge in gauges) <= 5
    assert len(gauges) == 5
    assert world.run(run_id).state == "FAILED"


@pytest.mark.usefixtures("quarter")
def test_closing_is_handed_on() -> None:
    """A large run is closed in parts by the start function."""
    world = World("default: {duration: 360000}")
    run_id = world.start(wide(QUARTER, timeout="1h"))
    lose(world, "steps")
    world.clock.move(timedelta(hours=1, seconds=1))
    looks(world)
    assert world.run(run_id).stop is not None
    gauges = gauge_events(world)
    assert within_budget(gauges, QUARTER)
    assert len(gauges) > 1
    assert world.run(run_id).state == "FAILED"
    assert set(world.states(run_id).values()) == {"SKIPPED"}


def test_a_look_leaves_a_run_that_is_being_closed_to_others() -> None:
    """A run that is being closed is due again after a minute."""
    world = World("default: {duration: 360000}")
    run_id = world.start(wide(300, timeout="1h"))
    lose(world, "steps")
    world.clock.move(timedelta(hours=1, seconds=1))
    looks(world)
    assert lose(world, "start") == 1
    assert looks(world).written == 0
    world.clock.move(timedelta(seconds=61))
    looks(world)
    world.settle_down()
    assert world.run(run_id).state == "FAILED"


def test_a_command_closes_the_whole_run() -> None:
    """`runs cancel` returns when the run has ended."""
    world = World("default: {duration: 360000}")
    run_id = world.start(wide(1_000))
    cancel_run(world.services, run_id)
    assert world.run(run_id).state == "CANCELLED"
    assert not world.bus.take_all("start")


def test_lost_events_of_many_steps_are_published_by_others() -> None:
    """An audit publishes a few released steps, and the start function the others."""
    world = World()
    world.start(wide(2_000))
    lost = lose(world, "steps")
    world.clock.move(timedelta(seconds=61))
    looks(world)
    assert within_budget(gauge_events(world, "start"), 2_000)
    published = [step["id"] for message in world.bus.take_all("steps") for step in message.body["steps"]]
    assert len(published) == len(set(published)) == 2_000
    assert lost == 200


def test_publishing_is_handed_on() -> None:
    """Released steps that a start has no time for are published by others, once."""
    world = World(inline_budget=timedelta(0))
    world.start(wide(1_200))
    gauges = gauge_events(world, "start")
    assert [gauge.read for gauge in gauges] == [1 + 500, 1 + 200]
    published = [step["id"] for message in world.bus.take_all("steps") for step in message.body["steps"]]
    assert len(published) == len(set(published)) == 1_200


@pytest.mark.usefixtures("quarter")
def test_a_contradiction_among_many_steps_is_repaired_by_the_start_function() -> None:
    """The start function repairs contradictions that the checker finds."""
    world = World()
    run_id = world.start(chain(QUARTER))
    lose(world, "steps")
    world.store.commit([Update(path=f"runs/{run_id}/steps/s0", fields={"remaining": 5})])
    world.clock.move(timedelta(seconds=61))
    looks(world)
    assert within_budget(gauge_events(world, "start"), QUARTER)
    assert world.steps(run_id)["s0"].remaining == 0
    assert world.bus.take_all("steps")


def test_a_look_at_a_run_that_goes_well_takes_four_calls() -> None:
    """An audit of a healthy run takes four calls."""
    world = World("default: {duration: 360000}")
    run_id = world.start(wide(300))
    world.settle_down("steps")
    world.clock.move(timedelta(seconds=61))
    [end] = load_steps(world.services, run_id, ["~end"])
    gauge = gauged(world, lambda: audit_run(Outbox(world.services), end))
    assert (gauge.calls, gauge.read, gauge.written) == (4, 2, 1)


def test_resetting_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry resets its steps in parts, dependents first."""
    monkeypatch.setattr(limits, "MAX_WRITTEN", 400)
    world = World("rules: [{step: root, fail_times: 1}]")
    run_id = world.start(fan(1_000))
    world.run_to_end(run_id)
    reopen_run(Outbox(world.services), run_id)
    world.bus.publish([seed_message(run_id)])
    gauges = gauge_events(world, "start")
    assert len(gauges) >= 3
    assert max(gauge.written for gauge in gauges) <= 400 + MAX_WRITES + 1
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert len(world.submissions()) == 1_003


def test_a_command_retries_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs retry` returns when the run is RUNNING."""
    monkeypatch.setattr(limits, "MAX_WRITTEN", 400)
    world = World("rules: [{step: root, fail_times: 1}]")
    run_id = world.start(fan(1_000))
    world.run_to_end(run_id)
    retry_run(world.services, run_id)
    assert world.run(run_id).state == "RUNNING"


class SlowStore:
    """A store each of whose calls takes longer than an invocation may go on."""

    def __init__(self, world: World) -> None:
        self._world, self._inner = world, world.services.store

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        self._world.clock.move(timedelta(seconds=25))
        return self._inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self._world.clock.move(timedelta(seconds=25))
        return self._inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        self._world.clock.move(timedelta(seconds=25))
        return self._inner.query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self._inner.count(query)


def stopped() -> tuple[World, str]:
    """Begin a run that is to be closed."""
    world = World("default: {duration: 360000}")
    run_id = world.start(wide(500))
    lose(world, "steps")
    stop = Stop(kind=StopKind.CANCEL, reason="asked", requested_at=world.clock.now())
    world.store.commit([Update(path=f"runs/{run_id}", fields={"stop": stop_fields(stop)})])
    return world, run_id


def retried() -> tuple[World, str]:
    """Begin a run that is to be reset and renewed."""
    world = World("rules: [{step: b, fail_times: 1}]")
    run_id = world.start(definition({f"a{number}": [] for number in range(500)} | {"b": []} | {"c": ["b"], "d": ["c"]}))
    world.run_to_end(run_id)
    world.clock.move(timedelta(days=80))
    reopen_run(Outbox(world.services), run_id)
    return world, run_id


def miscounted() -> tuple[World, str]:
    """Begin a run that stands still, as all counters are wrong."""
    world = World()
    run_id = world.start(wide(60))
    lose(world, "steps")
    writes = [Update(path=f"runs/{run_id}/steps/s{number}", fields={"remaining": 5}) for number in range(60)]
    world.store.commit(writes)
    return world, run_id


@pytest.mark.parametrize("begin", [stopped, retried, miscounted])
def test_every_invocation_gets_on_with_a_slow_store(begin: Callable[[], tuple[World, str]]) -> None:
    """Each invocation does a part, however slow the store is."""
    world, run_id = begin()
    fast = world.services
    for _ in range(30):
        world.services = replace(fast, store=SlowStore(world))
        world.bus.publish([seed_message(run_id)])
        [taken, *_] = world.bus.take_all("start")
        world.deliver(taken)
        lose(world, "start")
        world.services = fast
        world.settle_down("steps")
    assert world.run(run_id).state == ("CANCELLED" if begin is stopped else "SUCCEEDED")
