"""Delta debugging: the smallest part of a list that still does what the whole list does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: Sequence[T], holds: Callable[[list[T]], bool]) -> list[T]:
    """A part of the items for which this holds, as it does for all: with any one of them less it no longer would.

    It may hold for nothing at all. The order is kept.
    """
    if not items or holds([]):
        return []
    kept, parts = list(items), 2
    while len(kept) > 1:
        smaller = next((one for one in _smaller(kept, parts) if holds(one)), None)
        if smaller is not None:
            parts = max(parts - 1, 2) if len(smaller) > len(kept) // 2 else 2
            kept = smaller
        elif parts >= len(kept):
            break
        else:
            parts = min(2 * parts, len(kept))
    return kept


def _smaller(items: list[T], parts: int) -> Iterator[list[T]]:
    """Each of so many parts by itself, then all without it."""
    bounds = [round(i * len(items) / parts) for i in range(parts + 1)]
    chunks = [(items[a:b], items[:a] + items[b:]) for a, b in pairwise(bounds) if a < b]
    yield from (part for part, _ in chunks)
    if parts > 2:
        yield from (rest for _, rest in chunks)
