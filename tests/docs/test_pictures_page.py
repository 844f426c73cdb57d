"""What docs/how-to/draw-a-workflow.md shows."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from atom_client.graph.picture import Picture, PicturedStep
from atom_client.graph.text import MOST_DRAWN
from atom_workflows.core.states import StepState
from unit.client.drawn import text_of

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "how-to" / "draw-a-workflow.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pictures() -> dict[str, Any]:
    """Return the program that draws them."""
    return runpy.run_path(str(ROOT / "docs" / "pictures.py"))


def test_the_pictures_are_what_the_command_draws(pictures: dict[str, Any]) -> None:
    """Drawing them again changes neither the page nor its file; if this fails, run `python docs/generate.py`."""
    assert pictures["generated"](PAGE) == PAGE
    assert pictures["Drawings"]().svg() == pictures["SVG"].read_text(encoding="utf-8")


def test_the_list_of_layers_is_drawn_as_shown() -> None:
    """The page's list is that of a run with such states."""
    states = {17: StepState.FAILED, 204: StepState.FAILED, 9: StepState.RUNNING}
    loads = tuple(
        PicturedStep(f"load-{number}", ("list",), state=states.get(number, StepState.SUCCEEDED))
        for number in range(273)
    )
    first = PicturedStep("list", (), state=StepState.SUCCEEDED)
    drawn = text_of(Picture(title="run", state="RUNNING", main=(first, *loads))).split("\n\n")[1]
    assert f"```\n{drawn}\n```" in PAGE
    assert f"More than {MOST_DRAWN} steps" in PAGE
