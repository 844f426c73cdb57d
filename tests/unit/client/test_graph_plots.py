"""Pictures as the console's page draws them: folded, in columns, and as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom_client.graph.columns import BOX_HEIGHT, BOX_WIDTH, fold_into_columns
from atom_client.graph.folding import LEAST_FOLDED, Fold, fold_steps
from atom_client.graph.picture import Picture, PicturedStep, Shape, number_layers
from atom_client.graph.places import place_steps
from atom_client.graph.plot import plot_picture
from unit.client.drawn import graphs, picture

WIDE: Final = 2_000


def fan_of(width: int, name: str = "leaf") -> dict[str, list[str]]:
    """Return a root, steps behind it, and their join."""
    leaves = [f"{name}-{number}" for number in range(width)]
    return {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves}


def chains_of(width: int) -> dict[str, list[str]]:
    """Return parallel chains of two steps between a root and a join."""
    firsts = {f"a-{number}": ["root"] for number in range(width)}
    seconds = {f"b-{number}": [f"a-{number}"] for number in range(width)}
    return {"root": [], **firsts, **seconds, "join": list(seconds)}


def edges_of(plot: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the dependencies that a plot shows, followed through its bends."""
    lines = list(zip(plot["lines"][::2], plot["lines"][1::2], strict=True))
    found = set()
    for start in range(len(plot["nodes"])):
        waiting = [start]
        while waiting:
            for _, end in [line for line in lines if line[0] == waiting[0]]:
                if end < 0:
                    waiting.append(end)
                else:
                    found.add((plot["nodes"][start], plot["nodes"][end]))
            waiting.pop(0)
    return found


def boxes_of(plot: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the left end and the middle of each box."""
    return list(zip(plot["boxes"][::2], plot["boxes"][1::2], strict=True))


def assert_apart(boxes: Sequence[tuple[int, int]]) -> None:
    """Check that no two boxes overlap."""
    for (left, y), (other_left, other_y) in combinations(boxes, 2):
        assert abs(left - other_left) >= BOX_WIDTH or abs(y - other_y) >= BOX_HEIGHT


@given(edges=graphs(), fold=st.sampled_from(Fold))
def test_a_plot_has_all_dependencies_of_what_it_shows(edges: Mapping[str, Sequence[str]], fold: Fold) -> None:
    """Once everything is opened, lines lead from each step to those that depend on it, and boxes are apart."""
    plot = plot_picture(picture(edges), fold, list(edges))
    assert plot["nodes"] == list(edges)
    assert edges_of(plot) == {(one, step) for step, after in edges.items() for one in after}
    assert_apart(boxes_of(plot))


def test_a_wide_fan_is_one_node_until_it_is_opened() -> None:
    """Steps with the same dependencies and dependents are folded, if they are many, and opened by their first."""
    drawn = picture(fan_of(LEAST_FOLDED))
    folded = plot_picture(drawn, Fold.FANS)
    assert folded["nodes"] == ["root", "leaf-0", "join"]
    assert folded["members"] == {1: [f"leaf-{number}" for number in range(LEAST_FOLDED)]}
    assert edges_of(folded) == {("root", "leaf-0"), ("leaf-0", "join")}
    opened = plot_picture(drawn, Fold.FANS, ["leaf-0"])
    assert len(opened["nodes"]) == LEAST_FOLDED + 2
    assert opened["members"] == {}


def test_a_narrow_fan_is_not_folded() -> None:
    """A few steps beside each other can be read, so each is drawn."""
    assert len(plot_picture(picture(fan_of(LEAST_FOLDED - 1)))["nodes"]) == LEAST_FOLDED + 1


def test_parallel_chains_are_folded_step_by_step() -> None:
    """Steps with similar dependencies are similar, even if their own lines differ."""
    drawn = picture(chains_of(50))
    assert plot_picture(drawn, Fold.SIMILAR)["nodes"] == ["root", "a-0", "b-0", "join"]
    assert len(plot_picture(drawn, Fold.FANS)["nodes"]) == 102
    assert len(plot_picture(drawn, Fold.SIMILAR, ["b-0"])["nodes"]) == 53


@given(edges=graphs(), copies=st.integers(LEAST_FOLDED, LEAST_FOLDED + 3), fold=st.sampled_from(Fold))
def test_a_folded_graph_has_no_cycle_and_every_step_once(
    edges: Mapping[str, Sequence[str]], copies: int, fold: Fold
) -> None:
    """Whatever is folded, each step is in one node, and the nodes still have an order."""
    many = {
        f"{step}-{number}": [f"{one}-{number}" for one in after]
        for step, after in edges.items()
        for number in range(copies)
    }
    nodes = fold_steps(picture(many).main, fold)
    assert sorted(member.id for node in nodes for member in node.members) == sorted(many)
    assert len(number_layers([node.step for node in nodes])) == len(nodes)


def test_a_step_with_items_is_never_folded_again() -> None:
    """A step with `forEach` stands for its items, so it keeps a node of its own."""
    loops = tuple(PicturedStep(f"loop-{number}", (), Shape.LOOP) for number in range(20))
    assert len(plot_picture(Picture(title="t", main=loops), Fold.SIMILAR)["nodes"]) == 20


@pytest.mark.parametrize("width", [100, WIDE])
def test_a_layer_that_does_not_fit_is_folded_into_columns(width: int) -> None:
    """A graph with a wide layer is about as high as a screen is, and its boxes do not overlap."""
    plot = plot_picture(picture(fan_of(width)), Fold.NONE)
    across, high = plot["size"]
    assert 0.2 < high / across < 0.8
    assert_apart(boxes_of(plot)[:: width // 50])
    assert len(set(boxes_of(plot))) == width + 2


def test_lines_past_a_folded_layer_lead_around_its_boxes() -> None:
    """A bend beside a folded layer is above or below all of its steps."""
    edges = {**fan_of(WIDE), "late": ["root", "join"]}
    placed = place_steps(picture(edges).main)
    columns = fold_into_columns(placed)
    layer = placed.layers[1]
    steps = [columns.spots[place].y for place in layer if place.step is not None]
    bends = [columns.spots[place] for place in layer if place.step is None]
    assert bends
    for bend in bends:
        assert not min(steps) <= bend.y <= max(steps)
        assert bend.right - bend.left > 10 * BOX_WIDTH


def test_layers_that_fit_stay_as_they_were_laid_out() -> None:
    """A graph without a wide layer keeps the heights of the layout."""
    placed = place_steps(picture(chains_of(8)).main)
    before = [place.y for layer in placed.layers for place in layer]
    columns = fold_into_columns(placed)
    assert [place.y for layer in placed.layers for place in layer] == before
    assert columns.height > 0


def test_steps_under_finally_stand_to_the_right_in_a_frame() -> None:
    """All steps of the main part are left of the frame, and those under `finally` in it."""
    last = (PicturedStep("clean", ()), PicturedStep("report", ("clean",)))
    plot = plot_picture(Picture(title="t", main=picture(chains_of(3)).main, under_finally=last))
    lefts = [left for left, _ in boxes_of(plot)]
    assert plot["finally"] == 8
    assert max(lefts[:8]) + BOX_WIDTH < plot["frame"] < min(lefts[8:])


def test_an_empty_picture_is_plotted() -> None:
    """A run without steps has a plot without nodes."""
    plot = plot_picture(Picture(title="t", main=()))
    assert (plot["nodes"], plot["lines"], plot["frame"]) == ([], [], None)
