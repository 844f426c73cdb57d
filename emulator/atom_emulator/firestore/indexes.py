"""Sorted field indexes, which let a query read only its results instead of every document."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from atom_emulator.firestore.paths import FieldPath
from atom_emulator.firestore.queries import Compare, Op, field_key
from atom_emulator.firestore.values import OrderKey, order_key
from atom_emulator.firestore.writes import Record

Entry: TypeAlias = tuple[OrderKey, tuple[str, ...], str]
"""A value's sort key, the document's path in parts (the order of names), and the path."""

Span: TypeAlias = tuple[int, int]


class FieldIndex:
    """The documents of one scope that have a field, sorted by its value and then by name."""

    def __init__(self, field: FieldPath, records: Iterable[Record]) -> None:
        self.field = field
        self._entries = sorted(filter(None, map(self._entry, records)))

    def _entry(self, record: Record) -> Entry | None:
        key = field_key(record, self.field)
        return None if key is None else (key, record.segments, record.path)

    def replace(self, old: Record | None, new: Record | None) -> None:
        """Update the index after a document has changed.

        An unchanged field costs one comparison.
        """
        before = self._entry(old) if old else None
        after = self._entry(new) if new else None
        if before == after:
            return
        if before is not None:
            del self._entries[bisect_left(self._entries, before)]
        if after is not None:
            insort(self._entries, after)

    def span(self, one: Compare) -> Span | None:
        """Return the span of the entries that can match a comparison.

        Returns None if the entries are not contiguous.
        """
        if one.op is Op.IS_NULL:
            return self._between((0,), (0,))
        key = order_key(one.value) if one.op in _SPANS else ()
        if one.op is Op.EQUAL:
            return self._between(key, key)
        if one.op in (Op.LESS, Op.AT_MOST):
            return self._between(key[:1], key)
        if one.op in (Op.GREATER, Op.AT_LEAST):
            return self._between(key, key[:1])
        return None

    def _between(self, low: OrderKey, high: OrderKey) -> Span:
        """Return the entries from `low` to the last matching `high`.

        `high` may consist of a type's rank alone, which matches every value of that type.
        """
        width = len(high)
        start = bisect_left(self._entries, (low,))
        stop = bisect_right(self._entries, high, key=lambda entry: entry[0][:width])
        return start, max(start, stop)

    def whole(self) -> Span:
        """Return the span of every entry."""
        return 0, len(self._entries)

    def place(self, keys: tuple[Any, ...], *, after: bool) -> int:
        """Return the position before or after the entries with these keys.

        The keys are the beginning of an entry: the value, or the value and the name.
        """
        width = len(keys)
        if after:
            return bisect_right(self._entries, keys, key=lambda entry: entry[:width])
        return bisect_left(self._entries, keys)

    def walk(self, span: Span, *, descending: bool = False) -> Iterator[str]:
        """Iterate over the paths in a span, in order or in reverse."""
        start, stop = span
        positions = range(stop - 1, start - 1, -1) if descending else range(start, stop)
        return (self._entries[position][2] for position in positions)


_SPANS = frozenset({Op.EQUAL, Op.LESS, Op.AT_MOST, Op.GREATER, Op.AT_LEAST})
