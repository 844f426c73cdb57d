"""Pictures as SVG files and as Mermaid source."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from random import Random
from typing import Final
from xml.etree import ElementTree as ET

from hypothesis import given

from atom_client.graph.colors import DARK, LIGHT, Colors
from atom_client.graph.mermaid import draw_mermaid, exceeds_usual_limits
from atom_client.graph.picture import Picture, PicturedStep, Shape
from atom_client.graph.places import place_steps
from atom_client.graph.svg import draw_svg
from atom_workflows.core.states import StepState
from unit.client.drawn import HOSTILE, graphs, picture

SVG: Final = "{http://www.w3.org/2000/svg}"
LEAST_CONTRAST: Final = 4.5
"""For text of usual size, by the Web Content Accessibility Guidelines."""


def hostile() -> Picture:
    """Return a picture in which all names are hostile."""
    first = PicturedStep(HOSTILE, (), Shape.LOOP, (HOSTILE,), state=StepState.FAILED)
    second = PicturedStep(f"b{HOSTILE}", (HOSTILE,), Shape.BARRIER, (HOSTILE,), state=StepState.SKIPPED)
    return Picture(title=HOSTILE, main=(first, second), under_finally=(first._replace(id=f"c{HOSTILE}"),))


def parsed(drawn: str) -> ET.Element:
    """Return the root of an SVG file."""
    return ET.fromstring(drawn)  # noqa: S314 (it was written here)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colors."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


# -- places ----------------------------------------------------------------------------------------------------------


@given(graphs())
def test_places_keep_apart_and_lines_lead_to_the_right(edges: dict[str, list[str]]) -> None:
    """No two places of a layer overlap, and every dependency is a way of segments that each lead one layer further."""
    placed = place_steps(picture(edges).main)
    for layer in placed.layers:
        for above, below in pairwise(layer):
            assert below.y - above.y >= (above.height + below.height) / 2 - 1e-6
    assert all(end.layer == start.layer + 1 for start, end in placed.segments)
    shown = set()
    for segment in placed.segments:
        start = segment.start
        while start.step is None:
            [start] = start.left
        if segment.end.step is not None:
            shown.add((start.step.id, segment.end.step.id))
    assert shown == {(one, step) for step, after in edges.items() for one in after}


def test_few_lines_cross_whatever_the_order_of_the_file() -> None:
    """A band of steps, each after its neighbors in the layer before, is drawn as a band if its file is shuffled."""
    width, depth = 30, 20
    names = [f"{layer}-{place}" for layer in range(depth) for place in range(width)]
    after = {
        f"{layer}-{place}": [f"{layer - 1}-{near}" for near in range(place - 1, place + 2) if 0 <= near < width]
        for layer in range(1, depth)
        for place in range(width)
    }
    Random(7).shuffle(names)  # noqa: S311 (a fixed order)
    placed = place_steps(picture({name: after.get(name, []) for name in names}).main)
    lines: dict[int, list[tuple[float, float]]] = {}
    for start, end in placed.segments:
        lines.setdefault(start.layer, []).append((start.y, end.y))
    crossings = sum((a - c) * (b - d) < 0 for ends in lines.values() for (a, b), (c, d) in combinations(ends, 2))
    # In the band itself, only the two diagonals between each pair of neighbors cross.
    assert crossings <= 4 * (width - 1) * (depth - 1)


def test_lines_of_one_step_share_their_bends() -> None:
    """Lines from one step to several in a later layer pass the layers between as one line."""
    edges = {"a": [], "b": ["a"], **{f"c{number}": ["a", "b"] for number in range(5)}}
    placed = place_steps(picture(edges).main)
    assert sum(place.step is None for layer in placed.layers for place in layer) == 1


def test_a_graph_with_too_many_bends_has_none() -> None:
    """Lines that would need too many bends are drawn straight, with nothing left out."""
    edges = {**{f"s{number}": [f"s{number - 1}"] if number else [] for number in range(300)}}
    edges |= {f"s{number}": [f"s{number - 1}", f"s{number - 200}"] for number in range(200, 300)}
    edges |= {f"t{number}": [f"s{number}"] for number in range(200)} | {"end": [f"t{number}" for number in range(200)]}
    placed = place_steps(picture(edges).main)
    assert len(placed.segments) == sum(map(len, edges.values()))


# -- SVG -------------------------------------------------------------------------------------------------------------


def test_svg_tells_states_in_words() -> None:
    """Each step is a box with its name, its state as a word and the whole of both as a tooltip."""
    steps = tuple(PicturedStep(state.lower(), (), state=state) for state in StepState)
    root = parsed(draw_svg(Picture(title="run r", state="RUNNING", main=steps)))
    for group, state in zip(root.iter(f"{SVG}g"), StepState, strict=True):
        assert [text.text for text in group.iter(f"{SVG}text")] == [state.lower(), state.value]
        assert group.findtext(f"{SVG}title") == f"{state.lower()}\n{state.value}"


def test_svg_needs_nothing_else() -> None:
    """The file has no script and no link, and names no other file or host than that of its namespace."""
    drawn = draw_svg(hostile())
    tags = {element.tag.removeprefix(SVG) for element in parsed(drawn).iter()}
    assert tags <= {"svg", "title", "style", "rect", "text", "path", "g"}
    assert re.findall(r"https?://[^\"]+|url\(|@import|href", drawn) == ["http://www.w3.org/2000/svg"]


def test_svg_escapes_hostile_names() -> None:
    """A hostile name is text, without characters that XML forbids or that turn the text around."""
    drawn = draw_svg(hostile())
    root = parsed(drawn)
    assert "<script>" not in drawn
    assert any("<script>alert(1)</script>" in (title.text or "") for title in root.iter(f"{SVG}title"))
    assert {sign for sign in drawn if sign != "\n" and not sign.isprintable()} == set()


def test_svg_has_room_for_a_heading_of_wide_characters() -> None:
    """A wide character takes twice the width of a letter, in the heading as well."""
    narrow, wide = (parsed(draw_svg(Picture(title=sign * 50, main=(PicturedStep("a", ()),)))) for sign in "n語")
    assert float(wide.attrib["width"]) - float(narrow.attrib["width"]) > 50 * 7


def test_svg_boxes_stay_on_the_page() -> None:
    """Every box and line of text begins within the page, and a box is as wide as its text in wide characters."""
    wide = PicturedStep("a", (), notes=("when '日本語日本語' == params.x",))
    root = parsed(draw_svg(Picture(title="t" * 200, main=(wide,), under_finally=(wide,))))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        if "x" in box.attrib:
            assert 0 <= float(box.attrib["x"]) <= width - float(box.attrib["width"])
            assert 0 <= float(box.attrib["y"]) <= height - float(box.attrib["height"])
    assert all(0 <= float(text.attrib["y"]) <= height for text in root.iter(f"{SVG}text"))


def test_colors_are_readable_in_light_and_dark() -> None:
    """Text has the contrast that guidelines ask for, on each state's box and in both themes."""
    colors: list[Colors] = [*LIGHT.values(), *DARK.values()]
    assert set(LIGHT) == set(DARK) == set(StepState)
    assert [one for one in colors if contrast(one.fill, one.text) < LEAST_CONTRAST] == []


