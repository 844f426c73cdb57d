"""Write a picture as Mermaid source, for pages that draw it.

Labels hold letters, digits and a few harmless signs; everything else is written as a character code, so no name can
end its label, the diagram or the block of a page that contains it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from atom_client.graph.colors import LIGHT
from atom_client.graph.picture import Picture, PicturedStep, Shape
from atom_client.text import clip, one_line

MOST_EDGES: Final = 500
"""The maximum number of edges in a diagram that Mermaid draws, unless the page has changed its `maxEdges`."""

MOST_CHARACTERS: Final = 50_000
"""The maximum length of the source that Mermaid draws, unless the page has changed its `maxTextSize`."""

_LONGEST_NOTE: Final = 60
_SHAPES: Final = {Shape.JOB: ("[", "]"), Shape.BARRIER: ("([", "])"), Shape.LOOP: ("[[", "]]")}
_UNSAFE: Final = re.compile(r"[^\w .,:()/=…-]")


def draw_mermaid(picture: Picture) -> str:
    """Return the source of a flowchart."""
    title = json.dumps(one_line(picture.heading))
    # A page's block may end at these, inside quotes as well.
    escaped = re.sub(r"[`<>&%{}]", lambda found: f"\\u{ord(found[0]):04x}", title)
    lines = ["---", f"title: {escaped}", "---", "flowchart TD"]
    ids = {step.id: f"s{number}" for number, step in enumerate(picture.steps)}
    if picture.under_finally:
        lines.append('  subgraph main[" "]')
        lines += _graph(picture.main, ids)
        lines.append("  end")
        lines.append('  subgraph cleanup["finally"]')
        lines += _graph(picture.under_finally, ids)
        lines.append("  end")
        lines.append("  main ==> cleanup")
    else:
        lines += _graph(picture.main, ids)
    states = dict.fromkeys(step.state for step in picture.steps if step.state is not None)
    for state in states:
        fill, border, text = LIGHT[state]
        lines.append(f"  classDef {state.value} fill:{fill},stroke:{border},color:{text}")
        lines.append(f"  class {','.join(ids[step.id] for step in picture.steps if step.state is state)} {state.value}")
    return "".join(f"{line}\n" for line in lines)


def exceeds_usual_limits(picture: Picture, source: str) -> bool:
    """Return True if Mermaid refuses to draw the source by default."""
    return len(source) > MOST_CHARACTERS or sum(len(step.after) for step in picture.steps) > MOST_EDGES


def _graph(steps: Sequence[PicturedStep], ids: dict[str, str]) -> Iterator[str]:
    for step in steps:
        opened, closed = _SHAPES[step.shape]
        lines = [one_line(step.id), *([step.state.value] if step.state is not None else [])]
        lines += [clip(one_line(note), _LONGEST_NOTE) for note in step.notes]
        label = "<br/>".join(_UNSAFE.sub(lambda found: f"#{ord(found[0])};", line) for line in lines)
        yield f'    {ids[step.id]}{opened}"{label}"{closed}'
    for step in steps:
        before = " & ".join(ids[one] for one in step.after if one in ids)
        if before:
            # A dotted arrow means that the step may be skipped by choice.
            yield f"    {before} {'-.->' if step.is_conditional else '-->'} {ids[step.id]}"
