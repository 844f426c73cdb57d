"""Place a graph on a page, folding layers that are too tall.

A layer of 1,900 steps, drawn as a column, would shrink the whole graph to a line. Folded, its steps stand in rows from
left to right, in the order of the layout, and lines to steps farther right pass above or below them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple

from atom_client.graph.places import Place, Placed, move_close

BOX_WIDTH: Final = 190
BOX_HEIGHT: Final = 40
ROW: Final = 54
"""The height of a box including the gap below it."""

_LAYER_GAP: Final = 76
_COLUMN_GAP: Final = 16
_LEAST_ROWS: Final = 16
"""Layers with up to this many steps fit on any screen, so they are never folded."""

_SHAPE_OF_SCREENS: Final = 0.62
"""The ratio of a graph's height to its width that fits most windows."""

_BAND: Final = 3.0
"""The most rows that lines take up above and below a folded layer."""


class Spot(NamedTuple):
    """The ends and vertical center of a box or bend, in pixels."""

    left: float
    right: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where each place is drawn, and the size of the graph."""

    spots: Mapping[Place, Spot]
    width: float
    height: float


def fold_into_columns(placed: Placed) -> Columns:
    """Return where to draw each place; changes the heights of the places."""
    steps = [[place for place in layer if place.step is not None] for layer in placed.layers]
    rows = _choose_rows([len(layer) for layer in steps])
    columns = [ceil(len(layer) / rows) for layer in steps]
    folded = {number for number, count in enumerate(columns) if count > 1}
    for number in folded:
        _stack(placed.layers[number], steps[number], columns[number])
    if folded:
        move_close(placed.layers, folded)
    spots: dict[Place, Spot] = {}
    left = 0.0
    for layer, members, count in zip(placed.layers, steps, columns, strict=True):
        width = _width_of(count)
        spots.update((place, Spot(left, left + width, place.y * ROW)) for place in layer if place.step is None)
        for number, place in enumerate(members):
            x = left + (number % count) * (BOX_WIDTH + _COLUMN_GAP)
            spots[place] = Spot(x, x + BOX_WIDTH, place.y * ROW)
        left += width + _LAYER_GAP
    top = min((spot.y for spot in spots.values()), default=0.0) - ROW / 2
    bottom = max((spot.y for spot in spots.values()), default=0.0) + ROW / 2
    moved = {place: spot._replace(y=spot.y - top) for place, spot in spots.items()}
    return Columns(spots=moved, width=max(0.0, left - _LAYER_GAP), height=bottom - top)


def _width_of(columns: int) -> float:
    return columns * (BOX_WIDTH + _COLUMN_GAP) - _COLUMN_GAP


def _choose_rows(sizes: Sequence[int]) -> int:
    """Return the fewest rows that make the graph fit a screen."""
    low, high = _LEAST_ROWS, max(_LEAST_ROWS, *sizes, 0)
    while low < high:
        rows = (low + high) // 2
        width = sum(_width_of(ceil(size / rows)) + _LAYER_GAP for size in sizes)
        low, high = (low, rows) if width * _SHAPE_OF_SCREENS <= rows * ROW else (rows + 1, high)
    return low


def _stack(layer: Sequence[Place], steps: Sequence[Place], columns: int) -> None:
    """Place a layer's steps in rows, and its bends above and below.

    All keep the layer's order.
    """
    rows = ceil(len(steps) / columns)
    for number, place in enumerate(steps):
        place.y = number // columns - (rows - 1) / 2
    middle = steps[len(steps) // 2]
    ranks = {place: number for number, place in enumerate(layer)}
    above = [place for place in layer if place.step is None and ranks[place] < ranks[middle]]
    below = [place for place in layer if place.step is None and ranks[place] > ranks[middle]]
    for bends, direction in ((above[::-1], -1), (below, 1)):
        gap = min(0.4, _BAND / max(1, len(bends)))
        for number, place in enumerate(bends, start=1):
            place.y = direction * (rows / 2 + number * gap)
