"""The items of a step with `forEach`, created while the run proceeds.

They extend the run's graph. Like the part compiled before the run (see graph.py), this part is kept narrow by barriers:

    ~each.train ──► ~out barriers ──► items ──► ~in barriers, in a tree ──► train

With `maxParallel`, only the first items wait for the node that creates them. The others depend only on their places,
which separate nodes hand out; see places.py.

The same step, number of items and expansion always give the same nodes in the same order, so creating them can be
continued after an interruption. The items come last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from atom_workflows.core.graph import FAN_IN_LIMIT, FAN_OUT_LIMIT, Node, split
from atom_workflows.core.item_ids import expander_id, fan_in_id, fan_out_id, item_id, places_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.places import NUMBERS, Shard, deal, waiting_key
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

MAX_ITEMS: Final = 10_000
"""The maximum number of items of one step."""

MAX_ITEMS_OF_RUN: Final = 20_000
"""The maximum total number of items of all steps in a run."""

MAX_ITEM_BYTES: Final = 8 * 1024
"""The maximum size of an item as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The nodes between a step and the node that creates its items.

    `decides` is True if the items have a condition. `phase` is the step's phase. At most `places` items run at the same
    time (None means no limit), and at most `tolerate` items may fail.
    """

    each: str
    number: int
    size: int
    decides: bool = False
    phase: Phase = Phase.MAIN
    places: int | None = None
    tolerate: int = 0
    shards: Mapping[str, Shard] = field(init=False)
    _above: list[Sequence[int]] = field(init=False)
    _levels: list[list[Sequence[str]]] = field(init=False)
    # For each level, the number of the barrier for each node below it.
    _parents: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        indexes = range(self.size)
        is_limited = self.places is not None and self.places < self.size
        dealt = deal(self.places or 0, self.size, tolerate=self.tolerate) if is_limited else []
        shards = {places_id(self.each, self.number, shard.number): shard for shard in dealt}
        object.__setattr__(self, "shards", shards)
        above = split(range(self.begin), FAN_OUT_LIMIT) if self.begin > FAN_OUT_LIMIT else []
        levels: list[list[Sequence[str]]] = []
        names: Sequence[str] = [item_id(self.each, index, self.number) for index in indexes]
        while len(names) > FAN_IN_LIMIT:
            parts = split(names, FAN_IN_LIMIT)
            levels.append(parts)
            names = [fan_in_id(self.each, self.number, len(levels) - 1, number) for number in range(len(parts))]
        object.__setattr__(self, "_above", above)
        object.__setattr__(self, "_levels", levels)
        parents = [[number for number, part in enumerate(parts) for _ in part] for parts in levels]
        object.__setattr__(self, "_parents", parents)

    @property
    def begin(self) -> int:
        """The number of items that have a place from the beginning."""
        return self.size if not self.shards or self.places is None else self.places

    @property
    def roots(self) -> list[str]:
        """The nodes that wait for the node that creates the items.

        These are the items themselves if there are only a few.
        """
        if self._above:
            return [fan_out_id(self.each, self.number, number) for number in range(len(self._above))]
        return [item_id(self.each, index, self.number) for index in range(self.begin)]

    @property
    def tops(self) -> list[str]:
        """The nodes that the step waits for.

        These are the items themselves if there are only a few.
        """
        if self._levels:
            last = len(self._levels) - 1
            return [fan_in_id(self.each, self.number, last, number) for number in range(len(self._levels[last]))]
        return [item_id(self.each, index, self.number) for index in range(self.size)]

    @property
    def node_count(self) -> int:
        """The number of nodes."""
        return len(self.shards) + len(self._above) + sum(map(len, self._levels)) + self.size

    def places_of(self, index: int) -> dict[str, str]:
        """Return the fields that tie an item to its place."""
        if not self.shards:
            return {}
        number, within = index % len(self.shards), index // len(self.shards)
        shard_id = places_id(self.each, self.number, number)
        return {"shard": shard_id, **({"waits_at": waiting_key(shard_id, within)} if index >= self.begin else {})}

    def dependents_of_expander(self) -> dict[str, Any]:
        """Return the outgoing edges of the expander, keyed by field name."""
        roots = tuple(self.roots)
        return {
            "dependents": (*roots, self.each),
            "barriers": roots if self._above else (),
            "conditional": (*(roots if self.decides and not self._above else ()), self.each),
        }

    def nodes(self) -> Iterator[tuple[Node, int | None]]:
        """Yield the nodes in order, each with its item's index or None."""
        expander = expander_id(self.each)
        for shard_id in self.shards:
            kind = NodeKind.PLACES
            yield Node(id=shard_id, kind=kind, depends_on=(), dependents=(), barriers=(), phase=self.phase), None
        for number, part in enumerate(self._above):
            below = [item_id(self.each, index, self.number) for index in part]
            name = fan_out_id(self.each, self.number, number)
            yield self._barrier(name, [expander], below, conditional=below if self.decides else ()), None
        for level, parts in enumerate(self._levels):
            for number, above in enumerate(parts):
                name = fan_in_id(self.each, self.number, level, number)
                yield self._barrier(name, above, [parent := self._parent(level + 1, number)], (parent,)), None
        numbers = [number for number, part in enumerate(self._above) for _ in part]
        for index in range(self.size):
            above = fan_out_id(self.each, self.number, numbers[index]) if index < len(numbers) else expander
            parents = (self._parent(0, index),)
            item = Node(
                id=item_id(self.each, index, self.number),
                kind=NodeKind.ITEM,
                depends_on=(above,) if index < self.begin else (),
                dependents=parents,
                barriers=parents if self._levels else (),
                conditional=() if self._levels else parents,
                phase=self.phase,
            )
            yield item, index

    def _parent(self, level: int, number: int) -> str:
        """Return the node that waits for the node with this number."""
        if level == len(self._levels):
            return self.each
        return fan_in_id(self.each, self.number, level, self._parents[level][number])

    def _barrier(self, name: str, needs: Sequence[str], below: Sequence[str], conditional: Sequence[str] = ()) -> Node:
        return Node(
            id=name,
            kind=NodeKind.INTERNAL,
            depends_on=tuple(needs),
            dependents=tuple(below),
            barriers=tuple(one for one in below if one.startswith("~")),
            conditional=tuple(one for one in conditional if not one.startswith("~")),
            phase=self.phase,
        )


