"""Shapes of graphs: random ones, and those that break joins.

Each function returns what step `i` of `count` depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final, TypeAlias

Shape: TypeAlias = Callable[[int, int, Random], Iterable[int]]


def _chain(i: int, _count: int, _chance: Random) -> Iterable[int]:
    return range(i - 1, i) if i else ()


def _diamonds(i: int, _count: int, _chance: Random) -> Iterable[int]:
    """Return a chain of diamonds.

    The levels have one, two, one, two … steps; every second level joins the one before.
    """
    place = i % 3
    if place == 0:
        return (i - 2, i - 1) if i else ()
    return (i - place,)


def _full_layers(i: int, _count: int, _chance: Random) -> Iterable[int]:
    width = 4
    layer = i // width
    return range((layer - 1) * width, layer * width) if layer else ()


def _fan(i: int, count: int, _chance: Random) -> Iterable[int]:
    """Return a root, all others below it, and one that joins them."""
    if i == 0:
        return ()
    return range(1, count - 1) if i == count - 1 > 1 else (0,)


def _fan_in(i: int, count: int, _chance: Random) -> Iterable[int]:
    return range(count - 1) if i == count - 1 else ()


def _fan_out(i: int, _count: int, _chance: Random) -> Iterable[int]:
    return (0,) if i else ()


def _tree(i: int, _count: int, _chance: Random) -> Iterable[int]:
    return ((i - 1) // 2,) if i else ()


def _sparse(i: int, _count: int, chance: Random) -> Iterable[int]:
    return chance.sample(range(i), min(i, chance.choice([0, 1, 1, 2])))


def _dense(i: int, _count: int, chance: Random) -> Iterable[int]:
    return chance.sample(range(i), chance.randint(0, min(i, 5)))


def _apart(_i: int, _count: int, _chance: Random) -> Iterable[int]:
    return ()


SHAPES: Final[Mapping[str, Shape]] = {
    "chain": _chain,
    "diamonds": _diamonds,
    "full layers": _full_layers,
    "fan": _fan,
    "fan-in": _fan_in,
    "fan-out": _fan_out,
    "tree": _tree,
    "sparse": _sparse,
    "dense": _dense,
    "apart": _apart,
}
