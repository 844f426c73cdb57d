"""Answer the page's queries about runs, steps, items and a workflow's history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, this_console
from atom_client.console.filters import number_of, wanted_runs
from atom_client.console.live import read_watched_run, read_watched_runs
from atom_client.console.run_answers import run_answer, run_rows, step_rows
from atom_client.errors import Failure
from atom_client.text import name_of
from atom_client.views.as_json import items_object, moment_text
from atom_client.views.attempts import step_details, time_attempts, unlisted_attempts
from atom_client.views.counted_reads import CountedReads
from atom_client.views.explanations import look_around_nodes, look_at_step
from atom_client.views.items import read_loop, read_page
from atom_client.views.queries import read_outlines_without_items
from atom_client.views.run_list import (
    NoSuchPage,
    RunFilter,
    RunsPage,
    count_runs,
    describe_none,
    page_of_newest,
    read_runs_page,
)
from atom_client.views.run_references import require_run
from atom_client.views.step_list import unstopped_jobs
from atom_client.views.why_step import attempts_text, deciding_facts
from atom_client.views.workflow_history import MOST_RUNS, read_workflow_history
from atom_workflows.core.states import RunState

if TYPE_CHECKING:
    from datetime import datetime

    from atom_workflows.ports import Store

runs = Blueprint("runs", __name__)

RUNS_PER_PAGE: Final = 50
ITEMS_PER_PAGE: Final = 50
_MOST_PAGES: Final = 1_000_000


@runs.get("/runs")
def list_runs() -> Response:
    """Answer with a page of runs.

    A number past the last page means the last page.
    """
    console, now = this_console(), this_console().services.clock.now()
    store = CountedReads(console.services.store)
    wanted, number = wanted_runs(now), number_of("page", 1, most=_MOST_PAGES)
    page: RunsPage | None = None
    live: dict[str, Any] = {}
    if console.feeds is not None:
        newest, live = read_watched_runs(console.feeds, wanted)
        total = count_runs(store) if newest else 0
        page = page_of_newest(newest, wanted, total=total, number=number, size=RUNS_PER_PAGE)
    if page is None:
        number, page = _read_page(store, wanted, number, now)
    return answer(
        {
            "runs": run_rows(store, page.runs, now),
            "total": page.total,
            "page": number,
            "page_size": RUNS_PER_PAGE,
            "is_complete": page.is_complete,
            "most_searched": wanted.most_searched,
            "documents": store.documents,
            "unreadable": list(page.unreadable),
            "text": "" if page.runs or page.unreadable else describe_none(wanted),
            "as_of": moment_text(now),
            **live,
        }
    )


def _read_page(store: Store, wanted: RunFilter, number: int, now: datetime) -> tuple[int, RunsPage]:
    try:
        return number, read_runs_page(store, wanted, number=number, size=RUNS_PER_PAGE, now=now)
    except NoSuchPage as error:
        number = error.pages
        return number, read_runs_page(store, wanted, number=number, size=RUNS_PER_PAGE, now=now)


@runs.get("/runs/<run_id>")
def show_run(run_id: str) -> Response:
    """Answer with everything about a run and its steps.

    All steps are read once; their items are only summarized.
    """
    console = this_console()
    run = require_run(console.services.store, run_id)
    if console.feeds is not None:
        return answer(read_watched_run(console, console.feeds, run))
    has_steps = run.state not in {RunState.INVALID, RunState.SKIPPED}
    nodes = read_outlines_without_items(console.services.store, run) if has_steps else {}
    console.pictures.keep(run, nodes)
    seen = look_around_nodes(console.services, run, nodes)
    fixed = console.why_fixed(run)
    return answer({**run_answer(seen), "why_fixed": fixed, "steps": step_rows(seen.steps, seen.loops)})


@runs.get("/runs/<run_id>/steps/<step_id>")
def show_step(run_id: str, step_id: str) -> Response:
    """Answer with everything about a step or an item."""
    services = this_console().services
    run = require_run(services.store, run_id)
    seen = look_at_step(services, run, step_id)
    attempts = time_attempts(seen.step, seen.now)
    return answer(
        {
            **step_details(seen, attempts),
            "workflow": run.workflow,
            "run_state": run.state.value,
            "why_fixed": this_console().why_fixed(run),
            "facts": [list(fact) for fact in deciding_facts(seen)],
            "attempts_text": attempts_text(seen.step) if seen.step.attempt else "",
            "declared_outputs": list(seen.step.outputs),
            "notes": [*unlisted_attempts(seen.step, attempts), *unstopped_jobs([seen.step])],
            "is_loop": seen.loop is not None and not seen.is_item,
            "as_of": moment_text(seen.now),
        }
    )


@runs.get("/runs/<run_id>/steps/<step_id>/items")
def list_items(run_id: str, step_id: str) -> Response:
    """Answer with a page of a step's items, failed ones first.

    A number past the last page means the last page.
    """
    services = this_console().services
    run = require_run(services.store, run_id)
    loop = read_loop(services.store, run, step_id)
    if loop is None:
        raise Failure(f"run {run.id} has no step {name_of(step_id)} with `forEach`")
    page = read_page(services.store, loop, number=number_of("page", 1, most=_MOST_PAGES), size=ITEMS_PER_PAGE)
    if page.number > page.pages:
        page = read_page(services.store, loop, number=page.pages, size=ITEMS_PER_PAGE)
    found = items_object(run, page)
    rows = step_rows(page.items, {})
    items = [{**row, "index": one["index"], "item": one["item"]} for row, one in zip(rows, found["items"], strict=True)]
    as_of = moment_text(services.clock.now())
    return answer({**found, "items": items, "text": loop.describe(), "page_size": ITEMS_PER_PAGE, "as_of": as_of})


# A workflow's name may contain a slash, so it is not part of the path.
@runs.get("/history")
def show_history() -> Response:
    """Answer with the newest runs of a workflow and the states of their steps."""
    services, name = this_console().services, request.args.get("workflow", "")
    now = services.clock.now()
    history = read_workflow_history(services.store, name, most_runs=number_of("runs", 20, most=MOST_RUNS))
    return answer({**history.as_fields(now), "as_of": moment_text(now)})
