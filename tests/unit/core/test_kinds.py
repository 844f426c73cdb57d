"""The table of kinds, and what becomes of a node."""

from __future__ import annotations

import pytest

from atom_workflows.core.graph import compile_graph, kind_of
from atom_workflows.core.kinds import KINDS, NodeKind, Release, decide_release
from atom_workflows.core.workflow import Step, Task, Workflow


def test_every_kind_has_a_row() -> None:
    """A kind without rules would fail only once such a node is met."""
    assert KINDS.keys() == set(NodeKind)


@pytest.mark.parametrize("kind", NodeKind)
@pytest.mark.parametrize(("remaining", "unsuccessful"), [(1, 0), (3, 2)])
def test_no_node_goes_on_before_all_of_its_dependencies_ended(
    kind: NodeKind, remaining: int, unsuccessful: int
) -> None:
    """A failure does not end the wait: others are still at work."""
    assert decide_release(kind, remaining=remaining, unsuccessful=unsuccessful) is Release.WAIT


@pytest.mark.parametrize(
    ("kind", "after_success", "after_failure"),
    [
        (NodeKind.JOB, Release.CLAIM, Release.SKIP),
        (NodeKind.BARRIER, Release.SUCCEED, Release.SKIP),
        (NodeKind.INTERNAL, Release.SUCCEED, Release.SKIP),
        (NodeKind.END, Release.CLOSE, Release.CLOSE),
    ],
)
def test_a_released_node_does_what_its_kind_says(
    kind: NodeKind, after_success: Release, after_failure: Release
) -> None:
    """Whatever failed before it blocks a node, but for the end, which reports it."""
    assert decide_release(kind, remaining=0, unsuccessful=0) is after_success
    assert decide_release(kind, remaining=0, unsuccessful=1) is after_failure
    # Counters that someone else wrote to release it all the same.
    assert decide_release(kind, remaining=-1, unsuccessful=0) is after_success


def test_the_compiler_names_each_node_by_its_kind() -> None:
    """A node's id and its task determine its kind, for documents that hold none."""
    many = [Step(id=f"s{number}", task=Task(image_uri="image")) for number in range(40)]
    join = Step(id="join", depends_on=tuple(step.id for step in many))
    nodes = compile_graph(Workflow(name="flow", steps=(*many, join)))
    kinds = {node.id: node.kind for node in nodes.values()}
    assert kinds["s0"] is NodeKind.JOB
    assert kinds["join"] is NodeKind.BARRIER
    assert kinds["~end"] is NodeKind.END
    assert [name for name, kind in kinds.items() if kind is NodeKind.INTERNAL] == ["~1", "~2"]
    with_task = {step.id for step in many}
    assert kinds == {name: kind_of(name, has_task=name in with_task) for name in nodes}
