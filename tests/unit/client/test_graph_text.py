"""Pictures as text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from rich.cells import cell_len

from atom_client.graph.picture import Picture, PicturedStep, Shape
from atom_client.graph.rails import NODE, Glyphs, arrange, units_of
from atom_client.graph.text import MOST_DRAWN, MOST_LAYERS, SIGNS, Style
from atom_workflows.core.states import StepState
from unit.client.drawn import HOSTILE, graphs, picture, read_rows, text_of


@given(graphs())
def test_the_rails_show_exactly_the_dependencies(edges: dict[str, list[str]]) -> None:
    """Following the rails from any step leads to the steps that depend on it, and to no others."""
    rows = list(arrange(units_of(picture(edges).main), Glyphs()))
    assert sorted(step.id for row in rows for step in row.unit.steps) == sorted(edges)
    assert read_rows(rows) == {(one, step) for step, after in edges.items() for one in after}


@given(graphs())
def test_no_step_stands_right_below_one_that_it_does_not_follow(edges: dict[str, list[str]]) -> None:
    """A step that nothing depends on has no other step below it in the next row, where it would seem to follow."""
    rows = list(arrange(units_of(picture(edges).main), Glyphs()))
    for above, below in pairwise(rows):
        if not above.unit.dependents:
            assert above.rails.index(NODE) != below.rails.index(NODE)


def test_a_fork_and_its_join_are_drawn() -> None:
    """Each step is a row, joined by lines with what it depends on."""
    drawn = text_of(picture({"extract": [], "left": ["extract"], "right": ["extract"], "join": ["left", "right"]}))
    assert drawn.splitlines()[2:] == ["○   extract", "├─○ left", "○ │ right", "○─┘ join"]


def test_a_line_passes_beneath_rails_that_it_does_not_join() -> None:
    """A rail that a line crosses without a joint is not interrupted."""
    edges = {"a": [], "b": [], "c": ["a"], "d": ["a", "b"], "e": ["a", "c"], "f": ["b", "e"]}
    rows = list(arrange(units_of(picture(edges).main), Glyphs()))
    assert any("─│─" in row.rails for row in rows)
    assert read_rows(rows) == {(one, step) for step, after in edges.items() for one in after}


def test_steps_side_by_side_share_a_bracket() -> None:
    """Three or more steps with the same dependencies and dependents share one rail, and a line explains the bracket."""
    drawn = text_of(picture({"a": [], "x": ["a"], "y": ["a"], "z": ["a"], "end": ["x", "y", "z"]})).splitlines()
    assert drawn[2:7] == ["○   a", "○ ┬ x", "│ ├ y", "│ └ z", "○   end"]
    assert drawn[-1].startswith("┬├└ steps side by side")


def test_steps_under_finally_are_set_apart() -> None:
    """Steps under `finally` follow a heading, without lines from the main part."""
    drawn = text_of(picture({"a": []}, under_finally=(PicturedStep("clean", ()),)))
    assert drawn.splitlines() == ["flow: 2 steps, 1 of them under finally", "", "○ a", "", "finally:", "○ clean"]


def test_states_are_words_and_symbols() -> None:
    """Without color, a step's state is a word and a symbol, and a bracket has the symbol of the worst state in it."""
    states = [StepState.SUCCEEDED, StepState.FAILED, StepState.RUNNING]
    steps = [PicturedStep(f"s{number}", (), state=state) for number, state in enumerate(states)]
    drawn = text_of(Picture(title="run r", state="RUNNING", main=tuple(steps))).splitlines()
    assert drawn[2:5] == ["✗ ┬ s0  SUCCEEDED", "  ├ s1  FAILED", "  └ s2  RUNNING"]


def test_more_steps_are_listed_by_layer_within_the_width() -> None:
    """Above the limit, each layer is a line of its size and first names, none wider than the terminal."""
    edges: dict[str, list[str]] = {"root": [], **{f"load-{number}": ["root"] for number in range(MOST_DRAWN)}}
    lines = text_of(picture(edges), Style(width=60)).splitlines()
    assert lines[2] == "LAYER  STEPS"
    assert lines[3] == "1          1  root"
    assert lines[4].startswith("2         40  load-0, load-1")
    assert lines[4].endswith("more")
    assert max(map(len, lines)) <= 60


def test_a_list_names_failed_steps_first_and_counts_states() -> None:
    """The list of a run counts the states of each layer, and names first what needs attention."""
    states = [StepState.SUCCEEDED] * 48 + [StepState.FAILED, StepState.RUNNING]
    steps = tuple(PicturedStep(f"s{number}", (), state=state) for number, state in enumerate(states))
    lines = text_of(Picture(title="run r", state="RUNNING", main=steps)).splitlines()
    assert lines[3].split(maxsplit=2)[2] == "1 FAILED, 1 RUNNING, 48 SUCCEEDED"
    assert lines[4].strip().startswith("s48, s49, s0")


