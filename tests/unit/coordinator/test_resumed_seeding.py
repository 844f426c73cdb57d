"""A run that was left half seeded, by this version or another, is seeded to its end or ended with the reason."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches, seed
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core import graph
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.graph import compile_graph
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import definition_path, steps_path
from atom_workflows.errors import NotStorable
from atom_workflows.language.parser import parse_workflow
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Create, Query, Update
from support.commands import cancel_run, retry_run
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.workflows import chain, fan

RUN = run_id_for("flow.yaml", "key", "test")
AUDIT = timedelta(seconds=61)


def half_seeded(monkeypatch: pytest.MonkeyPatch, definition: str, *, commits: int, batch: int = 3) -> World:
    """Begin a run that gets no further than so many commits."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", batch)
    world = World()
    plain = world.services
    make_mortal(world, Fate(fatal=commits + 1))
    with pytest.raises(Died):
        world.start(definition)
    world.services = plain
    assert world.run(RUN).state is RunState.SEEDING
    return world


def audit(world: World) -> None:
    """Let the checker find the run, and all happen that follows."""
    world.clock.move(AUDIT)
    world.tick()


def is_seeded_as_compiled(world: World, definition: str) -> bool:
    """Return True if the stored graph is the compiled one.

    Nodes of other graphs are connected with none.
    """
    nodes = compile_graph(parse_workflow(definition.encode(), filename="flow.yaml"))
    stored = world.steps(RUN)
    aside = [stored.pop(name) for name in stored.keys() - nodes.keys()]
    assert {(step.state, step.depends_on, step.dependents, step.barriers) for step in aside} <= {
        (StepState.SUCCEEDED, (), (), ())
    }
    return {name: (step.depends_on, step.dependents, step.barriers) for name, step in stored.items()} == {
        name: (node.depends_on, node.dependents, node.barriers) for name, node in nodes.items()
    }


@pytest.mark.parametrize("batch", [2, 4, 5, 100])
@pytest.mark.parametrize("commits", [2, 3])
def test_a_batch_that_is_partly_there_is_completed(commits: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partly written batch is completed, whatever its limits were."""
    world = half_seeded(monkeypatch, chain(10), commits=commits)
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", batch)
    audit(world)
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert world.submissions() == [f"s{number}/1" for number in range(10)]


@pytest.mark.parametrize(("before", "after"), [(4, 32), (32, 4), (4, 5)])
@pytest.mark.parametrize("commits", [1, 4, 8])
def test_steps_of_another_graph_are_written_anew(
    before: int, after: int, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step of another version's graph is left behind."""
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", before)
    monkeypatch.setattr(graph, "FAN_OUT_LIMIT", before)
    world = half_seeded(monkeypatch, fan(20), commits=commits)
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", after)
    monkeypatch.setattr(graph, "FAN_OUT_LIMIT", after)
    world.bus.publish([seed_message(RUN)])
    for message in world.bus.take_all("start"):
        world.deliver(message)
    assert world.run(RUN).state is RunState.RUNNING
    assert is_seeded_as_compiled(world, fan(20))
    assert not list(find_flaws(world.steps(RUN), now=world.clock.now()))
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert len(world.submissions()) == len(set(world.submissions())) == 22


def test_a_barrier_that_was_set_aside_serves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is restored after its limits changed and changed back."""
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 4)
    world = half_seeded(monkeypatch, fan(20), commits=10)
    assert {"~1", "~2"} & world.steps(RUN).keys()
    plain = world.services
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 32)
    make_mortal(world, Fate(fatal=12))
    with pytest.raises(Died):
        seed.resume(Outbox(world.services), RUN)
    world.services = plain
    assert {step.state for step in world.steps(RUN).values()} == {StepState.PENDING, StepState.SUCCEEDED}
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 4)
    seed.resume(Outbox(world.services), RUN)
    assert is_seeded_as_compiled(world, fan(20))
    assert {step.state for step in world.steps(RUN).values()} == {StepState.PENDING}
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED


def test_a_barrier_that_was_set_aside_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a run with conditions, whose steps have fields that a barrier set aside has empty."""
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 4)
    text = json.dumps({**json.loads(fan(20)), "finally": [{"id": "last", "task": {"imageUri": "image"}}]})
    world = half_seeded(monkeypatch, text, commits=10)
    assert {"~1", "~2"} & world.steps(RUN).keys()
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 32)
    seed.resume(Outbox(world.services), RUN)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert len(world.submissions()) == 23
    assert not list(find_flaws(world.steps(RUN), now=world.clock.now()))


