"""Arrange a graph's steps in layers, ordered so that few lines cross.

Layers run from left to right. This is a simple form of the method of Sugiyama, Tagawa and Toda (1981). Lines that pass
a layer get a place in it, so that they bend around its steps. The order comes from a breadth-first search, followed by
a few sweeps in which each place moves to the mean of its neighbors. Each place is as close to the height of its
neighbors as the order and the sizes of the places allow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from atom_client.graph.picture import PicturedStep, number_layers

_SWEEPS: Final = 4
_MOST_BENDS: Final = 20_000
"""With more bends than this, lines are drawn straight through the layers that they pass."""


@dataclass(eq=False, slots=True, kw_only=True)
class Place:
    """The place of a step, or of a bend in a line.

    For a bend, `step` is None. `y` is the middle of the place, in units of one step's height including the gap below
    it.
    """

    step: PicturedStep | None
    layer: int
    y: float = 0.0
    left: list[Place] = field(default_factory=list)
    right: list[Place] = field(default_factory=list)

    @property
    def height(self) -> float:
        """The vertical space that the place takes up."""
        return 0.4 if self.step is None else 1.0


class Segment(NamedTuple):
    """A part of a line, from one place to another farther right."""

    start: Place
    end: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The places and lines of a graph, and its total height.

    The places are listed by layer, and within a layer from top to bottom.
    """

    layers: Sequence[Sequence[Place]]
    segments: Sequence[Segment]
    height: float


def place_steps(steps: Sequence[PicturedStep]) -> Placed:
    """Return the places of steps and lines."""
    numbers = number_layers(steps)
    places = {step.id: Place(step=step, layer=numbers[step.id]) for step in steps if step.id in numbers}
    layers: list[list[Place]] = [[] for _ in range(max(numbers.values(), default=-1) + 1)]
    for place in places.values():
        layers[place.layer].append(place)
    segments = _lead_lines(places, layers)
    for start, end in segments:
        start.right.append(end)
        end.left.append(start)
    _order(layers)
    for layer in layers:
        _settle(layer, [0.0] * len(layer))
    move_close(layers)
    everything = [place for layer in layers for place in layer]
    top = min((place.y - place.height / 2 for place in everything), default=0.0)
    for place in everything:
        place.y -= top
    height = max((place.y + place.height / 2 for place in everything), default=0.0)
    return Placed(layers=layers, segments=segments, height=height)


def move_close(layers: Sequence[Sequence[Place]], fixed: Collection[int] = ()) -> None:
    """Move each layer's places close to their neighbors in adjacent layers.

    Layers whose numbers are `fixed` stay as they are.
    """
    numbers = range(len(layers))
    for order, side in ((numbers, "left"), (reversed(numbers), "right"), (numbers, "left")):
        for number in order:
            if number in fixed:
                continue
            wishes = []
            for place in layers[number]:
                near: list[Place] = getattr(place, side)
                wishes.append(sum(one.y for one in near) / len(near) if near else place.y)
            _settle(layers[number], wishes)


def _lead_lines(places: Mapping[str, Place], layers: Sequence[list[Place]]) -> list[Segment]:
    """Return lines for all dependencies, and add their bends to the layers.

    All lines that come from one step share their bends.
    """
    ends: dict[str, list[Place]] = {}
    for place in places.values():
        for one in place.step.after if place.step is not None else ():
            ends.setdefault(one, []).append(place)
    lines = [(places[one], targets) for one, targets in ends.items() if one in places]
    bends = sum(max(place.layer for place in targets) - start.layer - 1 for start, targets in lines)
    segments = []
    for start, targets in lines:
        last = start
        reached = {start.layer: start}
        for layer in range(start.layer + 1, max(place.layer for place in targets)) if bends <= _MOST_BENDS else ():
            bend = reached[layer] = Place(step=None, layer=layer)
            layers[layer].append(bend)
            segments.append(Segment(last, bend))
            last = bend
        segments += [Segment(reached.get(place.layer - 1, start), place) for place in targets]
    return segments


def _order(layers: Sequence[list[Place]]) -> None:
    """Sort each layer so that fewer lines cross."""
    # The sweeps only improve the order that they begin with. They begin with the order of a breadth-first search along
    # lines, so that places that few lines separate are close to each other, whatever the order of the file.
    found: dict[Place, int] = {}
    for root in (place for layer in layers for place in layer):
        waiting = deque([root])
        while waiting:
            place = waiting.popleft()
            if place not in found:
                found[place] = len(found)
                waiting += (*place.right, *place.left)
    for layer in layers:
        layer.sort(key=found.__getitem__)
    rank = {place: float(number) for layer in layers for number, place in enumerate(layer)}

    def arrange(layer: list[Place], side: str) -> None:
        keys = {}
        for place in layer:
            near: list[Place] = getattr(place, side)
            keys[place] = sum(rank[one] for one in near) / len(near) if near else rank[place]
        layer.sort(key=keys.__getitem__)
        rank.update((place, float(number)) for number, place in enumerate(layer))

    for _ in range(_SWEEPS):
        for layer in layers[1:]:
            arrange(layer, "left")
        for layer in reversed(layers[:-1]):
            arrange(layer, "right")


def _settle(layer: Sequence[Place], wishes: Sequence[float]) -> None:
    """Move a layer's places as close to their desired heights as possible.

    Their order does not change, and no two overlap. This is isotonic regression by pooling adjacent violators.
    """
    offsets, below = [], 0.0
    for place in layer:
        offsets.append(below + place.height / 2)
        below += place.height
    # Pools of places that touch each other, as their size and the sum of their wishes.
    pools: list[tuple[int, float]] = []
    for offset, wish in zip(offsets, wishes, strict=True):
        size, total = 1, wish - offset
        while pools and pools[-1][1] / pools[-1][0] >= total / size:
            other = pools.pop()
            size, total = size + other[0], total + other[1]
        pools.append((size, total))
    starts = [total / size for size, total in pools for _ in range(size)]
    for place, offset, start in zip(layer, offsets, starts, strict=True):
        place.y = start + offset