def test_a_long_chain_is_a_short_list() -> None:
    """If there are too many layers, several share an entry, and none is left out."""
    edges = {f"s{number}": [f"s{number - 1}"] if number else [] for number in range(10_000)}
    lines = text_of(picture(edges)).splitlines()
    assert len(lines) == 3 + MOST_LAYERS
    assert lines[-1].startswith("9751-10000    250  s9750")


def test_a_name_that_is_too_long_for_a_list_is_whole() -> None:
    """The first name of a layer is printed whole, so that it can be copied."""
    edges: dict[str, list[str]] = {f"{number}-{'n' * 90}": [] for number in range(MOST_DRAWN + 1)}
    assert f"0-{'n' * 90} … and 40 more" in text_of(picture(edges))


def test_a_graph_that_needs_too_many_rails_is_listed() -> None:
    """A small but wide graph whose rails would fill the line is listed."""
    edges: dict[str, list[str]] = {
        **{f"a{number}": [] for number in range(20)},
        **{f"b{number}": [f"a{number}"] for number in range(19)},
    }
    edges |= {"end": [*edges]}
    assert "LAYER" in text_of(picture(edges))


def test_notes_are_cut_to_the_width() -> None:
    """A long condition is cut, so that the picture keeps its form."""
    step = PicturedStep("a", (), Shape.LOOP, ("for each of 3 items", f"when {'x' * 200}"))
    [*_, line] = text_of(Picture(title="flow", main=(step,))).splitlines()
    assert len(line) == 80
    assert line.startswith("○ a  for each of 3 items, when xxx")


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize("is_ascii", [False, True])
def test_no_line_wraps_on_a_terminal(width: int, count: int, *, is_ascii: bool) -> None:
    """On a terminal, long ids are cut in the middle and notes at the end, and states stay readable."""
    notes = (f"when {'x' * 90}",)
    steps = tuple(
        PicturedStep(f"{'n' * 90}-{number}", (), Shape.JOB, notes, state=StepState.DISPATCHING)
        for number in range(count)
    )
    chain = tuple(step._replace(after=(before.id,)) for before, step in pairwise(steps))
    for main in (steps, (steps[0], *chain)):
        drawn = Picture(title="run r", state="RUNNING", main=main)
        lines = text_of(drawn, Style(width=width, wraps=True, is_ascii=is_ascii)).splitlines()
        body = [line for line in lines if "n-" in line or "nn" in line]
        assert body
        assert max(map(len, body)) <= width
        assert any("DISPATCHING" in line for line in lines)
        assert "-0" in "".join(body)


@pytest.mark.parametrize("width", [40, 41])
def test_wide_characters_take_two_cells_of_a_line(width: int) -> None:
    """A note of wide characters is cut to the cells that a terminal has, not to as many characters."""
    step = PicturedStep("a", (), notes=("語" * 60,), state=StepState.FAILED)
    [*_, line] = text_of(Picture(title="run r", main=(step,)), Style(width=width, wraps=True)).splitlines()
    assert width - 1 <= cell_len(line) <= width
    assert line.endswith("…")


def test_ascii_draws_the_same_lines() -> None:
    """If the output takes only ASCII, the drawing consists of ASCII."""
    edges = {"a": [], "b": ["a"], "c": ["a"], **{f"d{number}": ["b", "c"] for number in range(4)}}
    steps = tuple(PicturedStep(one, tuple(after), notes=("n" * 90,)) for one, after in edges.items())
    drawn = text_of(Picture(title="flow", main=steps), Style(is_ascii=True))
    assert drawn.isascii()
    first, second = drawn.splitlines()[2:4]
    assert first.startswith("o     a   nnn")
    assert second.startswith("+-o   b   nnn")
    assert {len(first), len(second)} == {80}
    assert {first[-4:], second[-4:]} == {"n..."}


def test_all_signs_are_known() -> None:
    """Every character of a drawing belongs to those that are tried before they are printed."""
    edges = {**{f"a{number}": [] for number in range(4)}, "b": [], "c": ["a0", "a1", "b"], "d": ["a0", "b"], "e": ["b"]}
    drawn = text_of(picture(edges))
    assert {sign for sign in drawn if not sign.isascii()} <= set(SIGNS)


def test_hostile_names_stay_on_their_lines() -> None:
    """A name or condition cannot begin a line, and nothing that a terminal obeys is left."""
    step = PicturedStep(HOSTILE, (), Shape.BARRIER, (HOSTILE,), state=StepState.FAILED)
    drawn = text_of(Picture(title=HOSTILE, main=(step,), under_finally=(step._replace(id=f"b{HOSTILE}"),)))
    assert len(drawn.splitlines()) == 6
    assert not {sign for sign in drawn if sign != "\n" and not sign.isprintable()} - {"\ufffe"}
