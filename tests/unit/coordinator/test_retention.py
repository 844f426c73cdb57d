"""Nothing of a run that is open, or was retried, expires before the run does."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches, limits, seed
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState
from atom_workflows.documents import definition_path, run_path
from atom_workflows.errors import RunStateError
from atom_workflows.messages.internal import ReadyStep, StepsReady, seed_message
from atom_workflows.ports import Update
from support.commands import cancel_run, reopen_run, retry_run
from support.gauge import gauge_events, lose
from support.meanwhile import meanwhile, refuse
from support.mortal import Died, Fate, make_mortal
from support.retention import expire, expiries
from support.workflows import chain, definition, fan

KEEP = timedelta(days=30)
SLOW = "default: {duration: 100000000}"


def outlived(world: World, run_id: str) -> list[str]:
    """Return the paths of what expires before its run does."""
    found = expiries(world)
    own = [path for path in found if path.startswith(f"{run_path(run_id)}/")]
    return [path for path in own if found[path] < found[run_path(run_id)]]


def days(world: World, run_id: str) -> float:
    """Return for how many days the run is kept yet."""
    return (expiries(world)[run_path(run_id)] - world.clock.now()) / timedelta(days=1)


def failed(edges: str | None = None) -> tuple[World, str]:
    """Begin a run with a step that always fails."""
    world = World("rules: [{step: b, always_fail: true}]", keep_runs=KEEP)
    run_id = world.start(edges or definition({"a": [], "b": ["a"], "c": ["b"]}))
    world.run_to_end(run_id)
    return world, run_id


def test_a_retry_keeps_what_succeeded_as_long_as_its_run() -> None:
    """A run that is retried again and again keeps all its documents."""
    world, run_id = failed()
    for _ in range(4):
        world.clock.move(KEEP - timedelta(days=2))
        assert expire(world) == []
        retry_run(world.services, run_id)
        assert outlived(world, run_id) == []
        assert days(world, run_id) == 30
        assert world.run_to_end(run_id).state is RunState.FAILED
        assert outlived(world, run_id) == []
    assert world.submissions() == ["a/1", *(f"b/{number}" for number in range(1, 6))]


def test_a_prompt_retry_writes_nothing_more_than_what_it_resets() -> None:
    """An early retry writes only the steps that it resets."""
    world, run_id = failed()
    world.clock.move(timedelta(days=2.9))
    world.store.written.clear()
    retry_run(world.services, run_id)
    assert world.store.written[f"{run_path(run_id)}/steps/a"] == 0
    assert days(world, run_id) == pytest.approx(27.1, abs=0.01)
    assert outlived(world, run_id) == []


def test_a_run_that_is_about_to_expire_is_not_retried() -> None:
    """A run that will soon be deleted cannot be retried."""
    world, run_id = failed()
    world.clock.move(KEEP - timedelta(minutes=30))
    with pytest.raises(RunStateError, match="will be deleted at 2026-01-31"):
        retry_run(world.services, run_id)
    assert world.run(run_id).state is RunState.FAILED


def test_the_definition_of_a_large_run_is_kept_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large run's definition is kept for its retry."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    world = World(keep_runs=KEEP)
    plain = world.services
    make_mortal(world, Fate(fatal=3))
    with pytest.raises(Died):
        world.start(chain(10))
    world.services = plain
    run_id = run_id_for("flow.yaml", "key", "test")
    cancel_run(world.services, run_id)
    world.clock.move(timedelta(days=28))
    reopen_run(Outbox(world.services), run_id)
    make_mortal(world, Fate(fatal=11))
    with pytest.raises(Died):
        seed.resume(Outbox(world.services), run_id)
    world.services = plain
    assert expiries(world)[definition_path(run_id)] > world.clock.now() + timedelta(days=29)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert outlived(world, run_id) == []


def test_a_definition_that_cannot_be_renewed_just_now_keeps_the_runs_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused write is no sign that a run has no definition: the run's own date waits for a later renewal."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    world = World(SLOW, keep_runs=KEEP)
    run_id = world.start(fan(10).replace('"id": "root"', '"timeout": "7d", "retry": {"maxAttempts": 9}, "id": "root"'))
    world.settle_down()
    path = definition_path(run_id)
    contended = refuse(world, lambda writes: any(write.path == path for write in writes))
    world.clock.move(timedelta(days=16))
    world.bus.publish([seed_message(run_id)])
    world.settle_down("start")
    assert contended.happened
    assert outlived(world, run_id) == []
    assert days(world, run_id) < 15
    world.bus.publish([seed_message(run_id)])
    world.settle_down("start")
    assert outlived(world, run_id) == []
    assert days(world, run_id) > 15


@pytest.mark.parametrize("fatal", range(1, 13))
@pytest.mark.parametrize("after", [False, True])
def test_a_retry_that_dies_leaves_nothing_that_its_run_outlives(
    fatal: int, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """No document expires before its run, whichever call kills a retry."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    world, run_id = failed(definition({"a": [], "x": ["a"], "y": ["x"], "b": ["y"], "c": ["b"]}))
    world.clock.move(timedelta(days=28))
    plain = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        retry_run(world.services, run_id)
    world.services = plain
    assert outlived(world, run_id) == []
    if world.run(run_id).state is RunState.FAILED:
        retry_run(world.services, run_id)
    world.run_to_end(run_id)
    assert outlived(world, run_id) == []
    assert days(world, run_id) > 29


