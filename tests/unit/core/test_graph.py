"""The compiled graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from atom_workflows.core.graph import (
    END_ID,
    FAN_IN_LIMIT,
    FAN_OUT_LIMIT,
    MAIN_END_ID,
    MAX_FINALLY_NODES,
    MAX_FINALLY_STEPS,
    Node,
    compile_graph,
    is_internal,
)
from atom_workflows.core.kinds import Phase
from atom_workflows.core.workflow import Step, Task, Workflow


def workflow(edges: Mapping[str, Sequence[str]], barriers: Sequence[str] = ()) -> Workflow:
    """Return a workflow of these steps."""
    steps = tuple(
        Step(id=name, depends_on=tuple(needs), task=None if name in barriers else Task(image_uri="i"))
        for name, needs in edges.items()
    )
    return Workflow(name="flow", steps=steps)


def ancestors(depends_on: Mapping[str, Sequence[str]], node: str) -> set[str]:
    """Return the steps that must come before a node."""
    seen: set[str] = set()
    frontier = list(depends_on[node])
    while frontier:
        one = frontier.pop()
        if one not in seen:
            seen.add(one)
            frontier += depends_on[one]
    return {one for one in seen if not is_internal(one)}


def needs(graph: Mapping[str, Node]) -> dict[str, Sequence[str]]:
    """Return the dependencies of each node."""
    return {name: node.depends_on for name, node in graph.items()}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Draw acyclic graphs, some with many edges between few sets of steps."""
    size = draw(st.integers(1, 90))
    wide = draw(st.booleans())
    edges: dict[str, list[str]] = {}
    for index in range(size):
        before = list(edges)
        if wide and before and draw(st.booleans()):
            edges[f"s{index}"] = before[: draw(st.integers(0, len(before)))]
        else:
            edges[f"s{index}"] = draw(st.lists(st.sampled_from(before), unique=True, max_size=5)) if before else []
    return edges


@given(graphs())
def test_compiling_keeps_what_comes_before_what(edges: dict[str, list[str]]) -> None:
    """Each step has the same steps before it after compiling."""
    graph = compile_graph(workflow(edges))
    for step in edges:
        assert ancestors(needs(graph), step) == ancestors(edges, step)
    assert ancestors(needs(graph), END_ID) == set(edges)


@given(graphs())
def test_no_node_is_wide(edges: dict[str, list[str]]) -> None:
    """No node exceeds the limits, and both sides of an edge agree."""
    graph = compile_graph(workflow(edges))
    for node in graph.values():
        assert len(node.depends_on) <= FAN_IN_LIMIT
        assert len(node.dependents) <= FAN_OUT_LIMIT
        assert all(node.id in graph[dependent].depends_on for dependent in node.dependents)
        assert all(node.id in graph[need].dependents for need in node.depends_on)


@given(graphs())
def test_compiling_never_adds_edges_beyond_those_of_the_end(edges: dict[str, list[str]]) -> None:
    """Compiling adds no edges but those of the end and one for each barrier."""
    graph = compile_graph(workflow(edges))
    barriers = sum(is_internal(name) for name in graph)
    stored = sum(len(node.depends_on) for node in graph.values())
    assert stored <= sum(map(len, edges.values())) + len(edges) + barriers


def test_a_fan_of_ten_thousand_is_narrow_and_linear() -> None:
    """A fan of 10,000 takes few barriers, and about as many edges as steps."""
    leaves = [f"leaf{i}" for i in range(10_000)]
    graph = compile_graph(workflow({"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves}))
    assert max(len(node.depends_on) for node in graph.values()) <= FAN_IN_LIMIT
    assert max(len(node.dependents) for node in graph.values()) <= FAN_OUT_LIMIT
    assert len(graph) < 10_002 + 400
    assert sum(len(node.depends_on) for node in graph.values()) < 21_000


def test_two_full_layers_share_a_barrier() -> None:
    """Steps that wait for the same steps wait for one barrier."""
    first = [f"a{i}" for i in range(20)]
    graph = compile_graph(workflow({**{a: [] for a in first}, **{f"b{i}": first for i in range(20)}}))
    assert graph["b0"].depends_on == graph["b19"].depends_on == ("~1",)
    assert set(graph["~1"].depends_on) == set(first)


def test_a_small_graph_gets_an_end_and_nothing_else() -> None:
    """A small graph is stored unchanged, with the end behind its leaves."""
    graph = compile_graph(workflow({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}))
    assert list(graph) == ["a", "b", "c", "d", END_ID]
    assert graph[END_ID].depends_on == ("d",)


def test_a_step_hands_over_only_to_a_task_that_waits_for_it_alone() -> None:
    """A step hands over only to a single dependent with a task that waits for it alone."""
    graph = compile_graph(workflow({"a": [], "b": ["a"], "c": ["b"], "x": [], "d": ["c", "x"]}, barriers=["c"]))
    assert graph["a"].hands_over_to == "b"
    assert graph["b"].hands_over_to is None
    assert graph["b"].barriers == ("c",)
    assert graph["c"].hands_over_to is None


def test_a_step_knows_those_that_follow_in_line() -> None:
    """A step names up to seven followers in its chain."""
    graph = compile_graph(workflow({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(20)}))
    assert graph["s0"].followers == tuple(f"s{i}" for i in range(2, 9))
    assert graph["s17"].followers == ("s19",)
    assert graph["s18"].followers == graph["s19"].followers == ()


def test_the_same_workflow_gives_the_same_graph() -> None:
    """Seeding can be repeated because compiling has no chance in it."""
    edges = {f"s{i}": [f"s{j}" for j in range(max(0, i - 40), i)] for i in range(120)}
    assert compile_graph(workflow(edges)) == compile_graph(workflow(edges))


def test_a_barrier_is_of_the_part_that_it_stands_in() -> None:
    """Barriers below main steps are main nodes, and those below the end of the main part are not."""
    wide = FAN_OUT_LIMIT + 1
    main = {"root": [], **{f"s{number}": ["root"] for number in range(wide)}}
    last = tuple(Step(id=f"f{number}", task=Task(image_uri="i")) for number in range(wide))
    nodes = compile_graph(replace(workflow(main), finally_steps=last))
    main_nodes = {name for name, node in nodes.items() if node.phase is Phase.MAIN}
    assert MAIN_END_ID in main_nodes
    assert all(set(nodes[name].depends_on) <= main_nodes for name in main_nodes)
    below = {name for node in nodes.values() if node.id not in main_nodes for name in node.dependents}
    assert not below & main_nodes
    assert {need for name in nodes["s0"].depends_on for need in nodes[name].depends_on} == {"root"}
    assert nodes[nodes["s0"].depends_on[0]].phase is Phase.MAIN
    assert nodes[nodes["f0"].depends_on[0]].phase is Phase.FINALLY


def test_the_nodes_under_finally_are_limited() -> None:
    """However its steps depend on each other, the second phase has no more nodes than a stop allows for."""
    names = [f"f{number}" for number in range(MAX_FINALLY_STEPS)]
    chained = {name: names[:number] for number, name in enumerate(names)}
    halves = {name: names[:50] if number >= 50 else [] for number, name in enumerate(names)}
    apart: dict[str, list[str]] = {name: [] for name in names}
    for edges in (chained, halves, apart):
        last = workflow(edges).steps
        nodes = compile_graph(replace(workflow({"a": []}), finally_steps=last)).values()
        assert MAX_FINALLY_STEPS < sum(node.phase is Phase.FINALLY for node in nodes) <= MAX_FINALLY_NODES
