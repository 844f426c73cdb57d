"""Compile a workflow into a graph of steps, barriers and an end.

A document with a counter that a thousand steps decrement would be a hot spot, and ending a step with a thousand
dependents would take one huge commit. So the compiled graph is kept narrow by *barrier* nodes, which have no task and
end in the same pass that releases them:

- steps that wait for exactly the same set of steps wait for one shared barrier instead, if that takes fewer edges;
- a node with more than `FAN_IN_LIMIT` dependencies gets a tree of barriers above it;
- a node with more than `FAN_OUT_LIMIT` dependents gets a tree of barriers below it;
- `END_ID` depends on every leaf: when it is released, the run is finished;
- if there are steps under `finally`, `MAIN_END_ID` depends on every leaf of the other steps, and the steps
  under `finally` depend on it;
- a step with `forEach` becomes two nodes: one that creates the items when its turn comes (see expansion.py) and takes
  over the step's dependencies, trigger and condition; and the step itself, which waits for the first node.

The ids of these added nodes start with `~`, which a user's step id must not contain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Final, TypeVar

from atom_workflows.core.item_ids import EXPANDER_PREFIX, expander_id, parse_item_id
from atom_workflows.core.kinds import KINDS, NodeKind, Phase, Release
from atom_workflows.core.reads import is_per_item
from atom_workflows.core.workflow import Step, Trigger, Workflow

FAN_IN_LIMIT: Final = 32
FAN_OUT_LIMIT: Final = 200
MAX_FINALLY_STEPS: Final = 100
MAX_FINALLY_NODES: Final = (MAX_FINALLY_STEPS + 1) * (2 + -(-MAX_FINALLY_STEPS // FAN_IN_LIMIT)) + 1
"""The maximum number of nodes that follow the main part.

Each step, and the run's end, may have barriers above it, and a step may have a node that creates its items.
"""
MAX_FOLLOWERS: Final = 7
"""The maximum number of steps that a node lists as its followers in a chain, so that they can be read in advance."""

INTERNAL_PREFIX: Final = "~"
END_ID: Final = "~end"
MAIN_END_ID: Final = "~main"


_Element = TypeVar("_Element")

_ENDS: Final[Mapping[str, NodeKind]] = {END_ID: NodeKind.END, MAIN_END_ID: NodeKind.MAIN_END}


def kind_of(node_id: str, *, has_task: bool) -> NodeKind:
    """Return the kind of the node with the given id."""
    if node_id in _ENDS:
        return _ENDS[node_id]
    if is_internal(node_id):
        return NodeKind.EXPAND if node_id.startswith(EXPANDER_PREFIX) else NodeKind.INTERNAL
    if parse_item_id(node_id):
        return NodeKind.ITEM
    return NodeKind.JOB if has_task else NodeKind.BARRIER


def is_internal(node_id: str) -> bool:
    """Return True if the compiler added the node.

    Users should not see such nodes.
    """
    return node_id.startswith(INTERNAL_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the compiled graph. `barriers` are the `dependents` that have no task.

    `conditional` are the `dependents` whose own trigger or condition decides whether they run. `hands_over_to` is the
    node's only dependent, if it has a task, is not conditional and waits for nothing else; the commit that releases
    this dependent can then claim it as well. `followers` continues the chain with at most `MAX_FOLLOWERS` steps: each
    is the step to which the previous one hands over.
    """

    id: str
    kind: NodeKind
    depends_on: tuple[str, ...]
    dependents: tuple[str, ...]
    barriers: tuple[str, ...]
    conditional: tuple[str, ...] = ()
    phase: Phase = Phase.MAIN
    hands_over_to: str | None = None
    followers: tuple[str, ...] = ()


def compile_graph(workflow: Workflow) -> dict[str, Node]:
    """Compile a workflow into nodes by id.

    The user's steps come first, in file order, then the barriers, then the end. Within a node, dependencies and
    dependents keep the order in which they were declared. The same workflow always gives the same graph, so that
    seeding can be repeated.
    """
    edges = _Edges(_dependencies(workflow.steps))
    edges.share_dependency_sets()
    edges.narrow_fan_in(list(edges.depends_on))
    if workflow.finally_steps:
        edges.add_end(MAIN_END_ID)
        edges.add_finally(_dependencies(workflow.finally_steps, without=(MAIN_END_ID,)))
    edges.add_end(END_ID)
    edges.narrow_fan_out()
    with_task = {step.id for step in workflow.all_steps if step.task is not None}
    gathering = {step.id for step in workflow.all_steps if step.for_each is not None}
    conditional = {name for step in workflow.all_steps for name in _conditional_nodes(step)}
    return edges.nodes(with_task, conditional, gathering)


