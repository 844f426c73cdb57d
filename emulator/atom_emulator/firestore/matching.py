"""Filter documents, and sort those that match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from atom_emulator.firestore.cursors import Keys, between_cursors
from atom_emulator.firestore.queries import Order, Query, compile_filter, field_key
from atom_emulator.firestore.values import OrderKey
from atom_emulator.firestore.writes import Record


def match(records: Iterable[Record], query: Query, orders: Sequence[Order]) -> Iterator[tuple[Record, Keys]]:
    """Yield each match with its sort keys.

    A document that lacks a sort field does not match.
    """
    test = compile_filter(query.where) if query.where else None
    inside = between_cursors(query, orders)
    fields = [order.field for order in orders]
    for record in records:
        if test is not None and not test(record):
            continue
        keys = tuple(key for field in fields if (key := field_key(record, field)) is not None)
        if len(keys) == len(fields) and (inside is None or inside(keys)):
            yield record, keys


def sort_matches(found: Iterable[tuple[Record, Keys]], orders: Sequence[Order]) -> Iterator[Record]:
    """Return the documents in order."""
    rows = list(found)
    if len({order.descending for order in orders}) == 1:
        rows.sort(key=lambda row: row[1], reverse=orders[0].descending)
    else:
        for position in reversed(range(len(orders))):
            rows.sort(key=_key_at(position), reverse=orders[position].descending)
    return (record for record, _ in rows)


def _key_at(position: int) -> Callable[[tuple[Record, Keys]], OrderKey]:
    return lambda row: row[1][position]
