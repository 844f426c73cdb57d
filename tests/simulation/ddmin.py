"""Delta debugging: reduce a list to a small part for which a condition still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: Sequence[T], holds: Callable[[list[T]], bool]) -> list[T]:
    """Return a minimal part for which the condition holds.

    It must hold for all items. Without any one of the returned items it no longer holds. The part may be empty. The
    order is kept.
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
    """Yield each of so many parts by itself, then everything without each."""
    bounds = [round(i * len(items) / parts) for i in range(parts + 1)]
    chunks = [(items[a:b], items[:a] + items[b:]) for a, b in pairwise(bounds) if a < b]
    yield from (part for part, _ in chunks)
    if parts > 2:
        yield from (rest for _, rest in chunks)
