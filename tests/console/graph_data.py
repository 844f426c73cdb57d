"""Graphs for the browser without a run: what the server would answer, and the states of the steps."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import Any

from playwright.sync_api import Page

from atom_client.graph.folding import Fold
from atom_client.graph.picture import Picture, PicturedStep
from atom_client.graph.plot import plot_picture
from atom_workflows.core.states import StepState

DRAW = """async (text) => {
  const [data, steps] = JSON.parse(text);
  const { drawGraph } = await import("/assets/graph/draw_graph.js");
  const element = document.createElement("div");
  document.getElementById("content").replaceChildren(element);
  window.graph = await drawGraph(element, data, { steps, label: "Graph of a test" });
}"""


@cache
def layered(layers: int, width: int, each: int = 3) -> Picture:
    """Return layers of steps, each step after some random ones of the layer before."""
    chosen = Random(7)  # noqa: S311 (a graph, not a secret)
    steps = (
        PicturedStep(
            f"layer-{layer}-step-{number}",
            tuple(f"layer-{layer - 1}-step-{one}" for one in chosen.sample(range(width), each)) if layer else (),
        )
        for layer in range(layers)
        for number in range(width)
    )
    return Picture(title="layers", main=tuple(steps))


def rows_of(picture: Picture, seed: int = 1) -> list[dict[str, Any]]:
    """Return steps with random states."""
    chosen = Random(seed)  # noqa: S311 (likewise)
    return [{"id": step.id, "state": chosen.choice(list(StepState)).value} for step in picture.steps]


plot = cache(plot_picture)
"""The places of ten thousand steps take a second, and several tests draw them."""


def draw(page: Page, picture: Picture, fold: Fold = Fold.NONE) -> None:
    """Draw a picture in the page instead of a view, as `window.graph`."""
    # Playwright takes a second to hand over as much if it is not text.
    page.evaluate(DRAW, json.dumps([plot(picture, fold), rows_of(picture)]))
    page.wait_for_selector("[data-ready]")
