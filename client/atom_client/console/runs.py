"""Answer the page's queries about runs, steps and items."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response

from atom_client.console.app import answer, this_console
from atom_client.console.filters import number_of, wanted_runs
from atom_client.console.live import read_watched_run, read_watched_runs
from atom_client.console.live_steps import watch_step
from atom_client.console.run_answers import run_answer, run_rows, step_rows
from atom_client.console.watched_items import ItemsViewer
from atom_client.views.as_json import moment_text
from atom_client.views.attempts import step_details, time_attempts, unlisted_attempts
from atom_client.views.counted_reads import CountedReads
from atom_client.views.explanations import look_around_nodes, look_at_step
from atom_client.views.queries import read_outlines_without_items
from atom_client.views.run_list import (
    NoSuchPage,
    RunFilter,
    RunsPage,
    TooFar,
    count_runs,
    describe_none,
    page_of_newest,
    read_runs_page,
)
from atom_client.views.run_references import require_run
from atom_client.views.step_list import unstopped_jobs
from atom_client.views.why_step import attempts_text, deciding_facts
from atom_workflows.core.states import RunState

if TYPE_CHECKING:
    from datetime import datetime

    from atom_workflows.coordinator.services import Services
    from atom_workflows.core.records import RunRecord
    from atom_workflows.ports import Store

runs = Blueprint("runs", __name__)

RUNS_PER_PAGE: Final = 50
_MOST_PAGES: Final = 1_000_000


@runs.get("/runs")
def list_runs() -> Response:
    """Respond with a page of runs.

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
    rows = run_rows(store, page.runs, now)
    return answer(
        {
            "runs": rows,
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
        return _read_page(store, wanted, error.pages, now)
    except TooFar as error:
        advice = "filter by time, state or workflow to list fewer runs"
        raise TooFar(number, name="page", advice=advice) from error


@runs.get("/runs/<run_id>")
def show_run(run_id: str) -> Response:
    """Respond with everything about a run and its steps.

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
    """Respond with everything about a step or an item."""
    console = this_console()
    run = require_run(console.services.store, run_id)
    if console.feeds is None or run.state.is_terminal:
        return answer(_step_answer(console.services, run, step_id))
    # A stream that is opened after this reports every change from now on.
    with watch_step(console, console.feeds, run.id, step_id) as feed:
        at, store = f"{feed.name}.{feed.wait_until_known()}", CountedReads(console.services.store)
        found = _step_answer(replace(console.services, store=store), run, step_id)
        feed.state.note_reads(store.documents)
        return answer({**found, "at": at})


def _step_answer(services: Services, run: RunRecord, step_id: str) -> dict[str, Any]:
    seen = look_at_step(services, run, step_id)
    attempts = time_attempts(seen.step, seen.now)
    return {
        **step_details(seen, attempts),
        "workflow": run.workflow,
        "run_state": run.state.value,
        "why_fixed": this_console().why_fixed(run),
        "facts": [list(fact) for fact in deciding_facts(seen, whole="the page shows all of it")],
        "attempts_text": attempts_text(seen.step) if seen.step.attempt else "",
        "declared_outputs": list(seen.step.outputs),
        "notes": [*unlisted_attempts(seen.step, attempts), *unstopped_jobs([seen.step])],
        "is_loop": seen.loop is not None and not seen.is_item,
        "as_of": moment_text(seen.now),
    }


@runs.get("/runs/<run_id>/steps/<step_id>/items")
def list_items(run_id: str, step_id: str) -> Response:
    """Respond with a page of a step's items, failed ones first.

    A number past the last page means the last page.
    """
    console = this_console()
    store, number = console.services.store, number_of("page", 1, most=_MOST_PAGES)
    run = require_run(store, run_id)
    page = console.item_pages.find(run, step_id, number)
    if console.feeds is None:
        found = page.read(store)
    else:
        with closing(ItemsViewer(page, store, console.feeds)) as viewer:
            found = viewer.read()
    return answer({**found, "as_of": moment_text(console.services.clock.now())})
