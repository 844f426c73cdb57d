"""Draw a picture as a self-contained SVG file.

It needs no script, no font and no other file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from rich.cells import cell_len

from atom_client.graph.colors import DARK, LIGHT, PLAIN, PLAIN_DARK, Colors
from atom_client.graph.picture import Picture, PicturedStep, Shape
from atom_client.graph.places import Placed, Segment, place_steps
from atom_client.text import clip, cut_middle, one_line
from atom_workflows.core.states import StepState

_CHARACTER: Final = 7.3
"""The width of a character at 12 px in the usual monospaced fonts, with a little to spare."""

_LINE: Final = 15
_PADDING: Final = 8
_ROW_GAP: Final = 12
_LAYER_GAP: Final = 56
_MARGIN: Final = 24
_HEADING: Final = 28
_LONGEST_NAME: Final = 40
_LONGEST_NOTE: Final = 40

_NOT_XML: Final = re.compile("[\x00-\x1f\ufffe\uffff]")

_STYLE: Final = """\
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.heading{font-weight:bold;font-size:13px}
.state{font-weight:bold}
.line{fill:none;stroke-width:1.2}
.if{stroke-dasharray:5 4}
.apart{fill:none;stroke-dasharray:2 4}
.box{stroke-width:1.3}
.FAILED .box{stroke-width:3}
.SKIPPED .box,.CANCELLED .box{stroke-dasharray:6 3}
"""


def draw_svg(picture: Picture) -> str:
    """Return the picture as an SVG file."""
    main, cleanup = _Section(picture.main), _Section(picture.under_finally)
    # The frame around the steps under `finally` has a label, which stands below the heading.
    top = _MARGIN + _HEADING + (_LINE + _ROW_GAP if cleanup.steps else 0)
    shown = [section for section in (main, cleanup) if section.steps]
    height = max((section.height for section in shown), default=0.0)
    x, drawn = float(_MARGIN), []
    for section in shown:
        # Layers are centred beside each other, so are the two parts.
        y = top + (height - section.height) / 2
        if section is cleanup and main.steps:
            x += _LAYER_GAP
        if section is cleanup:
            gap = _ROW_GAP
            frame = f'width="{section.width + 2 * gap:.0f}" height="{section.height + 2 * gap:.0f}" rx="6"'
            label = f'<text x="{x - gap:.0f}" y="{y - gap - 5:.0f}">finally</text>'
            drawn.append(f'<rect class="apart" x="{x - gap:.0f}" y="{y - gap:.0f}" {frame}/>{label}')
        drawn += section.draw(x, y)
        x += section.width
    heading = _text(picture.heading, 120)
    width = max(x, _MARGIN + cell_len(heading) * _CHARACTER * 1.1) + _MARGIN
    bottom = top + height + _MARGIN
    size = f'width="{width:.0f}" height="{bottom:.0f}" viewBox="0 0 {width:.0f} {bottom:.0f}"'
    light, dark = "".join(_rules(LIGHT, PLAIN, "#ffffff")), "".join(_rules(DARK, PLAIN_DARK, "#0d1117"))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        f"<title>{_escaped(picture.heading)}</title>",
        f"<style>\n{_STYLE}{light}@media(prefers-color-scheme:dark){{\n{dark}}}\n</style>",
        '<rect class="page" width="100%" height="100%"/>',
        f'<text class="heading" x="{_MARGIN}" y="{_MARGIN + 4}">{escape(heading)}</text>',
        *drawn,
        "</svg>",
    ]
    return "".join(f"{part}\n" for part in parts)


class _Section:
    """The steps of the main part or under `finally`, and their places."""

    def __init__(self, steps: Sequence[PicturedStep]) -> None:
        self.steps = steps
        # The lines of each box, each with its class.
        self.labels = {
            step.id: [
                ("name", cut_middle(_text(step.id, 1_000), _LONGEST_NAME)),
                *([("state", step.state.value)] if step.state is not None else []),
                *(("note", _text(note, _LONGEST_NOTE)) for note in step.notes),
            ]
            for step in steps
        }
        lines = max((len(label) for label in self.labels.values()), default=1)
        self.box_height = lines * _LINE + _PADDING
        self.row = self.box_height + _ROW_GAP
        self.placed: Placed = place_steps(steps)
        longest = {one: max(cell_len(line) for _, line in label) for one, label in self.labels.items()}
        self.widths = [
            max((longest[place.step.id] for place in layer if place.step), default=0) * _CHARACTER + 2 * _PADDING
            for layer in self.placed.layers
        ]
        self.lefts = [sum(self.widths[:number]) + number * _LAYER_GAP for number in range(len(self.widths))]
        self.width = sum(self.widths) + max(0, len(self.widths) - 1) * _LAYER_GAP
        self.height = self.placed.height * self.row

    def draw(self, x: float, y: float) -> Iterator[str]:
        """Yield lines, then boxes, with the upper left corner at (x, y)."""
        for segment in self.placed.segments:
            step = segment.end.step
            dashed = " if" if step is not None and step.is_conditional else ""
            yield f'<path class="line{dashed}" d="{self._path(segment, x, y)}"/>'
        for layer in self.placed.layers:
            for place in layer:
                if place.step is not None:
                    yield self._box(place.step, x + self.lefts[place.layer], y + place.y * self.row, place.layer)

    def _path(self, segment: Segment, x: float, y: float) -> str:
        """Return a curve from place to place.

        If it ends in a bend, it goes straight on to the other side of the layer.
        """
        start, end = segment
        left, right = x + self.lefts[start.layer] + self.widths[start.layer], x + self.lefts[end.layer]
        top, bottom = y + start.y * self.row, y + end.y * self.row
        half = _LAYER_GAP / 2
        bent = f"{left + half:.0f} {top:.0f} {right - half:.0f} {bottom:.0f} {right:.0f} {bottom:.0f}"
        behind = "" if end.step is not None else f"H{right + self.widths[end.layer]:.0f}"
        return f"M{left:.0f} {top:.0f}C{bent}{behind}"

    def _box(self, step: PicturedStep, x: float, middle: float, layer: int) -> str:
        width, top, label = self.widths[layer], middle - self.box_height / 2, self.labels[step.id]
        size = f'width="{width:.0f}" height="{self.box_height}"'
        radius = self.box_height / 2 if step.shape is Shape.BARRIER else 4
        # A second box behind the first stands for many.
        behind = (
            f'<rect class="box" x="{x + 4:.0f}" y="{top + 4:.0f}" {size} rx="4"/>' if step.shape is Shape.LOOP else ""
        )
        first = middle - (len(label) - 1) * _LINE / 2 + 4
        texts = "".join(
            f'<text class="{kind}" x="{x + _PADDING:.0f}" y="{first + number * _LINE:.0f}">{escape(line)}</text>'
            for number, (kind, line) in enumerate(label)
        )
        full = "\n".join([step.id, *([step.state.value] if step.state else []), *step.notes])
        return (
            f'<g class="{step.state.value if step.state else "step"}"><title>{_escaped(full)}</title>{behind}'
            f'<rect class="box" x="{x:.0f}" y="{top:.0f}" {size} rx="{radius:.0f}"/>{texts}</g>'
        )


def _text(text: str, length: int) -> str:
    return clip(_NOT_XML.sub("", one_line(text)), length)


def _escaped(text: str) -> str:
    """Escape the text for a tooltip, keeping its line breaks."""
    return "\n".join(escape(_NOT_XML.sub("", one_line(line))) for line in text.split("\n"))


def _rules(states: Mapping[StepState, Colors], plain: Colors, page: str) -> Iterator[str]:
    yield f".page{{fill:{page}}}text{{fill:{plain.text}}}.line,.apart{{stroke:{plain.border}}}\n"
    yield f".box{{fill:{plain.fill};stroke:{plain.border}}}\n"
    for state, (fill, border, text) in states.items():
        yield f".{state.value} .box{{fill:{fill};stroke:{border}}}.{state.value} text{{fill:{text}}}\n"
