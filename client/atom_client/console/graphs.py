"""Answer what the page asks about a run's graph: where each step is drawn."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, this_console
from atom_client.console.live import nodes_of
from atom_client.errors import Misuse
from atom_client.graph.folding import Fold
from atom_client.graph.plot import plot_picture
from atom_client.text import name_of
from atom_client.views.run_references import require_run

graphs = Blueprint("graphs", __name__)

_FOLDS: Final = tuple(fold.value for fold in Fold)


@graphs.get("/runs/<run_id>/graph")
def show_graph(run_id: str) -> Response:
    """Answer with the places of a run's steps; their states are those of the run's steps.

    `fold` says what is folded (`Fold`), and each `open` names the first step of a folded node that is to be unfolded.
    """
    console, fold = this_console(), request.args.get("fold", Fold.ALIKE.value)
    if fold not in _FOLDS:
        raise Misuse(f"graphs cannot be folded by {name_of(fold)}, only by {', '.join(_FOLDS)}")
    run = require_run(console.services.store, run_id)
    picture = console.pictures.of_run(run, lambda: nodes_of(console, run))
    return answer({"run_id": run.id, **plot_picture(picture, Fold(fold), frozenset(request.args.getlist("open")))})
