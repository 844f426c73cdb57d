"""Lay out the steps of a run or a file."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, changes_nothing, this_console
from atom_client.console.given import Given
from atom_client.console.live import nodes_of
from atom_client.errors import Misuse
from atom_client.graph.folding import Fold
from atom_client.graph.picture import picture_file
from atom_client.graph.plot import plot_picture
from atom_client.text import name_of
from atom_client.views.checked_files import check_content
from atom_client.views.run_references import require_run

graphs = Blueprint("graphs", __name__)

_FOLDS: Final = tuple(fold.value for fold in Fold)


@graphs.get("/runs/<run_id>/graph")
def show_graph(run_id: str) -> Response:
    """Respond with the positions of a run's steps, without their states.

    `fold` says what to fold (`Fold`), and each `open` names the first step of a folded node to unfold.
    """
    console, fold = this_console(), _fold_of(request.args.get("fold", ""))
    run = require_run(console.services.store, run_id)
    picture = console.pictures.of_run(run, lambda: nodes_of(console, run))
    return answer({"run_id": run.id, **plot_picture(picture, fold, frozenset(request.args.getlist("open")))})


@graphs.post("/files/graph")
@changes_nothing
def show_graph_of_file() -> Response:
    """Respond with the positions of a file's steps; see `show_graph`."""
    given = Given()
    file = given.file()
    if file is None:
        raise Misuse("send a `file` with a `name` and a `text`")
    checked = check_content(file.content, file.name)
    if checked.workflow is None:
        raise Misuse(f"{name_of(file.name)} is not valid, so it has no graph")
    picture = picture_file(checked.workflow)
    return answer(plot_picture(picture, _fold_of(given.text("fold")), frozenset(given.texts("open"))))


def _fold_of(text: str) -> Fold:
    if text and text not in _FOLDS:
        raise Misuse(f"graphs cannot be folded by {name_of(text)}, only by {', '.join(_FOLDS)}")
    return Fold(text or Fold.SIMILAR)
