"""Arrange steps in rows beside rails, as `git log --graph` does.

Each unit has a row, and a rail leads down from it to the last unit that depends on it. In the row of a unit, a
horizontal line joins it with the rails of everything that it depends on; other rails pass through the line unbroken.
A unit is a step, or several steps that have the same dependencies and the same dependents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from atom_client.graph.picture import PicturedStep, group_fans, number_layers

LEAST_TOGETHER: Final = 3
"""Two steps side by side are still drawn as a fork; with more, the lines would hide the rest of the picture."""


class Glyphs(NamedTuple):
    """The characters of a drawing."""

    rail: str = "│"
    line: str = "─"
    # Where a rail goes on behind its joint with a line, by its place in the line: first, last or between.
    goes_on: str = "├┤┼"
    # Where it ends there.
    ends: str = "└┘┴"
    # Beside the first, the middle and the last of several steps in a unit.
    bracket: str = "┬├└"


ASCII_GLYPHS: Final = Glyphs(rail="|", line="-", goes_on="+++", ends="'''", bracket="+|'")

NODE: Final = "\0"
"""Stands for a unit's symbol in a row."""


@dataclass(eq=False, slots=True, kw_only=True)
class Unit:
    """Steps drawn as one, with their dependencies and number of dependents."""

    steps: list[PicturedStep]
    after: list[Unit] = field(default_factory=list)
    dependents: int = 0


class Row(NamedTuple):
    """A unit and the rails beside it.

    `rails` are those in its first row, `below` those in each of its other rows.
    """

    unit: Unit
    rails: str
    below: str


def units_of(steps: Sequence[PicturedStep]) -> list[Unit]:
    """Return a graph's units, in an order that needs few parallel rails."""
    units: dict[str, Unit] = {}
    for group in group_fans(steps):
        for members in [group] if len(group) >= LEAST_TOGETHER else ([step] for step in group):
            units |= dict.fromkeys((step.id for step in members), Unit(steps=members))
    unique = list(dict.fromkeys(units.values()))
    for unit in unique:
        unit.after = list(dict.fromkeys(units[one] for one in unit.steps[0].after if one in units))
        for other in unit.after:
            other.dependents += 1
    return _in_drawing_order(unique, list(number_layers(steps)))


def _in_drawing_order(units: list[Unit], ids: list[str]) -> list[Unit]:
    """Order units so that dependencies come first and rails end early."""
    place = {one: number for number, one in enumerate(ids)}
    waiting = [unit for unit in units if unit.steps[0].id in place]
    left = {unit: unit.dependents for unit in waiting}
    drawn: dict[Unit, int] = {}
    order: list[Unit] = []

    def worth(unit: Unit) -> tuple[int, int, int]:
        """Prefer the unit that ends the most rails.

        Among several, prefer the one whose dependencies were drawn last.
        """
        ended = sum(left[one] == 1 for one in unit.after)
        newest = max((drawn[one] for one in unit.after), default=-1)
        return ended, newest, -place[unit.steps[0].id]

    while waiting:
        ready = [unit for unit in waiting if all(one in drawn for one in unit.after)]
        chosen = max(ready, key=worth)
        waiting.remove(chosen)
        drawn[chosen] = len(order)
        order.append(chosen)
        for one in chosen.after:
            left[one] -= 1
    return order


def arrange(units: Sequence[Unit], glyphs: Glyphs) -> Iterator[Row]:
    """Yield the row of each unit."""
    left = {unit: unit.dependents for unit in units}
    columns: list[Unit | None] = []
    just_used = -1
    for unit in units:
        before = list(columns)
        for one in unit.after:
            left[one] -= 1
        joints = {column: one for column, one in enumerate(columns) if one is not None and one in unit.after}
        ended = {column for column, one in joints.items() if not left[one]}
        for column in ended:
            columns[column] = None
        # Right below a unit that nothing depends on, another one would look as if it did.
        free = [column for column, one in enumerate(columns) if one is None and column != just_used]
        own = min(ended or free, default=len(columns) + (len(columns) == just_used))
        columns += [None] * (own + 1 - len(columns))
        columns[own] = unit if unit.dependents else None
        just_used = own
        yield Row(
            unit=unit,
            rails=_draw(before + [None] * (len(columns) - len(before)), joints, ended, own, glyphs),
            below=" ".join(glyphs.rail if one else " " for one in columns),
        )
        while columns and columns[-1] is None:
            columns.pop()


def _draw(before: Sequence[Unit | None], joints: Collection[int], ended: set[int], own: int, glyphs: Glyphs) -> str:
    """Return a unit's first row.

    It has the unit's symbol, its line to the rails it joins, and all other rails.
    """
    first, last = min([own, *joints]), max([own, *joints])
    drawn = []
    for column, rail in enumerate(before):
        is_in_line = first <= column <= last
        if column == own:
            drawn.append(NODE)
        elif column in joints:
            joint = glyphs.ends if column in ended else glyphs.goes_on
            drawn.append(joint[0] if column == first else joint[1] if column == last else joint[2])
        elif rail is not None:
            drawn.append(glyphs.rail)
        else:
            drawn.append(glyphs.line if is_in_line else " ")
        drawn.append(glyphs.line if is_in_line and column < last else " ")
    return "".join(drawn[:-1])
