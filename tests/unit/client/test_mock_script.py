"""What is said about the mock Task Runner: rules without a job, and programs that it does not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from atom_client.cli.mock_script import find_unmatched_rules, warn_of_mock
from atom_client.views.queries import read_nodes_of_steps
from atom_emulator.testing.world import World
from atom_workflows.language.parser import parse_workflow
from support.workflows import definition


def test_rules_without_a_job_are_found_in_the_steps_of_a_run(tmp_path: Path) -> None:
    """The steps of a run show which rules matched none of its jobs, if there are any."""
    script = tmp_path / "jobs.yaml"
    script.write_text("rules:\n  - step: laod\n  - image: image\n  - step: extract\n")
    world = World()
    run_id = world.start(definition({"extract": [], "load": ["extract"]}))
    nodes = read_nodes_of_steps(world.services.store, world.run(run_id))
    assert find_unmatched_rules(script, "daily", nodes.values()) == [
        f"{script}:2:5: rules[0].step: no job of daily matches laod; did you mean load?"
    ]
    assert find_unmatched_rules(script, "daily", []) == []


def test_rules_for_items_are_found_in_the_steps_of_a_run(tmp_path: Path) -> None:
    """A step with `forEach` has the jobs of its items."""
    script = tmp_path / "jobs.yaml"
    script.write_text("rules:\n  - step: train\n  - step: train[1]\n  - step: train[2]\n")
    world = World()
    run_id = world.start("steps: [{id: train, forEach: [a, b], task: {imageUri: x}}]")
    world.run_to_end(run_id)
    nodes = read_nodes_of_steps(world.services.store, world.run(run_id))
    assert find_unmatched_rules(script, "daily", nodes.values()) == [
        f"{script}:4:5: rules[2].step: there is no item train[2]; the items are train[0] to train[1]"
    ]


PROGRAM = "{id: %s, task: {engine: process, args: [./a.py]}}"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("{id: a, task: {imageUri: x}}", ""),
        (f"{PROGRAM % 'a'}, {{id: b, task: {{imageUri: x}}}}", "the program of `a`, and returns no outputs"),
        (f"{PROGRAM % 'a'}, {PROGRAM % 'b'}, {PROGRAM % 'c'}", "the program of `a` and 2 other steps, and returns"),
    ],
)
def test_programs_that_a_mock_would_answer_for_are_named(steps: str, said: str) -> None:
    """A warning names the first program and counts the others; the option that runs them depends on the platform."""
    workflow = parse_workflow(f"steps: [{steps}]".encode(), filename="wf.yaml")
    found = warn_of_mock(workflow, is_up=False)
    assert [said in warning for warning in found] == [True] * bool(said)
    assert all(warning.endswith("`engine: process`, add --runner process") for warning in found)
    assert all("`atom-workflows local up --runner" in one for one in warn_of_mock(workflow, is_up=True))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            "{id: a, task: {imageUri: x}, outputs: {rows: int}}",
            "the job of `a` without the declared outputs",
        ),
        (
            "{id: a, task: {imageUri: x}, outputs: {n: int}}, {id: b, task: {imageUri: x}, outputs: {n: int}}",
            "the job of `a` and 1 other step without the declared outputs",
        ),
    ],
)
def test_outputs_that_a_mock_does_not_return_are_announced(steps: str, said: str) -> None:
    """A warning says that steps with outputs fail without a script for the mock, and names the option."""
    workflow = parse_workflow(f"steps: [{steps}]".encode(), filename="wf.yaml")
    (warning,) = warn_of_mock(workflow, is_up=False)
    assert said in warning
    assert warning.endswith("add --mock-script FILE")
    assert warn_of_mock(workflow, is_up=True)[0].endswith("`atom-workflows local up --mock-script FILE`")
