"""Answer what the page asks about runs: lists, a run with its steps, and a step."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, this_console
from atom_client.errors import Misuse
from atom_client.views.as_json import run_object, run_with_steps
from atom_client.views.items import read_loops
from atom_client.views.queries import in_order, read_nodes_of_steps
from atom_client.views.run_list import RunFilter, RunOrder, read_runs_page
from atom_client.views.run_references import require_run
from atom_workflows.core.states import RunState

runs = Blueprint("runs", __name__)

_RUNS_PER_PAGE: Final = 50


@runs.get("/runs")
def list_runs() -> Response:
    """Answer with a page of runs, newest first."""
    services, now = this_console().services, this_console().services.clock.now()
    given = request.args
    try:
        states = [RunState(one.upper()) for one in given.getlist("state")]
        number = max(1, int(given.get("page", "1")))
        order = RunOrder(given.get("sort", RunOrder.CREATED.value))
    except ValueError as error:
        raise Misuse(f"the list of runs cannot be shown: {error}") from error
    wanted = RunFilter(states=states, workflow=given.get("workflow", ""), order=order)
    page = read_runs_page(services.store, wanted, number=number, size=_RUNS_PER_PAGE, now=now)
    return answer(
        {
            "runs": [run_object(run) for run in page.runs],
            "total": page.total,
            "page": number,
            "page_size": _RUNS_PER_PAGE,
            "is_complete": page.is_complete,
            "unreadable": list(page.unreadable),
        }
    )


@runs.get("/runs/<run_id>")
def show_run(run_id: str) -> Response:
    """Answer with a run and its steps."""
    store = this_console().services.store
    run = require_run(store, run_id)
    nodes = read_nodes_of_steps(store, run, with_jobs=False)
    return answer(run_with_steps(run, in_order(nodes.values()), None, read_loops(store, run, nodes)))
