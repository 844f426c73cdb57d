"""The cursors of a query, which say where its results begin and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.queries import Cursor, Order, Query, value_key
from atom_emulator.firestore.values import OrderKey

Keys: TypeAlias = tuple[OrderKey, ...]


def cursor_keys(cursor: Cursor, orders: Sequence[Order]) -> Keys:
    """Return the sort keys at which a cursor stands."""
    if len(cursor.values) > len(orders):
        raise InvalidArgument("order by clause cannot contain less fields than the cursor values")
    return tuple(value_key(order.field, value) for order, value in zip(orders, cursor.values, strict=False))


def between_cursors(query: Query, orders: Sequence[Order]) -> Callable[[Keys], bool] | None:
    """Return the predicate for keys between the cursors, or None without cursors."""
    start = _beyond(query.start, orders) if query.start else None
    end = _beyond(query.end, orders) if query.end else None
    if start is None and end is None:
        return None
    return lambda keys: (start is None or start(keys)) and (end is None or not end(keys))


def _beyond(cursor: Cursor, orders: Sequence[Order]) -> Callable[[Keys], bool]:
    """Return the predicate for keys that follow a cursor.

    A key that equals the cursor follows it only if the cursor is placed before that key.
    """
    marks = tuple(zip(cursor_keys(cursor, orders), (order.descending for order in orders), strict=False))

    def behind(keys: Keys) -> bool:
        for key, (mark, descending) in zip(keys, marks, strict=False):
            if key != mark:
                return (key > mark) is not descending
        return cursor.before

    return behind
