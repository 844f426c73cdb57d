"""Draw a picture as text.

A small picture is drawn beside rails, a large one as a list of its layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

from atom_client.graph.picture import Picture, PicturedStep, Shape, split_layers
from atom_client.graph.rails import ASCII_GLYPHS, NODE, Glyphs, Row, arrange, units_of
from atom_client.text import cut_middle, one_line
from atom_workflows.core.states import StepState

MOST_DRAWN: Final = 40
"""The maximum number of steps that are drawn beside rails."""

MOST_LAYERS: Final = 40
"""The maximum number of entries in a list of layers; if there are more layers, several share an entry."""

_WIDEST_RAILS: Final = 32
_WIDEST_ID: Final = 40
_LEAST_NOTE: Final = 12
_LEAST_NAME: Final = 8

_URGENT: Final = (
    StepState.FAILED,
    StepState.CANCELLED,
    StepState.RETRYING,
    StepState.RUNNING,
    StepState.DISPATCHING,
    StepState.SKIPPED,
    StepState.PENDING,
    StepState.SUCCEEDED,
)
"""The states, in the order in which a reader looks for them."""

_SYMBOLS: Final[Mapping[StepState, str]] = {
    StepState.FAILED: "✗x",
    StepState.CANCELLED: "✗x",
    StepState.RETRYING: "◐~",
    StepState.RUNNING: "◐~",
    StepState.DISPATCHING: "◐~",
    StepState.SKIPPED: "◇-",
    StepState.PENDING: "○o",
    StepState.SUCCEEDED: "●*",
}
"""The symbol of each state, and its ASCII equivalent."""

_NO_STATE: Final = "○o"

SIGNS: Final = "".join(["│─├┤┼└┘┴┬…", _NO_STATE, *_SYMBOLS.values()])
"""All characters used in drawings, other than those in names and notes."""


class Part(NamedTuple):
    """A part of a line, colored by its state, if any."""

    text: str
    state: str = ""


class Style(NamedTuple):
    """The width available for drawing, and whether only ASCII can be printed.

    If lines would wrap, as on a terminal, long names are cut; otherwise they are kept whole, so that programs can find
    them.
    """

    width: int = 80
    is_ascii: bool = False
    wraps: bool = False

    @property
    def glyphs(self) -> Glyphs:
        """The characters of the rails."""
        return ASCII_GLYPHS if self.is_ascii else Glyphs()

    def pick(self, pair: str) -> str:
        """Return the first character, or the second for ASCII-only output."""
        return pair[self.is_ascii]

    @property
    def mark(self) -> str:
        """The ellipsis that replaces text that was cut."""
        return "..." if self.is_ascii else "…"

    def name(self, step: PicturedStep, room: int) -> str:
        """Return a step's id, which is cut if it would wrap."""
        name = one_line(step.id)
        return cut_middle(name, max(room, _LEAST_NAME), mark=self.mark) if self.wraps else name

    def note(self, text: str, room: int) -> str:
        """Return a note, cut to the available space."""
        room = room if self.wraps else max(room, _LEAST_NOTE)
        if cell_len(text) <= room:
            return text
        return f"{set_cell_size(text, max(room - len(self.mark), 0))}{self.mark[: max(room, 0)]}"


def draw_text(picture: Picture, style: Style) -> Iterator[list[Part]]:
    """Yield the lines of a picture."""
    yield [Part(one_line(picture.heading))]
    sections = [part for part in (picture.main, picture.under_finally) if part]
    drawings = None
    if len(picture.steps) <= MOST_DRAWN:
        drawings = [list(arrange(units_of(section), style.glyphs)) for section in sections]
        if max((len(row.rails) for rows in drawings for row in rows), default=0) > _WIDEST_RAILS:
            drawings = None
    for number, section in enumerate(sections):
        yield []
        if section is picture.under_finally:
            yield [Part("finally:")]
        yield from _list_layers(section, style) if drawings is None else _draw_rows(drawings[number], style)
    if drawings and any(len(row.unit.steps) > 1 for rows in drawings for row in rows):
        yield []
        yield [
            Part(
                f"{style.glyphs.bracket} steps side by side: they wait for the same steps, "
                "and the same steps wait for them"
            )
        ]


# -- beside rails ----------------------------------------------------------------------------------------------------


