"""The part of the graph that is created for the items of a step."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from atom_workflows.core.expansion import Expansion, current_nodes, fields_of_reset
from atom_workflows.core.graph import FAN_IN_LIMIT, FAN_OUT_LIMIT, Node, compile_graph
from atom_workflows.core.kinds import KINDS, Counters, NodeKind, Phase, Release, decide_release
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Condition, Trigger
from atom_workflows.step_documents import new_step
from support.loops import each, step, workflow

SIZES = [0, 1, 31, 32, 33, 199, 200, 201, 1_024, 1_025, 9_999, 10_000]


def nodes_of(size: int, **fields: object) -> dict[str, Node]:
    """Return the nodes of an expansion, with the two of the step."""
    expansion = Expansion(each="train", number=2, size=size, **fields)  # type: ignore[arg-type]
    edges = expansion.dependents_of_expander()
    expander = Node(id="~each.train", kind=NodeKind.EXPAND, depends_on=(), **edges)
    needs = (expander.id, *expansion.tops)
    train = Node(id="train", kind=NodeKind.GATHER, depends_on=needs, dependents=(), barriers=())
    found = [node for node, _ in expansion.nodes()]
    assert len(found) == len({node.id for node in found}) == expansion.node_count
    return {node.id: node for node in (expander, *found, train)}


@pytest.mark.parametrize("size", SIZES)
def test_every_edge_is_known_at_both_of_its_ends(size: int) -> None:
    """The nodes form a narrow graph from the one that creates the items to the step."""
    nodes = nodes_of(size)
    for node in nodes.values():
        assert all(node.id in nodes[one].depends_on for one in node.dependents)
        assert all(node.id in nodes[one].dependents for one in node.depends_on)
        assert len(node.dependents) <= FAN_OUT_LIMIT + 1
        assert len(node.depends_on) <= FAN_IN_LIMIT + 1
        without_task = {one for one in node.dependents if KINDS[nodes[one].kind].released is not Release.CLAIM}
        assert set(node.barriers) == without_task
        # Its counters alone do not say what happens to the step.
        assert set(node.conditional) == {"train"} & set(node.dependents)


@pytest.mark.parametrize("size", [3, 300])
def test_items_with_a_condition_are_read_before_they_are_decided(size: int) -> None:
    """Whatever releases them names them among its conditional dependents."""
    nodes = nodes_of(size, decides=True, phase=Phase.FINALLY)
    items = {name for name, node in nodes.items() if node.kind is NodeKind.ITEM}
    assert items == {name for node in nodes.values() for name in node.conditional} - {"train"}
    assert {node.phase for node in nodes.values() if node.id not in {"~each.train", "train"}} == {Phase.FINALLY}


@pytest.mark.parametrize("start", [0, 1, 7, 250])
def test_creating_can_be_continued_at_any_place(start: int) -> None:
    """The nodes come in the same order each time, the items last and in their order."""
    expansion = Expansion(each="train", number=1, size=230)
    everything = list(expansion.nodes())
    assert list(islice(expansion.nodes(), start, None)) == everything[start:]
    indexes = [index for _, index in everything if index is not None]
    assert indexes == list(range(230))
    assert [index for _, index in everything[-230:]] == indexes


def test_a_step_becomes_two_nodes() -> None:
    """The one that creates the items takes over its dependencies, and the others wait for the step itself."""
    train = step("train", "first", for_each=each([1]), when=Condition(text="params.x"), trigger=Trigger.ALWAYS)
    nodes = compile_graph(workflow(step("first"), train, step("last", "train")))
    assert [name for name in nodes if name != "~end"] == ["first", "~each.train", "train", "last"]
    expander, gather = nodes["~each.train"], nodes["train"]
    assert (expander.kind, expander.depends_on, expander.dependents) == (NodeKind.EXPAND, ("first",), ("train",))
    assert (gather.kind, gather.depends_on, gather.dependents) == (NodeKind.GATHER, ("~each.train",), ("last",))
    assert (nodes["first"].conditional, expander.conditional) == (("~each.train",), ("train",))
    assert expander.hands_over_to is None
    assert gather.hands_over_to == "last"


@pytest.mark.parametrize("when", [None, Condition(text="item > 1"), Condition(text="[i for i in [index]] == [1]")])
def test_a_condition_of_the_items_does_not_hold_back_the_list(when: Condition | None) -> None:
    """Only a condition that does not name the item is decided before there are any."""
    nodes = compile_graph(workflow(step("first"), step("train", "first", for_each=each([1]), when=when)))
    assert nodes["first"].conditional == ()
    assert nodes["first"].hands_over_to == "~each.train"


@pytest.mark.parametrize(
    ("counters", "release"),
    [
        (Counters(0, 0, total=1), Release.CLAIM),
        (Counters(0, 0, skipped=1, total=1), Release.SKIP),
        (Counters(0, 1, total=1), Release.BLOCK),
        (Counters(0, 3, skipped=2, total=9), Release.CLAIM),
        (Counters(0, 0, skipped=8, total=9), Release.CLAIM),
        (Counters(1, 0, total=9), Release.WAIT),
    ],
)
def test_a_step_joins_its_items_however_they_ended(counters: Counters, release: Release) -> None:
    """Without items, it is skipped or blocked like the node that would have created them."""
    assert decide_release(NodeKind.GATHER, counters) is release


def record(node_id: str, kind: NodeKind, **fields: object) -> StepRecord:
    """Return a node of the step `train`."""
    node = Node(id=node_id, kind=kind, depends_on=(), dependents=(), barriers=())
    plain = new_step(node, None, run=_Run, request=None)  # type: ignore[arg-type]
    return replace(plain, each="train", **fields)  # type: ignore[arg-type]


class _Run:
    id, schema, task_runner_url, expire_at = "run", 4, "", None


@pytest.mark.parametrize(
    ("state", "expansion", "problem", "kept"),
    [
        (StepState.SUCCEEDED, 2, "", True),
        (StepState.SUCCEEDED, 3, "", False),
        (StepState.DISPATCHING, 2, "", False),
        (StepState.SUCCEEDED, 2, "the list has changed", False),
    ],
)
def test_nodes_of_other_expansions_are_ignored(state: StepState, expansion: int, problem: str, *, kept: bool) -> None:
    """They count only if the node that created them has ended with them."""
    expander = record("~each.train", NodeKind.EXPAND, state=state, expansion=expansion, problem=problem)
    steps = {
        "~each.train": expander,
        "train": record("train", NodeKind.GATHER),
        "train[0]~2": record("train[0]~2", NodeKind.ITEM, expansion=2, index=0),
        "~in.train~2.0.0": record("~in.train~2.0.0", NodeKind.INTERNAL, expansion=2),
        "other": replace(record("other", NodeKind.JOB), each=""),
    }
    gone = set() if kept else {"train[0]~2", "~in.train~2.0.0"}
    assert current_nodes(steps).keys() == steps.keys() - gone
    del steps["~each.train"]
    assert current_nodes(steps).keys() == {"train", "other"}


def test_a_reset_prepares_another_expansion() -> None:
    """The edges to the old items are taken away on both sides, and the number rises."""
    expander = record("~each.train", NodeKind.EXPAND, expansion=2, items=7, written=9, problem="p", counted=7)
    fields = fields_of_reset(expander, expands_anew=True)
    assert (fields["expansion"], fields["dependents"], fields["written"], fields["problem"]) == (3, ("train",), 0, "")
    assert "counted" not in fields
    gather = record("train", NodeKind.GATHER, items=7)
    assert fields_of_reset(gather, expands_anew=True) == {"depends_on": ("~each.train",), "items": 0}
    assert fields_of_reset(gather, expands_anew=False) == {}
    assert fields_of_reset(record("train[0]", NodeKind.ITEM), expands_anew=True) == {}