# -- Mermaid ---------------------------------------------------------------------------------------------------------


def test_mermaid_is_a_flowchart_with_a_class_for_each_state() -> None:
    """Steps are boxes with their states, arrows lead from what they depend on, and states have classes."""
    steps = (
        PicturedStep("load", (), Shape.LOOP, ("3 items",), state=StepState.SUCCEEDED),
        PicturedStep("join", ("load",), Shape.BARRIER, state=StepState.RUNNING),
        PicturedStep("mail", ("load", "join"), Shape.JOB, ("when params.mail",), True, StepState.PENDING),  # noqa: FBT003 (a named tuple)
    )
    cleanup = PicturedStep("clean", (), state=StepState.PENDING)
    drawn = draw_mermaid(Picture(title="run r", state="RUNNING", main=steps, under_finally=(cleanup,))).splitlines()
    assert drawn[:5] == [
        "---",
        'title: "run r is RUNNING: 4 steps, 1 of them under finally"',
        "---",
        "flowchart TD",
        '  subgraph main[" "]',
    ]
    assert [line.strip() for line in drawn[5:16]] == [
        's0[["load<br/>SUCCEEDED<br/>3 items"]]',
        's1(["join<br/>RUNNING"])',
        's2["mail<br/>PENDING<br/>when params.mail"]',
        "s0 --> s1",
        "s0 & s1 -.-> s2",
        "end",
        'subgraph cleanup["finally"]',
        's3["clean<br/>PENDING"]',
        "end",
        "main ==> cleanup",
        "classDef SUCCEEDED fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    ]
    assert drawn[-1] == "  class s2,s3 PENDING"


def test_mermaid_holds_no_hostile_sign() -> None:
    """A hostile name ends neither its label nor the diagram nor the block of a page."""
    drawn = draw_mermaid(hostile())
    assert not re.search(r"<(?!br/>)|`|\{", drawn)
    labels = re.findall(r'^ +s\d+\W{1,2}"(.*)"\W{1,2}$', drawn, re.MULTILINE)
    assert len(labels) == 3
    assert [
        label for label in labels if re.search(r'["\[\]\\`%&;](?<!#\d\d;)(?<!#\d\d\d;)(?<!#\d{4};)(?<!#\d{5};)', label)
    ] == []
    assert drawn.count("---\n") == 2


def test_mermaid_limits_are_known() -> None:
    """A diagram that Mermaid refuses by default is recognized by its arrows or its length."""
    fan = picture({"root": [], **{f"s{number}": ["root"] for number in range(501)}})
    small = picture({"root": [], "s": ["root"]})
    assert exceeds_usual_limits(fan, draw_mermaid(fan))
    assert exceeds_usual_limits(small, " " * 50_001)
    assert not exceeds_usual_limits(small, draw_mermaid(small))