def is_item_node(step: StepRecord) -> bool:
    """Return True for items and for barriers between items and steps."""
    return bool(step.each) and step.kind not in {NodeKind.EXPAND, NodeKind.GATHER}


def fields_of_reset(step: StepRecord, *, expands_anew: bool) -> dict[str, Any]:
    """Return the fields that a reset changes in a `forEach` step's nodes.

    `expands_anew` is True if the node that creates the items is also reset, so that it will create new items.
    """
    if not expands_anew or step.kind not in {NodeKind.EXPAND, NodeKind.GATHER}:
        return {}
    if step.kind is NodeKind.GATHER:
        return {"depends_on": (expander_id(step.id),), "items": 0}
    edges = {"dependents": (step.each,), "barriers": (), "conditional": (step.each,)}
    return {**edges, "expansion": step.expansion + 1, "items": 0, "written": 0, "problem": ""}


def deal_again(steps: Mapping[str, StepRecord], again: Collection[str], *, retries: int) -> dict[str, dict[str, Any]]:
    """Distribute places among the items that run again.

    Returns the changed fields of these items and of the nodes that hand out the places, keyed by node id. The result
    does not depend on how many of the items have already been reset.
    """
    fields: dict[str, dict[str, Any]] = {}
    shards = [(step, step.places) for step in steps.values() if step.places is not None]
    for each in dict.fromkeys(step.each for step, _ in shards):
        own = [step for step in steps.values() if step.each == each and step.kind is NodeKind.ITEM and step.id in again]
        if not own:
            continue
        old = next(shard for step, shard in shards if step.each == each)
        dealt = deal(old.limit, len(own), shards=old.shards, tolerate=old.tolerate, retries=retries)
        ids = [places_id(each, own[0].expansion, shard.number) for shard in dealt]
        for shard_id, shard in zip(ids, dealt, strict=True):
            fields[shard_id] = {name: getattr(shard, name) for name in NUMBERS}
        for position, item in enumerate(sorted(own, key=lambda one: one.index or 0)):
            shard_id, number = ids[position % len(ids)], position // len(ids)
            waits_at = waiting_key(shard_id, number) if position >= old.limit else ""
            fields[item.id] = {"shard": shard_id, "waits_at": waits_at}
    return fields


def is_current(step: StepRecord, expander: StepRecord | None) -> bool:
    """Return True if the node is part of a finished, current expansion.

    `expander` is the node that creates the items of the step to which the node belongs.
    """
    if not is_item_node(step):
        return True
    # A node with a problem has ended without the items that it may have created before.
    if expander is None or expander.state is not StepState.SUCCEEDED or expander.problem:
        return False
    return expander.expansion == step.expansion


def current_nodes(steps: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """Return the nodes that belong to the run's current graph."""
    return {name: step for name, step in steps.items() if is_current(step, steps.get(expander_id(step.each)))}
