"""Choose the index with which a query examines the fewest documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from atom_emulator.firestore.cursors import cursor_keys
from atom_emulator.firestore.indexes import FieldIndex, Span
from atom_emulator.firestore.paths import NAME
from atom_emulator.firestore.queries import Order, Query, find_required
from atom_emulator.firestore.storage import Storage

_STREAM_FACTOR: Final = 8
"""The assumed number of documents that a walk in result order examines for each one that it returns."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A part of an index; `ordered` means that walking it yields the results in their final order."""

    index: FieldIndex
    span: Span
    ordered: bool
    cost: int


def choose_plan(storage: Storage, query: Query, orders: Sequence[Order]) -> Plan | None:
    """Return the cheapest way through an index, or None for a scan."""
    # A condition that every match must satisfy selects a part of its field's index. The index of the first sort field
    # yields sorted results, so a limit can end the walk early. The plan that examines the fewest documents wins.
    plans = [*_plan_by_filter(storage, query, orders), *_plan_by_order(storage, query, orders)]
    return min(plans, key=lambda plan: plan.cost, default=None)


def _plan_by_filter(storage: Storage, query: Query, orders: Sequence[Order]) -> Iterator[Plan]:
    for one in find_required(query.where):
        index = None if one.field == NAME else storage.index(query, one.field)
        span = index and index.span(one)
        if index and span:
            yield _make_plan(index, span, query, orders)


def _plan_by_order(storage: Storage, query: Query, orders: Sequence[Order]) -> Iterator[Plan]:
    """Plan a walk along the index of the first sort field.

    This pays off only if a limit asks for the first few results.
    """
    if query.limit is None:
        return
    index = storage.index(query, orders[0].field)
    if index:
        plan = _make_plan(index, index.whole(), query, orders)
        if plan.ordered:
            yield plan


def _make_plan(index: FieldIndex, span: Span, query: Query, orders: Sequence[Order]) -> Plan:
    is_by_field = tuple(order.field for order in orders) in {(NAME,), (index.field, NAME)}
    if not is_by_field or orders[0].field != index.field or orders[0].descending != orders[-1].descending:
        return Plan(index, span, ordered=False, cost=span[1] - span[0])
    start, stop = _within_cursors(index, span, query, orders)
    cost = stop - start
    if query.limit is not None:
        cost = min(cost, (query.offset + query.limit) * _STREAM_FACTOR)
    return Plan(index, (start, stop), ordered=True, cost=cost)


def _within_cursors(index: FieldIndex, span: Span, query: Query, orders: Sequence[Order]) -> Span:
    """Return the part of a span between the query's cursors.

    In descending order, the start cursor bounds the end of the span.
    """
    descending = orders[0].descending
    start, stop = span
    for cursor, first in ((query.start, not descending), (query.end, descending)):
        if cursor is None:
            continue
        place = index.place(cursor_keys(cursor, orders), after=cursor.before == descending)
        start, stop = (max(start, place), stop) if first else (start, min(stop, place))
    return start, max(start, stop)
