"""The judgment about what a new run keeps, at the size of the largest files."""

from __future__ import annotations

import json
import tracemalloc

from atom_workflows.core.graph import compile_graph
from atom_workflows.core.reuse import Facts, What, judge
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.parser import parse_workflow

LAYERS, WIDTH = 6, 250
MOST_BYTES = 30_000_000


def layered(*, more: int = 0) -> Workflow:
    """Return layers of steps with a join after each; each step also depends on `more` of the earlier joins."""
    steps = []
    for layer in range(LAYERS):
        needs = [f"join{number}" for number in range(max(0, layer - 1 - more), layer)]
        steps += [
            {"id": f"s{layer}-{number}", "task": {"imageUri": "a"}, **({"dependsOn": needs} if needs else {})}
            for number in range(WIDTH)
        ]
        steps.append({"id": f"join{layer}", "dependsOn": [f"s{layer}-{number}" for number in range(WIDTH)]})
    return parse_workflow(json.dumps({"steps": steps}).encode(), filename="a.yaml")


def facts(workflow: Workflow) -> dict[str, Facts]:
    """Return what is compared of a run of it that succeeded."""
    return {
        node.id: Facts(
            kind=node.kind,
            state=StepState.SUCCEEDED,
            by_choice=False,
            phase=node.phase,
            depends_on=node.depends_on,
            parts={},
            gathers={},
            by_trigger=False,
        )
        for node in compile_graph(workflow).values()
    }


def test_dependencies_of_wide_graphs_are_compared_in_little_memory() -> None:
    """What is before a step takes a bit for each node, whether a dependency was a direct one or is new."""
    earlier = facts(layered())
    for more in (0, 2):
        workflow = layered(more=more)
        tracemalloc.start()
        judgment = judge(earlier, facts(workflow), workflow, frozenset())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(judgment.of(What.KEEP)) == len(workflow.steps)
        assert peak < MOST_BYTES


def test_a_dependency_on_what_was_behind_a_step_is_new() -> None:
    """Order counts: the step that was first now waits for one that came after it."""
    before, after = (
        parse_workflow(json.dumps({"steps": steps}).encode(), filename="a.yaml")
        for steps in (
            [{"id": "a", "task": {"imageUri": "a"}}, {"id": "b", "dependsOn": ["a"], "task": {"imageUri": "b"}}],
            [{"id": "b", "task": {"imageUri": "b"}}, {"id": "a", "dependsOn": ["b"], "task": {"imageUri": "a"}}],
        )
    )
    judgment = judge(facts(before), facts(after), after, frozenset())
    assert [(one.step_id, one.why) for one in judgment.choices] == [("b", ""), ("a", "it now depends on b")]
