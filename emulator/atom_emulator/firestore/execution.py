"""Run a query: choose the documents to examine, then filter, sort and limit them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.matching import match, sort_matches
from atom_emulator.firestore.paths import MISSING, NAME, FieldPath, look_up, put
from atom_emulator.firestore.plans import Plan, choose_plan
from atom_emulator.firestore.queries import Query, full_order
from atom_emulator.firestore.storage import Storage, in_scope
from atom_emulator.firestore.values import Fields
from atom_emulator.firestore.writes import Record

Overlay: TypeAlias = Mapping[str, Record | None]
"""The documents that have changed since a snapshot, as they were at that snapshot."""


def run(storage: Storage, query: Query, overlay: Overlay) -> list[Record]:
    """Return the matching documents in order, with the selected fields.

    The documents are as of the overlay's snapshot.
    """
    changed = {path: record for path, record in overlay.items() if _concerns(storage, query, path, record)}
    plan = None if changed else choose_plan(storage, query, full_order(query))
    candidates = _find_candidates(storage, query, plan, changed)
    return choose(candidates, query, in_order=plan is not None and plan.ordered)


def choose(candidates: Iterable[Record], query: Query, *, in_order: bool = False) -> list[Record]:
    """Return the matches among some documents in order, with the selected fields.

    If the documents come in the order of the results, no more are consumed than the limit requires.
    """
    if query.offset < 0 or (query.limit or 0) < 0:
        raise InvalidArgument("offset and limit must not be negative")
    orders = full_order(query)
    found = match(candidates, query, orders)
    rows = (record for record, _ in found) if in_order else sort_matches(found, orders)
    stop = None if query.limit is None else query.offset + query.limit
    page = islice(rows, query.offset, stop)
    if query.select is None:
        return list(page)
    return [project(record, query.select) for record in page]


def concerns(storage: Storage, query: Query, overlay: Overlay) -> bool:
    """Return True if a document in a query's scope has changed.

    Only changes since the overlay's snapshot count.
    """
    return any(_concerns(storage, query, path, record) for path, record in overlay.items())


def _concerns(storage: Storage, query: Query, path: str, old: Record | None) -> bool:
    record = old or storage.records.get(path)
    return record is not None and in_scope(query, record)


def _find_candidates(storage: Storage, query: Query, plan: Plan | None, changed: Overlay) -> Iterable[Record]:
    if plan:
        descending = plan.ordered and full_order(query)[0].descending
        records = map(storage.records.__getitem__, plan.index.walk(plan.span, descending=descending))
        return (record for record in records if in_scope(query, record)) if query.parent else records
    if changed:
        current = (record for record in storage.scan(query) if record.path not in changed)
        return [*current, *filter(None, changed.values())]
    return storage.scan(query)


def project(record: Record, select: Iterable[FieldPath]) -> Record:
    """Return a document with the selected fields only."""
    # A document of a history decodes its fields each time that they are asked for.
    own = record.fields
    names, nested = _split_selection(tuple(select))
    # Most fields are not nested, and most queries select many more of them than a document has.
    fields: Fields = {name: value for name, value in own.items() if name in names}
    for path in nested:
        value = look_up(own, path)
        if value is not MISSING:
            put(fields, path, value)
    return Record(record.path, record.segments, fields, record.created, record.updated)


@lru_cache(maxsize=64)
def _split_selection(select: tuple[FieldPath, ...]) -> tuple[frozenset[str], tuple[FieldPath, ...]]:
    """Return the names of fields selected whole, and the paths into others."""
    whole = frozenset(path[0] for path in select if len(path) == 1 and path != NAME)
    return whole, tuple(path for path in select if len(path) > 1)
