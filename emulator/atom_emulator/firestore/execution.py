"""Run a query: choose the documents to examine, then filter, sort and limit them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.indexes import FieldIndex, Span
from atom_emulator.firestore.paths import MISSING, NAME, FieldPath, look_up, put
from atom_emulator.firestore.queries import (
    Cursor,
    Order,
    Query,
    compile_filter,
    field_key,
    find_required,
    full_order,
    value_key,
)
from atom_emulator.firestore.storage import Storage, in_scope
from atom_emulator.firestore.values import Fields, OrderKey
from atom_emulator.firestore.writes import Record

Keys: TypeAlias = tuple[OrderKey, ...]
Overlay: TypeAlias = Mapping[str, Record | None]
"""The documents that have changed since a snapshot, as they were at that snapshot."""

_STREAM_FACTOR: Final = 8
"""The assumed number of documents that a walk in result order examines for each one that it returns."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A part of an index; `ordered` means that walking it yields the results in their final order."""

    index: FieldIndex
    span: Span
    ordered: bool
    cost: int


def run(storage: Storage, query: Query, overlay: Overlay) -> list[Record]:
    """Return the matching documents in order, with the selected fields.

    The documents are as of the overlay's snapshot.
    """
    if query.offset < 0 or (query.limit or 0) < 0:
        raise InvalidArgument("offset and limit must not be negative")
    orders = full_order(query)
    changed = {path: record for path, record in overlay.items() if _concerns(storage, query, path, record)}
    plan = None if changed else _choose(storage, query, orders)
    found = _match(_find_candidates(storage, query, plan, changed), query, orders)
    rows = (record for record, _ in found) if plan and plan.ordered else _sort(found, orders)
    stop = None if query.limit is None else query.offset + query.limit
    page = islice(rows, query.offset, stop)
    return list(page) if query.select is None else [project(record, query.select) for record in page]


def concerns(storage: Storage, query: Query, overlay: Overlay) -> bool:
    """Return True if a document in a query's scope has changed.

    Only changes since the overlay's snapshot count.
    """
    return any(_concerns(storage, query, path, record) for path, record in overlay.items())


def _concerns(storage: Storage, query: Query, path: str, old: Record | None) -> bool:
    record = old or storage.records.get(path)
    return record is not None and in_scope(query, record)


def _find_candidates(storage: Storage, query: Query, plan: _Plan | None, changed: Overlay) -> Iterable[Record]:
    if plan:
        descending = plan.ordered and full_order(query)[0].descending
        records = map(storage.records.__getitem__, plan.index.walk(plan.span, descending=descending))
        return (record for record in records if in_scope(query, record)) if query.parent else records
    if changed:
        current = (record for record in storage.scan(query) if record.path not in changed)
        return [*current, *filter(None, changed.values())]
    return storage.scan(query)


# -- which index -----------------------------------------------------------------------------------


def _choose(storage: Storage, query: Query, orders: Sequence[Order]) -> _Plan | None:
    """Return the cheapest way through an index, or None for a scan."""
    # A condition that every match must satisfy selects a part of its field's index. The index of the first sort field
    # yields sorted results, so a limit can end the walk early. The plan that examines the fewest documents wins.
    plans = [*_plan_by_filter(storage, query, orders), *_plan_by_order(storage, query, orders)]
    return min(plans, key=lambda plan: plan.cost, default=None)


def _plan_by_filter(storage: Storage, query: Query, orders: Sequence[Order]) -> Iterator[_Plan]:
    for one in find_required(query.where):
        index = None if one.field == NAME else storage.index(query, one.field)
        span = index and index.span(one)
        if index and span:
            yield _make_plan(index, span, query, orders)


def _plan_by_order(storage: Storage, query: Query, orders: Sequence[Order]) -> Iterator[_Plan]:
    """Plan a walk along the index of the first sort field.

    This pays off only if a limit asks for the first few results.
    """
    if query.limit is None or orders[0].field == NAME:
        return
    index = storage.index(query, orders[0].field)
    if index:
        plan = _make_plan(index, index.whole(), query, orders)
        if plan.ordered:
            yield plan