def _draw_rows(rows: Sequence[Row], style: Style) -> Iterator[list[Part]]:
    steps = [step for row in rows for step in row.unit.steps]
    rails = max(len(row.rails) for row in rows)
    has_brackets = any(len(row.unit.steps) > 1 for row in rows)
    states = max(len(step.state or "") for step in steps)
    room = style.width - rails - (3 if has_brackets else 1) - (states + 2 if states else 0)
    names = {step.id: style.name(step, room) for step in steps}
    widest = min(_WIDEST_ID, max(map(len, names.values())))
    bracket = style.glyphs.bracket
    for row in rows:
        members = row.unit.steps
        brackets = f"{bracket[0]}{bracket[1] * (len(members) - 2)}{bracket[2]}" if len(members) > 1 else " "
        # In the picture of a file, no step has a state.
        urgent = min((step.state for step in members if step.state is not None), key=_URGENT.index, default=None)
        symbol = style.pick(_NO_STATE if urgent is None else _SYMBOLS[urgent])
        for number, step in enumerate(members):
            before, found, after = (row.below if number else row.rails).ljust(rails).partition(NODE)
            beside = f"{brackets[number]} " if has_brackets else ""
            name = Part(f"{after} {beside}{names[step.id].ljust(widest)}")
            line = [Part(before), _in_state(symbol if found else "", urgent), name]
            if step.state is not None:
                line += [Part("  "), _in_state(step.state.ljust(states), step.state)]
            left = style.width - sum(cell_len(part.text) for part in line) - 2
            shown = ("no task", *step.notes) if step.shape is Shape.BARRIER else step.notes
            notes = style.note(", ".join(map(one_line, shown)), left)
            yield [*line, Part(f"  {notes}")] if notes else [*line[:-1], Part(line[-1].text.rstrip(), line[-1].state)]


def _in_state(text: str, state: StepState | None) -> Part:
    return Part(text, "" if state is None else state.value)


# -- as a list -------------------------------------------------------------------------------------------------------


def _list_layers(steps: Sequence[PicturedStep], style: Style) -> Iterator[list[Part]]:
    """Yield the rows of a table of layers.

    Each layer has its number, its size, its first steps and, in a run, the number of its steps in each state.
    """
    layers = split_layers(steps)
    together = -(-len(layers) // MOST_LAYERS) or 1
    entries = [layers[at : at + together] for at in range(0, len(layers), together)]
    names = [
        f"{at * together + 1}-{at * together + len(entry)}" if len(entry) > 1 else str(at * together + 1)
        for at, entry in enumerate(entries)
    ]
    sizes = [f"{sum(map(len, entry)):,}" for entry in entries]
    width = max(map(len, [*names, "LAYER"])), max(map(len, [*sizes, "STEPS"]))
    yield [Part(f"{'LAYER'.ljust(width[0])}  {'STEPS'.rjust(width[1])}")]
    for entry, name, size in zip(entries, names, sizes, strict=True):
        members = [step for layer in entry for step in layer]
        start = f"{name.ljust(width[0])}  {size.rjust(width[1])}  "
        counts = Counter(step.state for step in members)
        states = [Part(f"{counts[state]:,} {state}", state.value) for state in _URGENT if counts[state]]
        if states:
            yield [Part(start), *[part for state in states for part in (Part(", "), state)][1:]]
            start = " " * len(start)
        yield [Part(start), *_name_some(members, style, style.width - len(start))]


def _name_some(steps: Sequence[PicturedStep], style: Style, room: int) -> list[Part]:
    """Return the names that fit (at least one), and how many remain."""
    ordered = sorted(steps, key=lambda step: _URGENT.index(step.state) if step.state else 0)
    rest = len(f" {style.mark} and {len(ordered):,} more")
    names = [style.name(step, room - rest) for step in ordered]
    shown, length = 1, len(names[0])
    while shown < len(names) and length + len(names[shown]) + 2 + rest <= room:
        length += len(names[shown]) + 2
        shown += 1
    parts = [
        part
        for step, name in zip(ordered[:shown], names, strict=False)
        for part in (Part(", "), _in_state(name, step.state if step.state is not StepState.SUCCEEDED else None))
    ][1:]
    return [*parts, Part(f" {style.mark} and {len(names) - shown:,} more")] if len(names) > shown else parts
