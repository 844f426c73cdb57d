"""The table of kinds, and what becomes of a node."""

from __future__ import annotations

import pytest

from atom_workflows.core.graph import compile_graph, kind_of
from atom_workflows.core.kinds import KINDS, Counters, NodeKind, Release, decide_release
from atom_workflows.core.workflow import Step, Task, Trigger, Workflow


def test_every_kind_has_a_row() -> None:
    """A kind without rules would fail only once such a node is met."""
    assert KINDS.keys() == set(NodeKind)


@pytest.mark.parametrize("kind", NodeKind)
@pytest.mark.parametrize(("remaining", "unsuccessful"), [(1, 0), (3, 2)])
def test_no_node_goes_on_before_all_of_its_dependencies_ended(
    kind: NodeKind, remaining: int, unsuccessful: int
) -> None:
    """A failure does not end the wait: others are still at work."""
    assert decide_release(kind, Counters(remaining, unsuccessful)) is Release.WAIT


@pytest.mark.parametrize(
    ("kind", "after_success", "after_failure"),
    [
        (NodeKind.JOB, Release.CLAIM, Release.BLOCK),
        (NodeKind.BARRIER, Release.SUCCEED, Release.BLOCK),
        (NodeKind.INTERNAL, Release.SUCCEED, Release.BLOCK),
        (NodeKind.EXPAND, Release.CLAIM, Release.BLOCK),
        (NodeKind.ITEM, Release.CLAIM, Release.BLOCK),
        (NodeKind.END, Release.CLOSE, Release.CLOSE),
    ],
)
def test_a_released_node_does_what_its_kind_says(
    kind: NodeKind, after_success: Release, after_failure: Release
) -> None:
    """Whatever failed before it blocks a node, but for the end, which reports it."""
    assert decide_release(kind, Counters(0, 0)) is after_success
    assert decide_release(kind, Counters(0, 1)) is after_failure
    # Counters that someone else wrote to release it all the same.
    assert decide_release(kind, Counters(-1, 0)) is after_success


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


COLUMNS = (Trigger.NO_FAILURE, Trigger.ALL_SUCCEEDED, Trigger.ANY_FAILED, Trigger.ALWAYS)
RUN, SKIP, BLOCK = Release.CLAIM, Release.SKIP, Release.BLOCK


@pytest.mark.parametrize(
    ("counters", "by_trigger"),
    [
        pytest.param(Counters(0, 0), (RUN, RUN, SKIP, RUN), id="no dependencies"),
        pytest.param(Counters(0, 0, total=3), (RUN, RUN, SKIP, RUN), id="all succeeded"),
        pytest.param(Counters(0, 0, skipped=1, total=3), (RUN, SKIP, SKIP, RUN), id="some skipped"),
        pytest.param(Counters(0, 0, skipped=3, total=3), (SKIP, SKIP, SKIP, RUN), id="all skipped"),
        pytest.param(Counters(0, 1, total=3), (BLOCK, BLOCK, RUN, RUN), id="one failed"),
        pytest.param(Counters(0, 1, skipped=2, total=3), (BLOCK, BLOCK, RUN, RUN), id="one failed, others skipped"),
    ],
)
@pytest.mark.parametrize(("kind", "runs"), [(NodeKind.JOB, Release.CLAIM), (NodeKind.BARRIER, Release.SUCCEED)])
def test_a_trigger_decides_by_how_the_dependencies_ended(
    kind: NodeKind, runs: Release, counters: Counters, by_trigger: tuple[Release, ...]
) -> None:
    """The four triggers answer each way in which dependencies can end as the reference's table says."""
    decided = tuple(decide_release(kind, counters, trigger) for trigger in COLUMNS)
    assert decided == tuple(runs if one is RUN else one for one in by_trigger)


def test_an_internal_barrier_never_decides_for_the_steps_below_it() -> None:
    """It succeeds even if every step above it was skipped, and forwards that."""
    assert decide_release(NodeKind.INTERNAL, Counters(0, 0, skipped=9, total=9)) is Release.SUCCEED
