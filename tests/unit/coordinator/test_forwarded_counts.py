"""A step behind a tree of barriers knows how many of the steps above the tree failed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import preparation
from atom_workflows.coordinator.repair import examine
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from support.commands import retry_run
from support.mortal import Died, Fate, make_mortal
from support.workflows import definition


@pytest.fixture(autouse=True)
def _second_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """New runs have the second schema."""
    monkeypatch.setattr(preparation, "SCHEMA_OF_NEW_RUNS", 2)


def joined(count: int) -> str:
    """Return a definition in which one step waits for that many, and another for that one."""
    names = [f"s{number}" for number in range(count)]
    return definition({**{name: [] for name in names}, "join": names, "last": ["join"]})


def fail(names: Sequence[str]) -> World:
    """Return a world in which these steps fail once."""
    return World(json.dumps({"rules": [{"step": name, "fail_times": 1} for name in names]}))


def counters(step: StepRecord) -> tuple[int, int, int, int, int]:
    """Return a step's counters."""
    return step.remaining, step.unsuccessful, step.skipped, step.total, step.stained


def test_a_join_of_a_thousand_counts_them_all() -> None:
    """Its counters are sums over two levels of barriers, and a retry counts what it keeps."""
    world = fail(["s3", "s40", "s41", "s999"])
    run_id = world.start(joined(1_000))
    assert world.run_to_end(run_id).state is RunState.FAILED
    steps = world.steps(run_id)
    assert counters(steps["join"]) == (0, 4, 0, 1_000, 4)
    assert counters(steps["last"]) == (0, 1, 0, 1, 1)
    assert counters(steps["~end"]) == (0, 1, 0, 1, 1)
    assert steps["last"].cause in {"s3", "s40", "s41", "s999"}
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    steps = world.steps(run_id)
    assert counters(steps["join"]) == (0, 0, 0, 1_000, 0)
    assert counters(steps["~end"]) == (0, 0, 0, 1, 0)
    assert len(world.submissions()) == 1_000 + 4 + 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 40, 3))
def test_a_death_forwards_no_count_twice_or_not_at_all(fatal: int, *, after: bool) -> None:
    """Whichever call kills a handler of the run or of its retry, the sums are those of a run in which none died."""
    world = fail(["s3", "s39"])
    run_id = world.start(joined(40))
    for state, bad in ((RunState.FAILED, 2), (RunState.SUCCEEDED, 0)):
        plain = world.services
        make_mortal(world, Fate(fatal=fatal, after=after))
        with suppress(Died):
            world.run_to_end(run_id)
        world.services = plain
        assert world.run_to_end(run_id).state is state
        assert counters(world.steps(run_id)["join"]) == (0, bad, 0, 40, bad)
        if state is RunState.FAILED:
            retry_run(world.services, run_id)


@pytest.mark.parametrize("wrong", [{"total": 39}, {"stained": 1}, {"skipped": 2}, {"unsuccessful": 1}])
def test_wrong_sums_are_found_and_corrected(wrong: Mapping[str, int]) -> None:
    """The doctor recomputes each counter from the states and the counters of a step's dependencies."""
    world = World("default: {duration: 25}\nrules: [{step: s39, duration: 1000}]")
    run_id = world.start(joined(40))
    world.settle_down()
    world.clock.move(timedelta(seconds=30))
    world.tick()
    world.settle_down()
    [half] = [
        step for step in world.steps(run_id).values() if step.kind is NodeKind.INTERNAL and step.state.is_terminal
    ]
    [join] = half.dependents
    assert counters(world.steps(run_id)[join]) == (1, 0, 0, 20, 0)
    world.store.inner.commit([Update(path=step_path(run_id, join), fields=wrong)])
    assert [finding.step_id for finding in examine(world.services, run_id, fixing=True).fixed] == [join]
    assert counters(world.steps(run_id)[join]) == (1, 0, 0, 20, 0)
