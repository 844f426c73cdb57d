"""Writes to other documents that take effect with a decision about a step, or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import commits
from atom_workflows.coordinator.commits import Decision, in_parts, save, save_claims, save_while
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.changes import StepChange
from atom_workflows.core.endings import end_without_job
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import claim
from atom_workflows.ports import Upsert

BARRIERS = ("b0", "b1", "b2")


def world_of_barriers() -> tuple[World, str, list[StoredStep]]:
    """Return a world with a run whose first steps are barriers that no one has ended, and one behind each."""
    world = World()
    behind = [{"id": f"{name}-next", "dependsOn": [name], "task": {"imageUri": "image"}} for name in BARRIERS]
    run_id = world.start(json.dumps({"name": "flow", "steps": [*({"id": name} for name in BARRIERS), *behind]}))
    return world, run_id, load_steps(world.services, run_id, BARRIERS)


def ending(world: World, stored: StoredStep, *companions: Upsert) -> Decision:
    """Decide that a barrier ends, with these companions."""
    change = end_without_job(stored.step, now=world.clock.now())
    assert change is not None
    return Decision(stored=stored, change=change, companions=companions)


def next_place(path: str = "shards/0") -> Upsert:
    """Return a companion that counts."""
    return Upsert(path=path, increments={"next": 1})


def test_a_companion_is_written_with_its_decision_and_answered() -> None:
    """What its increments came to is the caller's to use."""
    world, run_id, [first, *_] = world_of_barriers()
    outputs = Upsert(path=f"runs/{run_id}/outputs/b0", fields={"rows": 12})
    saved = save(Outbox(world.services), [ending(world, first, next_place(), outputs)])
    assert saved.companions["shards/0"].increments == {"next": 1}
    assert list(saved.released) == ["b0-next"]
    assert world.states(run_id)["b0"] == "SUCCEEDED"
    [document] = world.store.get([outputs.path])
    assert document is not None
    assert document.fields == {"rows": 12}


def test_a_decision_that_comes_too_late_leaves_its_companions_unwritten() -> None:
    """The guard on the step is theirs, too, also if it fails in a commit with others."""
    world, _, stored = world_of_barriers()
    outbox = Outbox(world.services)
    save(outbox, [ending(world, stored[1])])
    late = [ending(world, one, next_place(f"shards/{number}")) for number, one in enumerate(stored)]
    saved = save(outbox, late)
    assert [one.step.id for one in saved.refused] == ["b1"]
    assert [document is not None for document in world.store.get([f"shards/{number}" for number in range(3)])] == [
        True,
        False,
        True,
    ]


def test_each_of_several_decisions_gets_its_own_result_of_a_shared_companion() -> None:
    """They are saved in a commit each: of two increments in one commit, no one could say which came first."""
    world, _, stored = world_of_barriers()
    decisions = [ending(world, one, next_place()) for one in stored]
    assert [len(part) for part in in_parts(decisions)] == [1, 1, 1]
    save(Outbox(world.services), decisions)
    [shard] = world.store.get(["shards/0"])
    assert shard is not None
    assert shard.fields == {"next": 3}


def test_companions_count_as_documents_of_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit holds as many decisions as its documents allow: the step, its dependent, and what comes with it."""
    world, _, stored = world_of_barriers()
    monkeypatch.setattr(commits, "MAX_WRITES", 6)
    plain = [ending(world, one) for one in stored]
    assert [len(part) for part in in_parts(plain)] == [3]
    accompanied = [replace(one, companions=[next_place(f"shards/{one.step.id}")]) for one in plain]
    assert [len(part) for part in in_parts(accompanied)] == [2, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "x" * 400_000},
        {"text": b"x" * 400_000},
        {"list": ["x" * 1_000] * 400},
        {"map": {f"key{number}": "é" * 500 for number in range(400)}},
        {"list": list(range(18_000))},
    ],
    ids=["text", "bytes", "list", "map", "numbers"],
)
def test_companions_count_with_their_size(fields: dict[str, object]) -> None:
    """Two of 400 KB and what stands beside them fit into a commit, a third does not."""
    world, _, stored = world_of_barriers()
    decisions = [ending(world, one, Upsert(path=f"outputs/{one.step.id}", fields=fields)) for one in stored]
    assert [len(part) for part in in_parts(decisions)] == [2, 1]


def test_claims_bring_companions_along() -> None:
    """A claim that is refused takes nothing; the others' companions are written."""
    world, run_id, _ = world_of_barriers()
    outbox = Outbox(world.services)
    save(outbox, [ending(world, one) for one in load_steps(world.services, run_id, BARRIERS)])
    names = [f"{name}-next" for name in BARRIERS]
    now, lease = world.clock.now(), world.services.settings.lease

    def claims() -> list[Decision]:
        steps = load_steps(world.services, run_id, names)
        changes = [claim(one.step, now=now, lease=lease) for one in steps]
        return [
            Decision(stored=one, change=change, companions=[next_place(f"slots/{one.step.id}")])
            for one, change in zip(steps, changes, strict=True)
        ]

    late = claims()
    assert [one.step.id for one in save_claims(outbox, claims()[:1])] == names[:1]
    assert [one.step.id for one in save_claims(outbox, late)] == names[1:]
    assert slots(world, names) == [1, 1, 1]


def slots(world: World, names: Sequence[str]) -> list[object]:
    """Return how often each slot was taken."""
    return [None if one is None else one.fields["next"] for one in world.store.get([f"slots/{name}" for name in names])]


def observed(stored: StoredStep) -> StepChange:
    """Return a change of a step that stays in its state."""
    return StepChange(event=StepEvent.RESET, state=stored.step.state, fields={"retries": 1})


def test_no_decision_takes_no_commit() -> None:
    """A retry that has nothing left to reset does not race for the run's end."""
    world, run_id, _ = world_of_barriers()
    [end] = load_steps(world.services, run_id, ["~end"])
    commits = world.store.commits
    assert save_while(
        Outbox(world.services),
        end,
        [],
        Budget.of_invocation(world.services.clock, world.services.settings.inline_budget),
    )
    assert world.store.commits == commits


def test_decisions_that_are_saved_while_a_step_is_unchanged_bring_theirs() -> None:
    """They count towards the invocation's budget like any other document."""
    world, run_id, stored = world_of_barriers()
    [end] = load_steps(world.services, run_id, ["~end"])
    budget = Budget.of_invocation(world.services.clock, world.services.settings.inline_budget)
    decisions = [ending(world, one, next_place(f"slots/{one.step.id}")) for one in stored]
    own = Decision(stored=end, change=observed(end), companions=[next_place("slots/own")])
    assert save_while(Outbox(world.services), end, [*decisions, own], budget)
    assert slots(world, [*BARRIERS, "own"]) == [1, 1, 1, 1]
    assert not save_while(Outbox(world.services), end, decisions, budget)
    assert slots(world, BARRIERS) == [1, 1, 1]
