"""A picture as compact JSON: nodes, bends and lines with coordinates.

It holds no states, since states change but positions do not: the page requests the picture once, and then colors it by
the steps' states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from atom_client.graph.columns import BOX_HEIGHT, BOX_WIDTH, fold_into_columns
from atom_client.graph.folding import Fold, Folded, fold_steps
from atom_client.graph.picture import Picture, Shape
from atom_client.graph.places import place_steps

_FINALLY_GAP: Final = 120
_FRAME: Final = 30


class Plot:
    """Collects the nodes and lines of a picture, part by part."""

    def __init__(self) -> None:
        self.nodes: list[Folded] = []
        # The left end and the middle of each box, and both ends and the height of each bend, one after the other.
        self.boxes: list[int] = []
        self.bends: list[int] = []
        # Pairs of indexes: of nodes, or of bends if negative, counted from -1.
        self.lines: list[int] = []
        self.width = 0.0
        self.height = 0.0

    def add(self, nodes: Sequence[Folded], left: float) -> None:
        """Lay out nodes to the right of `left`."""
        placed = place_steps([node.step for node in nodes])
        columns = fold_into_columns(placed)
        by_id = {place.step.id: place for layer in placed.layers for place in layer if place.step is not None}
        numbers = {}
        # The order of the picture is that of a list of its steps.
        for node in nodes:
            if (place := by_id.get(node.step.id)) is not None:
                spot = columns.spots[place]
                numbers[place] = len(self.nodes)
                self.nodes.append(node)
                self.boxes += (round(left + spot.left), round(spot.y))
        for layer in placed.layers:
            for place in layer:
                if place.step is None:
                    spot = columns.spots[place]
                    numbers[place] = -1 - len(self.bends) // 3
                    self.bends += (round(left + spot.left), round(left + spot.right), round(spot.y))
        for start, end in placed.segments:
            self.lines += (numbers[start], numbers[end])
        self.width, self.height = left + columns.width, max(self.height, columns.height)


def plot_picture(picture: Picture, fold: Fold = Fold.SIMILAR, opened: Collection[str] = ()) -> dict[str, Any]:
    """Return the picture as JSON values.

    `nodes` are ids in the order of the picture. `boxes`, `bends` and `lines` are flat lists of integers: see `Plot`.
    The members of folded nodes, shapes and notes are listed by the nodes' indexes; `finally` is the index of the first
    node under `finally`, and `frame` the left edge of the frame around those nodes.
    """
    plot = Plot()
    plot.add(fold_steps(picture.main, fold, opened), 0)
    first, frame = len(plot.nodes), None
    if picture.under_finally:
        left = plot.width + _FINALLY_GAP if picture.main else float(_FRAME)
        frame = round(left) - _FRAME
        plot.add(fold_steps(picture.under_finally, fold, opened), left)
    return {
        "nodes": [node.step.id for node in plot.nodes],
        "boxes": plot.boxes,
        "bends": plot.bends,
        "lines": plot.lines,
        "box": [BOX_WIDTH, BOX_HEIGHT],
        "size": [round(plot.width), round(plot.height)],
        "members": _by_index(
            plot.nodes, lambda node: [one.id for one in node.members] if len(node.members) > 1 else []
        ),
        "shapes": _by_index(plot.nodes, lambda node: "" if node.step.shape is Shape.JOB else node.step.shape.value),
        "notes": _by_index(plot.nodes, lambda node: [] if node.is_folded else list(node.step.notes)),
        "conditional": [
            index for index, node in enumerate(plot.nodes) if any(member.is_conditional for member in node.members)
        ],
        "finally": first,
        "frame": frame,
        "fold": fold.value,
        "opened": sorted(opened),
        "steps": len(picture.steps),
    }


def _by_index(nodes: Sequence[Folded], ask: Callable[[Folded], Any]) -> dict[int, Any]:
    return {index: value for index, node in enumerate(nodes) if (value := ask(node))}