@pytest.mark.parametrize("kind", ["job", None], ids=["stored", "of an earlier version"])
def test_a_step_of_another_kind_is_written_anew(kind: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that another version made a job is the barrier that this one compiles."""
    text = json.dumps({"name": "flow", "steps": [{"id": f"b{number}"} for number in range(10)]})
    world = half_seeded(monkeypatch, text, commits=3)
    document = world.store.inner.query(Query(collection=steps_path(RUN), limit=1))[0]
    other = {"kind": kind, "task": '{"imageUri":"x"}', "task_runner_url": "http://other.test"}
    fields = {name: value for name, value in {**document.fields, **other}.items() if value is not None}
    world.store.inner.delete(document.path)
    world.store.commit([Create(path=document.path, fields=fields)])
    audit(world)
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.submissions() == []


def test_a_retry_writes_steps_of_another_graph_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry rewrites steps that were cancelled before their run began."""
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 4)
    world = half_seeded(monkeypatch, fan(20), commits=6)
    cancel_run(world.services, RUN)
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 32)
    retry_run(world.services, RUN)
    assert is_seeded_as_compiled(world, fan(20))
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert len(world.submissions()) == len(set(world.submissions())) == 22


def test_steps_of_another_graph_are_left_alone_once_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A RUNNING run keeps its graph."""
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 4)
    world = half_seeded(monkeypatch, fan(20), commits=4)

    def other() -> None:
        with monkeypatch.context() as old:
            old.setattr(graph, "FAN_IN_LIMIT", 4)
            world.bus.publish([seed_message(RUN)])
            world.settle_down("start")

    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 32)
    store = meanwhile(world, lambda name, writes: name == "commit" and isinstance(writes[0], Update), other)
    seed.resume(Outbox(world.services), RUN)
    assert store.happened
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert len(world.submissions()) == 22


@pytest.mark.parametrize("nth", range(1, 7))
def test_two_that_seed_the_same_run_write_it_once(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two instances that seed the same run start each step once."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    world = World()
    commits: list[str] = []

    def is_nth_commit(name: str, _: Any) -> bool:
        commits.extend([name] if name == "commit" else [])
        return len(commits) == nth

    def other() -> None:
        with monkeypatch.context() as limits:
            limits.setattr(batches, "BATCH_DOCUMENTS", 4)
            world.start(chain(10))
            world.settle_down()

    store = meanwhile(world, is_nth_commit, other)
    world.start(chain(10))
    world.settle_down()
    assert store.happened
    assert world.run(RUN).state is RunState.SUCCEEDED
    assert world.submissions() == [f"s{number}/1" for number in range(10)]


UNUSABLE: Mapping[str, tuple[Update | None, str]] = {
    "invalid": (
        Update(path=definition_path(RUN), fields={"text": zlib.compress(b"steps: [{id: a, dependsOn: [b]}]")}),
        "b",
    ),
    "not compressed": (Update(path=definition_path(RUN), fields={"text": b"steps: []"}), "cannot be read"),
    "of another form": (Update(path=definition_path(RUN), fields={"text": None}), "cannot be read"),
    "gone": (None, "was deleted"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_run_whose_definition_cannot_be_used_ends_with_the_reason(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose definition cannot be used ends with the reason."""
    write, reason = UNUSABLE[case]
    world = half_seeded(monkeypatch, chain(10), commits=3)
    if write is None:
        world.store.inner.delete(definition_path(RUN))
    else:
        world.store.commit([write])
    audit(world)
    for _ in range(2):
        run = world.run(RUN)
        assert run.state is RunState.FAILED
        assert reason in run.errors[0]["message"]
        assert set(world.states(RUN).values()) == {"SKIPPED"}
        retry_run(world.services, RUN)
    assert world.submissions() == []


def test_a_step_that_can_no_longer_be_stored_ends_the_run_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with a step that cannot be stored ends with the reason."""
    world = half_seeded(monkeypatch, chain(10), commits=3)

    def too_large(name: str, writes: Any) -> bool:
        return name == "commit" and isinstance(writes[0], Create) and writes[0].path.startswith("runs/")

    def refuse() -> None:
        raise NotStorable("a document is too large")

    meanwhile(world, too_large, refuse)
    audit(world)
    run = world.run(RUN)
    assert (run.state, run.errors[0]["message"]) == (
        RunState.FAILED,
        "its steps cannot be stored: a document is too large",
    )


def test_a_run_that_nobody_else_seeds_is_not_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's steps are read back only by another instance."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    world = World()
    world.start(chain(10))
    assert (world.store.reads, world.store.writes) == (1, 3 + 10 + 1)
