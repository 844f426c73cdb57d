"""Pictures for tests, and drawings read back as graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from atom_client.graph.picture import Picture, PicturedStep
from atom_client.graph.rails import NODE, Glyphs, Row
from atom_client.graph.text import Style, draw_text

HOSTILE: Final = (
    'a"] --> x; click x "javascript:alert(1)" <script>alert(1)</script> %%{init: {}}%% ```\n---\nend `x` '
    "\u202e\x1b[31m\x00\\ ' & <b> #quot; \ufffe ]]> \U000e0041"
)
"""What would end a label, a diagram, a tag or a line, or turn what follows around."""


def picture(edges: Mapping[str, Sequence[str]], **fields: Any) -> Picture:
    """Return a picture of steps and what each depends on."""
    return Picture(title="flow", main=tuple(PicturedStep(one, tuple(after)) for one, after in edges.items()), **fields)


def text_of(drawn: Picture, style: Style = Style()) -> str:  # noqa: B008 (a value)
    """Return a picture as text."""
    return "\n".join("".join(part.text for part in line) for line in draw_text(drawn, style))


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Return steps in the order of a file, in which any may depend on any but without a cycle."""
    size = draw(st.integers(1, 12))
    order = draw(st.permutations([f"s{number}" for number in range(size)]))
    after = {
        one: draw(st.lists(st.sampled_from(order[:number]), unique=True, max_size=4)) if number else []
        for number, one in enumerate(order)
    }
    return dict(sorted(after.items()))


def read_rows(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Follow the rails from row to row, as a reader does, and return the dependencies that they show."""
    glyphs, found = Glyphs(), set()
    sources: dict[int, str] = {}
    for row in rows:
        own = row.rails.index(NODE)
        joined = {own, *_along(row.rails, own, -2), *_along(row.rails, own, 2)}
        for column in joined & sources.keys():
            if row.rails[column] in f"{NODE}{glyphs.goes_on}{glyphs.ends}":
                found |= {(sources[column], step.id) for step in row.unit.steps}
        for column in set(sources):
            if row.rails[column : column + 1] in (*glyphs.ends, NODE, " ", glyphs.line, ""):
                del sources[column]
        if row.below[own : own + 1] == glyphs.rail:
            sources[own] = ", ".join(step.id for step in row.unit.steps)
        rails = {column for column, sign in enumerate(row.below) if sign == glyphs.rail}
        assert rails == sources.keys()
    return {(one, dependent) for members, dependent in found for one in members.split(", ")}


def _along(rails: str, own: int, step: int) -> list[int]:
    """Return the columns that the horizontal line in a row reaches."""
    reached = []
    column = own
    while 0 <= column + step < len(rails) and rails[column + step // 2] == Glyphs().line:
        column += step
        reached.append(column)
    return reached