def _make_plan(index: FieldIndex, span: Span, query: Query, orders: Sequence[Order]) -> _Plan:
    if not _gives_order(index, orders):
        return _Plan(index, span, ordered=False, cost=span[1] - span[0])
    start, stop = _within_cursors(index, span, query, orders)
    cost = stop - start
    if query.limit is not None:
        cost = min(cost, (query.offset + query.limit) * _STREAM_FACTOR)
    return _Plan(index, (start, stop), ordered=True, cost=cost)


def _gives_order(index: FieldIndex, orders: Sequence[Order]) -> bool:
    if len(orders) != len((index.field, NAME)) or orders[0].descending != orders[1].descending:
        return False
    return orders[0].field == index.field and orders[1].field == NAME


def _within_cursors(index: FieldIndex, span: Span, query: Query, orders: Sequence[Order]) -> Span:
    """Return the part of a span between the query's cursors.

    In descending order, the start cursor bounds the end of the span.
    """
    descending = orders[0].descending
    start, stop = span
    for cursor, first in ((query.start, not descending), (query.end, descending)):
        if cursor is None:
            continue
        place = index.place(_cursor_keys(cursor, orders), after=cursor.before == descending)
        start, stop = (max(start, place), stop) if first else (start, min(stop, place))
    return start, max(start, stop)


# -- filter, sort, limit ---------------------------------------------------------------------------


def _match(records: Iterable[Record], query: Query, orders: Sequence[Order]) -> Iterator[tuple[Record, Keys]]:
    """Yield each match with its sort keys.

    A document that lacks a sort field does not match.
    """
    test = compile_filter(query.where) if query.where else None
    inside = _between_cursors(query, orders)
    fields = [order.field for order in orders]
    for record in records:
        if test is not None and not test(record):
            continue
        keys = tuple(key for field in fields if (key := field_key(record, field)) is not None)
        if len(keys) == len(fields) and (inside is None or inside(keys)):
            yield record, keys


def _sort(found: Iterable[tuple[Record, Keys]], orders: Sequence[Order]) -> Iterator[Record]:
    rows = list(found)
    if len({order.descending for order in orders}) == 1:
        rows.sort(key=lambda row: row[1], reverse=orders[0].descending)
    else:
        for position in reversed(range(len(orders))):
            rows.sort(key=_key_at(position), reverse=orders[position].descending)
    return (record for record, _ in rows)


def _key_at(position: int) -> Callable[[tuple[Record, Keys]], OrderKey]:
    return lambda row: row[1][position]


def _cursor_keys(cursor: Cursor, orders: Sequence[Order]) -> Keys:
    if len(cursor.values) > len(orders):
        raise InvalidArgument("order by clause cannot contain less fields than the cursor values")
    return tuple(value_key(order.field, value) for order, value in zip(orders, cursor.values, strict=False))


def _between_cursors(query: Query, orders: Sequence[Order]) -> Callable[[Keys], bool] | None:
    start = _beyond(query.start, orders) if query.start else None
    end = _beyond(query.end, orders) if query.end else None
    if start is None and end is None:
        return None
    return lambda keys: (start is None or start(keys)) and (end is None or not end(keys))


def _beyond(cursor: Cursor, orders: Sequence[Order]) -> Callable[[Keys], bool]:
    """Return the predicate for keys that follow a cursor.

    A key that equals the cursor follows it only if the cursor is placed before that key.
    """
    marks = tuple(zip(_cursor_keys(cursor, orders), (order.descending for order in orders), strict=False))

    def behind(keys: Keys) -> bool:
        for key, (mark, descending) in zip(keys, marks, strict=False):
            if key != mark:
                return (key > mark) is not descending
        return cursor.before

    return behind


def project(record: Record, select: Iterable[FieldPath]) -> Record:
    """Return a document with the selected fields only."""
    fields: Fields = {}
    for path in select:
        if len(path) == 1 and path != NAME:
            # Most fields are not nested, and most queries select many of them.
            if path[0] in record.fields:
                fields[path[0]] = record.fields[path[0]]
            continue
        value = MISSING if path == NAME else look_up(record.fields, path)
        if value is not MISSING:
            put(fields, path, value)
    return Record(record.path, record.segments, fields, record.created, record.updated)
