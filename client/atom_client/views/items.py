"""Read the items of steps with `forEach`, without reading thousands of documents.

The store counts the items in each state; once a step has ended, its own counters give the numbers. Only the first
failed items are read, and a page of items where users ask for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atom_client.views.loops import (
    MOST_FAILED_SHOWN,
    ItemCounts,
    LoopView,
    as_seen,
    count_states,
    counts_of_ended,
    separate_unstarted,
)
from atom_client.views.progress import RunView
from atom_client.views.queries import OUTLINE_FIELDS, is_step_id, read_run
from atom_client.views.reasons import Fate, fate_of, stop_reasons
from atom_workflows.core.consistency import UNDER_WAY
from atom_workflows.core.item_ids import expander_id, item_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import TERMINAL_STEP_STATES, StepState
from atom_workflows.documents import step_path, steps_path
from atom_workflows.ports import Condition, Query, Store
from atom_workflows.step_documents import step_record

MOST_LOOPS: Final = 20
"""The maximum number of steps per run whose items are counted or read; for others, only the total is shown."""

_FAILED_READ: Final = 50
_COUNTED: Final = [state for state in StepState if state is not StepState.PENDING]
_MOST_RANKED: Final = 500
"""The maximum number of failed items, and of items under way, that are listed first. Others stay in index order."""

_LAST_RANK: Final = 2
_FAILED: Final = (StepState.FAILED, StepState.CANCELLED)


def read_loops(store: Store, run: RunRecord, nodes: Mapping[str, StepRecord]) -> dict[str, LoopView]:
    """Return a run's loops by id, with the states of their items."""
    found: dict[str, LoopView] = {}
    for node in nodes.values():
        expander = nodes.get(expander_id(node.id)) if node.kind is NodeKind.GATHER else None
        if expander is not None:
            counts = ItemCounts(total=0, states={})
            if expander.state is StepState.SUCCEEDED:
                known = counts_of_ended(node)
                # The store counts a thousand documents for the price of reading one.
                asked = _COUNTED if known is None and len(found) < MOST_LOOPS and expander.items else ()
                states: dict[StepState, int] = {state: store.count(_in_state(expander, state)) for state in asked}
                counts = known or separate_unstarted(node, count_states(expander.items, states))
            loop = LoopView(step=as_seen(node, nodes), expander=expander, counts=counts)
            found[node.id] = loop
            if counts.failed and len(found) <= MOST_LOOPS:
                found[node.id] = replace(loop, failed=_read_failed(store, run, expander))
    return found


def read_loop(store: Store, run: RunRecord, step_id: str) -> LoopView | None:
    """Return a step with `forEach` and the states of its items.

    Returns None if there is no such step.
    """
    if not is_step_id(step_id):
        return None
    paths = [step_path(run.id, one) for one in (step_id, expander_id(step_id))]
    nodes = [step_record(document) for document in store.get(paths) if document is not None]
    return read_loops(store, run, {node.id: node for node in nodes}).get(step_id)


def count_anew(store: Store, view: RunView) -> RunView:
    """Return the view with new counts for the steps in `counted`."""
    run = read_run(store, view.run_id)
    loops = {} if run is None else {step_id: read_loop(store, run, step_id) for step_id in view.counted}
    return replace(view, counted={**view.counted, **{name: loop.counts for name, loop in loops.items() if loop}})


def _in_state(expander: StepRecord, state: StepState, **options: Any) -> Query:
    """Return the query for the items in one state."""
    where: list[Condition] = [*items_of(expander), ("state", "==", state.value)]
    return Query(collection=steps_path(expander.run_id), where=where, **options)


def count_ended_items(store: Store, run: RunRecord) -> int:
    """Return how many items of a run have ended.

    The run must not have been retried, since earlier items of the same steps would count as well.
    """
    where: list[Condition] = [
        ("kind", "==", NodeKind.ITEM.value),
        ("state", "in", [state.value for state in TERMINAL_STEP_STATES]),
    ]
    return store.count(Query(collection=steps_path(run.id), where=where))


def items_of(expander: StepRecord) -> list[Condition]:
    """Return the conditions for the items that a node created."""
    return [
        ("each", "==", expander.each),
        ("expansion", "==", expander.expansion),
        ("kind", "==", NodeKind.ITEM.value),
    ]


def _read_failed(store: Store, run: RunRecord, expander: StepRecord) -> list[StepRecord]:
    """Return some items that failed on their own, in index order."""
    found: list[StepRecord] = []
    stops = stop_reasons(run)
    for state in _FAILED:
        items = map(step_record, store.query(_in_state(expander, state, limit=_FAILED_READ, fields=OUTLINE_FIELDS)))
        found += [item for item in items if fate_of(item, stops) in {Fate.FAILED, Fate.CANCELLED}]
        if len(found) >= MOST_FAILED_SHOWN:
            break
    return sorted(found, key=lambda item: item.index or 0)[:MOST_FAILED_SHOWN]


def read_some(store: Store, loop: LoopView, state: StepState) -> list[StepRecord]:
    """Return a few of the items in this state, in index order."""
    if not loop.counts.states.get(state):
        return []
    query = _in_state(loop.expander, state, limit=MOST_FAILED_SHOWN, fields=OUTLINE_FIELDS)
    return sorted(map(step_record, store.query(query)), key=lambda item: item.index or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsPage:
    """A page of a step's items.

    Failed items come first, then those under way, then all others in order.
    """

    loop: LoopView
    items: Sequence[StepRecord]
    number: int
    pages: int


def read_page(store: Store, loop: LoopView, *, number: int, size: int) -> ItemsPage:
    """Return a page of a step's items; page numbers start at 1.

    Besides the page, reads the indexes of at most `_MOST_RANKED` failed items and `_MOST_RANKED` items under way.
    """
    shown, pages = choose_indexes(store, loop, number=number, size=size)
    items = [step_record(found) for found in store.get(item_paths(loop, shown)) if found is not None]
    return ItemsPage(loop=loop, items=items, number=number, pages=pages)


def choose_indexes(store: Store, loop: LoopView, *, number: int, size: int) -> tuple[list[int], int]:
    """Return a page's item indexes in order, and the number of pages."""
    ranks = {**_rank(store, loop, UNDER_WAY, rank=1), **_rank(store, loop, _FAILED, rank=0)}
    total = loop.expander.items if loop.is_expanded else 0
    order = sorted(range(total), key=lambda index: (ranks.get(index, _LAST_RANK), index))
    return order[(number - 1) * size : number * size], max(1, -(-total // size))


def item_paths(loop: LoopView, indexes: Iterable[int]) -> list[str]:
    """Return the paths of some of a step's items."""
    step, expansion = loop.step, loop.expander.expansion
    return [step_path(step.run_id, item_id(step.id, index, expansion)) for index in indexes]


def _rank(store: Store, loop: LoopView, states: Sequence[StepState], *, rank: int) -> dict[int, int]:
    """Map the indexes of the items in these states to `rank`."""
    where: list[Condition] = [*items_of(loop.expander), ("state", "in", [state.value for state in states])]
    query = Query(collection=steps_path(loop.step.run_id), where=where, limit=_MOST_RANKED, fields=("index",))
    return {document.fields["index"]: rank for document in store.query(query)}
