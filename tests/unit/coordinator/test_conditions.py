"""Triggers, conditions and tolerated failures: which steps run, and how the run ends."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.core import graph
from atom_workflows.core.states import RunState
from atom_workflows.documents import SCHEMA_OF_LANGUAGE_RUNS, SCHEMA_OF_NEW_RUNS, outputs_path, step_path
from atom_workflows.messages.internal import ReadyStep, StepsReady
from atom_workflows.ports import Upsert
from support.meanwhile import meanwhile
from support.workflows import definition, script

TRIGGERS = ("no-failure", "all-succeeded", "any-failed", "always")
RUNS, SKIPPED, BLOCKED = "runs", "skipped", "blocked"
TABLE = {
    "all succeeded": (RUNS, RUNS, SKIPPED, RUNS),
    "some skipped": (RUNS, SKIPPED, SKIPPED, RUNS),
    "all skipped": (SKIPPED, SKIPPED, SKIPPED, RUNS),
    "one failed": (BLOCKED, BLOCKED, RUNS, RUNS),
}
FAILS = {"always_fail": True}
OUTCOMES: dict[str, dict[str, Any]] = {"FAILED": FAILS, "CANCELLED": {"states": ["CANCELLED"]}}
NEVER = {"when": "run.id == ''"}
SKIPPED_BEFORE = {"all succeeded": (), "some skipped": ("b",), "all skipped": ("a", "b"), "one failed": ()}


def fate(world: World, run_id: str, step_id: str) -> str:
    """Return what became of a step, in the words of the table."""
    step = world.steps(run_id)[step_id]
    if step.state == "SKIPPED":
        return SKIPPED if step.by_choice else BLOCKED
    return RUNS


@pytest.mark.parametrize(("ended", "column"), list(product(TABLE, range(4))))
def test_each_cell_of_the_trigger_table(ended: str, column: int) -> None:
    """A step runs, is skipped or is blocked as the table says, and a failure fails the run even if a step reacts."""
    world = World(script(a={"always_fail": True}) if ended == "one failed" else "")
    flow = definition(
        {"a": [], "b": [], "join": ["a", "b"], "behind": ["join"]},
        **dict.fromkeys(SKIPPED_BEFORE[ended], NEVER),
        join={"trigger": TRIGGERS[column]},
    )
    run_id = world.start(flow)
    run = world.run_to_end(run_id)
    assert fate(world, run_id, "join") == TABLE[ended][column]
    # A chain behind the join follows it.
    assert fate(world, run_id, "behind") == TABLE[ended][column]
    assert run.state is (RunState.FAILED if ended == "one failed" else RunState.SUCCEEDED)


def test_only_a_run_that_needs_it_has_the_new_schema() -> None:
    """Older versions can still coordinate a plain workflow; they leave the other one alone."""
    plain, conditional = World(""), World("")
    run_id = plain.start(definition({"a": [], "b": ["a"]}, b={"trigger": "no-failure"}))
    assert plain.run(run_id).schema == SCHEMA_OF_NEW_RUNS
    run_id = conditional.start(definition({"a": [], "b": ["a"]}, b={"trigger": "always"}))
    assert conditional.run(run_id).schema == SCHEMA_OF_LANGUAGE_RUNS
    assert {step.schema for step in conditional.steps(run_id).values()} == {SCHEMA_OF_LANGUAGE_RUNS}


def test_a_skipped_step_says_why() -> None:
    """The document holds the condition, its result and the values that it read."""
    world = World(script(a={"outputs": {"rows": 12}}))
    flow = definition({"a": [], "b": ["a"]}, a={"outputs": {"rows": "int"}}, b={"when": "steps.a.outputs.rows > 1000"})
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    step = world.steps(run_id)["b"]
    assert step.because == "`steps.a.outputs.rows > 1000` was false (`rows` = 12)"
    assert step.message == step.because


def test_a_condition_that_cannot_be_evaluated_fails_its_step() -> None:
    """It is never silently false, and `allowFailure` does not let it pass."""
    world = World(script(a={"message": "none"}))
    flow = definition({"a": [], "b": ["a"]}, b={"when": "int(steps.a.message) > 3", "allowFailure": True})
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.FAILED
    step = world.steps(run_id)["b"]
    assert (step.state, step.last_kind, step.tolerated) == ("FAILED", "expression", False)
    assert "`when` (line 1) cannot be evaluated" in step.message
    assert world.submissions() == ["a/1"]


@pytest.mark.parametrize("outcome", ["FAILED", "CANCELLED"])
def test_a_tolerated_failure_lets_the_run_succeed(outcome: str) -> None:
    """Its dependents run as if it had succeeded, without its outputs."""
    world = World(script(a=OUTCOMES[outcome]))
    flow = definition(
        {"a": [], "b": ["a"]},
        a={"allowFailure": True, "outputs": {"rows": "int"}},
        b={"task": {"imageUri": "image", "args": {"rows": "${{ steps.a.outputs.rows ?? -1 }}"}}},
    )
    run_id = world.start(flow)
    run = world.run_to_end(run_id)
    assert (run.state, run.errors) == (RunState.SUCCEEDED, ())
    assert world.task_runner.submitted[-1][1]["args"] == {"rows": -1}


def test_a_step_reacts_to_a_tolerated_failure() -> None:
    """Its condition can read the state."""
    world = World(script(a={"always_fail": True}))
    flow = definition(
        {"a": [], "b": ["a"], "c": ["a"]},
        a={"allowFailure": True},
        b={"when": "steps.a.state == 'FAILED'"},
        c={"when": "steps.a.state == 'SUCCEEDED'"},
    )
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.states(run_id) == {"a": "FAILED", "b": "SUCCEEDED", "c": "SKIPPED"}


def test_a_failure_fails_the_run_through_barriers_and_reactions() -> None:
    """The stain passes a tree of barriers and steps that succeeded."""
    world = World(script(s7={"always_fail": True}))
    names = [f"s{number}" for number in range(100)]
    flow = definition(
        {**{key: [] for key in names}, "react": names, "behind": ["react"]}, react={"trigger": "any-failed"}
    )
    run_id = world.start(flow)
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert [error["step"] for error in run.errors] == ["s7"]
    assert world.states(run_id)["behind"] == "SUCCEEDED"


def test_a_join_behind_two_branches_runs_without_a_word() -> None:
    """One branch is skipped, the other runs, and the join runs once."""
    world = World("")
    flow = definition({"full": [], "delta": [], "report": ["full", "delta"]}, full=NEVER)
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert sorted(world.submissions()) == ["delta/1", "report/1"]


def test_a_barrier_can_have_a_condition() -> None:
    """Skipped, it skips what stands behind it alone."""
    world = World("")
    flow = definition({"a": [], "gate": ["a"], "b": ["gate"]}, gate={"task": None, "when": "run.id == ''"})
    run_id = world.start(flow.replace(', "task": null', ""))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.states(run_id) == {"a": "SUCCEEDED", "gate": "SKIPPED", "b": "SKIPPED"}


def test_a_thousand_conditions_cost_no_claim_of_a_skipped_step() -> None:
    """Steps that their conditions skip are never submitted, however many there are."""
    world = World("")
    names = [f"s{number}" for number in range(1000)]
    flow = definition({"root": [], **{key: ["root"] for key in names}, "join": names}, **dict.fromkeys(names, NEVER))
    run_id = world.start(flow)
    assert world.run_to_end(run_id, within=timedelta(hours=2)).state is RunState.SUCCEEDED
    assert world.submissions() == ["root/1"]
    assert fate(world, run_id, "join") == SKIPPED


def test_a_barrier_below_a_skipped_step_passes_the_skip_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that stands alone below a barrier is not claimed in the commit that ends the barrier."""
    monkeypatch.setattr(graph, "FAN_OUT_LIMIT", 2)
    world = World("")
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}, a={"when": "run.id == ''"}))
    barriers = [step_path(run_id, f"~{number}") for number in (1, 2)]
    event = StepsReady(run_id=run_id, steps=(ReadyStep(step_id="~1"), ReadyStep(step_id="~2")))

    def as_they_are_released(call: str, argument: Any) -> bool:
        return call == "get" and argument == barriers

    first = meanwhile(world, as_they_are_released, lambda: handle_steps(world.services, event))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert first.happened
    assert set(world.states(run_id).values()) == {"SKIPPED"}
    assert world.submissions() == []


def test_an_output_that_cannot_be_read_fails_only_its_readers() -> None:
    """Someone may have damaged the document; steps beside the reader run, and the run ends."""
    world = World(script(a={"outputs": {"n": 1}}, slow={"duration": 30}))
    after = ["a", "slow"]
    flow = definition(
        {"a": [], "slow": [], "b": after, "c": after, "d": after},
        a={"outputs": {"n": "int"}},
        b={"when": "steps.a.outputs.n == 1"},
        c={"when": "steps.a.state == 'SUCCEEDED'"},
    )
    run_id = world.start(flow)
    world.settle_down()
    world.store.inner.commit([Upsert(path=outputs_path(run_id, "a"), fields={"values": '{"n": "one"}'})])
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.steps(run_id)["b"].last_kind == "expression"
    assert world.states(run_id)["c"] == world.states(run_id)["d"] == "SUCCEEDED"