def _dependencies(steps: Iterable[Step], *, without: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return the dependencies of the nodes created for these steps.

    `without` holds the dependencies given to a step that declares none in the file.
    """
    depends_on: dict[str, tuple[str, ...]] = {}
    for step in steps:
        needs = step.depends_on or without
        if step.for_each is not None:
            depends_on[expander_id(step.id)] = needs
            needs = (expander_id(step.id),)
        depends_on[step.id] = needs
    return depends_on


def _conditional_nodes(step: Step) -> Iterator[str]:
    """Yield the step's nodes that must be read to release them."""
    if step.for_each is None:
        yield from [step.id] if step.is_conditional else []
        return
    # The counters of its items decide what happens to the step.
    yield step.id
    if step.trigger is not Trigger.NO_FAILURE or (step.when is not None and not is_per_item(step.when)):
        yield expander_id(step.id)


class _Edges:
    """The graph while it is being rewritten: the dependencies of each node."""

    def __init__(self, depends_on: Mapping[str, Sequence[str]]) -> None:
        self.depends_on: dict[str, list[str]] = {node: list(needs) for node, needs in depends_on.items()}
        self._numbers = count(1)
        self._main: frozenset[str] | None = None

    def share_dependency_sets(self) -> None:
        """Give nodes with the same dependencies one shared barrier to wait for.

        This turns m * n edges into m + n.
        """
        waiting: dict[tuple[str, ...], list[str]] = {}
        for node, needs in self.depends_on.items():
            waiting.setdefault(tuple(sorted(needs)), []).append(node)
        for nodes in waiting.values():
            needs = self.depends_on[nodes[0]]
            if len(needs) * len(nodes) > len(needs) + len(nodes) + 1:
                barrier = self._add_barrier(needs)
                for node in nodes:
                    self.depends_on[node] = [barrier]

    def narrow_fan_in(self, nodes: Iterable[str]) -> None:
        """Put a tree of barriers above each node with too many dependencies."""
        for node in nodes:
            needs = self.depends_on[node]
            while len(needs) > FAN_IN_LIMIT:
                needs = [self._add_barrier(part) for part in split(needs, FAN_IN_LIMIT)]
            self.depends_on[node] = needs

    def add_end(self, end_id: str) -> None:
        """Add an end node that waits for every leaf."""
        needed = {need for needs in self.depends_on.values() for need in needs}
        self.depends_on[end_id] = [node for node in self.depends_on if node not in needed]
        self.narrow_fan_in([end_id])
        self.depends_on[end_id] = self.depends_on.pop(end_id)

    def add_finally(self, depends_on: Mapping[str, Sequence[str]]) -> None:
        """Add the steps that run once all other steps have ended."""
        self._main = frozenset(self.depends_on)
        self.depends_on |= {node: list(needs) for node, needs in depends_on.items()}
        self.narrow_fan_in(depends_on)

    def narrow_fan_out(self) -> None:
        """Put a tree of barriers below each node with too many dependents."""
        for node, waiting in self._dependents().items():
            groups = waiting
            while len(groups) > FAN_OUT_LIMIT:
                groups = [self._barrier_between(node, part) for part in split(groups, FAN_OUT_LIMIT)]
        self.depends_on[END_ID] = self.depends_on.pop(END_ID)

    def nodes(self, with_task: set[str], conditional: set[str], gathering: set[str]) -> dict[str, Node]:
        """Build the finished graph."""
        dependents = self._dependents()
        kinds = {
            node: NodeKind.GATHER if node in gathering else kind_of(node, has_task=node in with_task)
            for node in self.depends_on
        }
        barriers = {node for node, kind in kinds.items() if KINDS[kind].released is not Release.CLAIM}
        # A node that is neither a barrier nor conditional can be claimed in the commit that releases it.
        not_claimed = barriers | conditional
        next_of: dict[str, str | None] = dict.fromkeys(self.depends_on)
        for node, waiting in dependents.items():
            if len(waiting) == 1 and waiting[0] not in not_claimed and len(self.depends_on[waiting[0]]) == 1:
                next_of[node] = waiting[0]
        return {
            node: Node(
                id=node,
                kind=kinds[node],
                depends_on=tuple(needs),
                dependents=tuple(dependents[node]),
                barriers=tuple(d for d in dependents[node] if d in barriers),
                conditional=tuple(d for d in dependents[node] if d in conditional),
                phase=Phase.MAIN if self._main is None or node in self._main else Phase.FINALLY,
                hands_over_to=next_of[node],
                followers=tuple(_chain_behind(next_of, next_of[node])),
            )
            for node, needs in self.depends_on.items()
        }

    def _dependents(self) -> dict[str, list[str]]:
        dependents: dict[str, list[str]] = {node: [] for node in self.depends_on}
        for node, needs in self.depends_on.items():
            for need in needs:
                dependents[need].append(node)
        return dependents

    def _barrier_between(self, node: str, waiting: Sequence[str]) -> str:
        barrier = self._add_barrier([node])
        if self._main is not None and node in self._main and node != MAIN_END_ID:
            # The barrier is below a main step, so stopping the main part must end it as well.
            self._main |= {barrier}
        for dependent in waiting:
            needs = self.depends_on[dependent]
            needs[needs.index(node)] = barrier
        return barrier

    def _add_barrier(self, needs: Iterable[str]) -> str:
        barrier = f"{INTERNAL_PREFIX}{next(self._numbers)}"
        self.depends_on[barrier] = list(needs)
        return barrier


def _chain_behind(next_of: Mapping[str, str | None], node: str | None) -> Iterator[str]:
    for _ in range(MAX_FOLLOWERS):
        node = None if node is None else next_of[node]
        if node is None:
            return
        yield node


def split(items: Sequence[_Element], limit: int) -> list[Sequence[_Element]]:
    """Split items into as few parts of almost equal length as possible.

    `limit` is the maximum length of a part.
    """
    parts = -(-len(items) // limit)
    size, longer = divmod(len(items), parts)
    starts = [part * size + min(part, longer) for part in range(parts + 1)]
    return [items[start:stop] for start, stop in pairwise(starts)]
