"""Documents that contradict each other are found, and fixed or reported."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.repair import examine
from atom_workflows.core.consistency import Flaw
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.meanwhile import meanwhile
from support.workflows import chain, definition, fan

DIAMOND = definition({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})


def begun(workflow: str = DIAMOND, script: str = "default: {duration: 1000}") -> tuple[World, str]:
    """Return a world with a run whose first steps run."""
    world = World(script)
    run_id = world.start(workflow)
    world.settle_down()
    return world, run_id


def falsify(world: World, run_id: str, step_id: str, **fields: Any) -> None:
    """Write to a step's document what no one should write."""
    world.store.inner.commit([Update(path=step_path(run_id, step_id), fields=fields)])


def delete(world: World, run_id: str, step_id: str) -> None:
    """Delete a step's document."""
    world.store.inner.delete(step_path(run_id, step_id))


@pytest.mark.parametrize("wrong", [{"remaining": 3}, {"remaining": 1}, {"unsuccessful": 1}, {"remaining": -1}])
def test_a_wrong_counter_does_not_hold_up_a_run(wrong: dict[str, int]) -> None:
    """A run with a wrong counter ends as if it were right."""
    world = World("default: {duration: 15}")
    run_id = world.start(DIAMOND)
    falsify(world, run_id, "d", **{name: value + (2 if name == "remaining" else 0) for name, value in wrong.items()})
    assert examine(world.services, run_id, fixing=True).fixed
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert sorted(world.submissions()) == ["a/1", "b/1", "c/1", "d/1"]


@pytest.mark.parametrize("workflow", [DIAMOND, chain(3), fan(40)], ids=["diamond", "chain", "fan"])
def test_the_audit_mends_a_counter_that_holds_up_its_run(workflow: str) -> None:
    """The audit corrects a counter that stops its run."""
    world, run_id = begun(workflow, "default: {duration: 5}")
    for name, step in world.steps(run_id).items():
        if step.remaining:
            falsify(world, run_id, name, remaining=step.remaining + 1)
    assert world.run_to_end(run_id, within=timedelta(minutes=40)).state is RunState.SUCCEEDED
    assert len(world.submissions()) == len(world.states(run_id))


def test_a_run_that_goes_well_is_not_read_as_a_whole() -> None:
    """An audit reads few documents while something is under way."""
    world, run_id = begun(fan(100))
    world.clock.move(timedelta(seconds=61))
    reads = world.store.reads
    world.tick()
    assert world.store.reads - reads < 10
    assert world.run(run_id).state is RunState.RUNNING


def test_a_run_whose_documents_were_deleted_ends_failed() -> None:
    """A run with a deleted step ends FAILED with the reason."""
    world, run_id = begun(script="default: {duration: 5}")
    delete(world, run_id, "d")
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert "step d is missing" in run.errors[0]["message"]


@pytest.mark.parametrize("gone", ["b", "d"])
def test_a_retry_passes_over_no_step_whose_document_was_deleted(gone: str) -> None:
    """A retried run with a deleted step ends FAILED again."""
    world, run_id = begun(script="default: {duration: 5}")
    delete(world, run_id, gone)
    assert world.run_to_end(run_id).state is RunState.FAILED
    retry_run(world.services, run_id)
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert f"step {gone} is missing" in run.errors[0]["message"]
    assert "d/1" not in world.submissions()


def test_a_run_without_an_end_can_be_cancelled() -> None:
    """A run whose end was deleted can be cancelled."""
    world, run_id = begun()
    delete(world, run_id, "~end")
    found = examine(world.services, run_id, fixing=True).found
    assert [finding.flaw for finding in found] == [Flaw.MISSING]
    cancel_run(world.services, run_id)
    assert world.run(run_id).state is RunState.CANCELLED
    assert set(world.states(run_id).values()) == {"CANCELLED"}


def test_a_step_that_nobody_would_look_at_is_due_again() -> None:
    """A step under way without a due time gets one, as does a run's end."""
    world, run_id = begun()
    for name in ("a", "~end"):
        falsify(world, run_id, name, due_at=None)
    examination = examine(world.services, run_id, fixing=True)
    assert {finding.step_id for finding in examination.fixed} == {"a", "~end"}
    assert world.steps(run_id)["a"].due_at == world.clock.now()


def test_looking_changes_nothing() -> None:
    """Without mending, an examination only reads."""
    world, run_id = begun()
    falsify(world, run_id, "d", remaining=7)
    written = world.store.writes
    examination = examine(world.services, run_id, fixing=False)
    assert (len(examination.found), len(examination.fixed)) == (1, 0)
    assert world.store.writes == written
    assert not world.bus.take_all("steps")


def test_nothing_is_found_of_runs_that_are_well() -> None:
    """At every stage of a run its documents agree."""
    world = World("default: {duration: 15}\nrules: [{step: b, always_fail: true}]")
    run_id = world.start(DIAMOND)
    for _ in range(12):
        assert not examine(world.services, run_id, fixing=True).found
        world.settle_down()
        world.clock.move(timedelta(seconds=10))
        world.tick()
    assert world.run(run_id).state is RunState.FAILED


@pytest.mark.parametrize("call", ["get", "commit"])
def test_a_step_that_changes_meanwhile_is_not_miscounted(call: str) -> None:
    """An examination corrects no counter that changes meanwhile."""
    world, run_id = begun(script="default: {duration: 5}\nrules: [{step: b, duration: 30}]")
    world.clock.move(timedelta(seconds=10))
    world.tick()

    def c_ends() -> None:
        world.clock.move(timedelta(seconds=10))
        world.tick()

    falsify(world, run_id, "d", remaining=3)
    store = meanwhile(world, lambda name, _: name == call and "d" in str(_), c_ends)
    examine(world.services, run_id, fixing=True)
    assert store.happened
    examine(world.services, run_id, fixing=True)
    assert world.steps(run_id)["d"].remaining == 1
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