def test_a_retry_renews_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry renews steps in parts, and the run last."""
    monkeypatch.setattr(limits, "MAX_WRITTEN", 300)
    world, run_id = failed(definition({f"s{number}": [] for number in range(1_000)} | {"b": []}))
    world.clock.move(timedelta(days=28))
    reopen_run(Outbox(world.services), run_id)
    world.bus.publish([seed_message(run_id)])
    gauges = gauge_events(world, "start")
    assert len(gauges) >= 3
    assert max(gauge.written for gauge in gauges) <= 300 + 251
    assert outlived(world, run_id) == []
    assert days(world, run_id) == 30


def test_a_run_that_is_open_for_longer_than_runs_are_kept_loses_nothing() -> None:
    """The audit renews an open run, which outlives none of its documents."""
    world = World(SLOW, keep_runs=KEEP)
    run_id = world.start(
        definition({"train": [], "next": ["train"]}, train={"timeout": "7d", "retry": {"maxAttempts": 20}})
    )
    world.settle_down()
    writes = 0
    for _ in range(120):
        world.clock.move(timedelta(days=1))
        before = expiries(world)
        world.tick()
        writes += expiries(world) != before
        assert expire(world) == []
        assert outlived(world, run_id) == []
    assert world.run(run_id).state is RunState.RUNNING
    assert writes == 7
    assert len(world.submissions()) >= 13


def test_a_run_is_renewed_though_the_checker_slept_for_long() -> None:
    """Two weeks without a tick cost no document."""
    world = World(SLOW, keep_runs=KEEP)
    run_id = world.start(definition({"train": []}, train={"timeout": "7d", "retry": {"maxAttempts": 20}}))
    world.settle_down()
    world.clock.move(timedelta(days=29))
    assert expire(world) == []
    world.tick()
    assert days(world, run_id) >= 15


def test_a_renewal_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal is done in parts, and the run comes last."""
    monkeypatch.setattr(limits, "MAX_WRITTEN", 300)
    world = World(SLOW, keep_runs=KEEP)
    run_id = world.start(
        fan(1_000).replace('"id": "root"', '"timeout": "7d", "retry": {"maxAttempts": 9}, "id": "root"')
    )
    world.settle_down()
    for _ in range(15):
        world.clock.move(timedelta(days=1))
        world.tick()
    world.clock.move(timedelta(hours=1))
    world.bus.publish([seed_message(run_id)])
    lose(world, "steps")
    gauges = gauge_events(world, "start")
    assert len(gauges) >= 3
    assert max(gauge.written for gauge in gauges) <= 300 + 201
    assert outlived(world, run_id) == []
    assert min(expiries(world).values()) == max(expiries(world).values())
    assert 29 < days(world, run_id) < 31


def test_a_renewal_takes_no_step_from_whoever_is_at_it() -> None:
    """A renewal leaves alone a step that is being submitted."""
    world = World(SLOW, keep_runs=KEEP)
    run_id = world.start(chain(2))
    world.clock.move(timedelta(days=15.1))
    world.bus.publish([seed_message(run_id)])
    [taken] = world.bus.take_all("start")

    def renew() -> None:
        world.deliver(taken)

    store = meanwhile(world, lambda name, writes: name == "commit" and "RUNNING" in str(writes), renew)
    handle_steps(world.services, StepsReady(run_id=run_id, steps=(ReadyStep(step_id="s0"),)))
    assert store.happened
    assert world.states(run_id)["s0"] == "RUNNING"
    assert world.submissions() == ["s0/1"]
    assert outlived(world, run_id) == []
    assert days(world, run_id) < 15
    world.bus.publish([seed_message(run_id)])
    world.settle_down("start")
    assert days(world, run_id) > 29


def test_a_run_is_renewed_though_no_task_runner_accepts_its_jobs() -> None:
    """A step that waits to be submitted again is renewed."""
    world = World(f"default: {{submit_errors: {[429] * 9}}}", keep_runs=KEEP)
    run_id = world.start(chain(2))
    world.settle_down("steps")
    assert world.states(run_id)["s0"] == "DISPATCHING"
    world.clock.move(timedelta(days=15.1))
    world.bus.publish([seed_message(run_id)])
    world.settle_down("start")
    assert outlived(world, run_id) == []
    assert days(world, run_id) > 29


@pytest.mark.parametrize("fatal", range(1, 11))
@pytest.mark.parametrize("after", [False, True])
def test_a_renewal_that_dies_is_made_by_the_next_audit(fatal: int, *, after: bool) -> None:
    """Whichever call kills it, no document's date is before its run's."""
    world = World(SLOW, keep_runs=KEEP)
    run_id = world.start(chain(3))
    world.settle_down("steps")
    world.clock.move(timedelta(days=15.1))
    world.store.commit([Update(path=f"{run_path(run_id)}/steps/s0", fields={"claimed_at": world.clock.now()})])
    world.bus.publish([seed_message(run_id)])
    [taken] = world.bus.take_all("start")
    world.bus.ack(taken)
    plain = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        world.deliver(taken)
    world.services = plain
    assert outlived(world, run_id) == []
    world.clock.move(timedelta(minutes=6))
    world.tick()
    assert outlived(world, run_id) == []
    assert days(world, run_id) > 29


def test_a_cancelled_retry_leaves_nothing_that_its_run_outlives() -> None:
    """A run that is cancelled before its renewal ended keeps its date."""
    world, run_id = failed()
    world.clock.move(timedelta(days=28))
    reopen_run(Outbox(world.services), run_id)
    cancel_run(world.services, run_id)
    assert outlived(world, run_id) == []
    retry_run(world.services, run_id)
    assert outlived(world, run_id) == []
    assert days(world, run_id) == 30
