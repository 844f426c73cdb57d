"""Answer what the page asks about runs: lists, a run and its steps, a step and its items, and a workflow's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, this_console
from atom_client.errors import Failure, Misuse
from atom_client.text import clip, name_of
from atom_client.views.as_json import items_object, moment_text, step_object
from atom_client.views.attempts import step_details, time_attempts, unlisted_attempts
from atom_client.views.explanations import look_at_run, look_at_step
from atom_client.views.items import read_loop, read_page
from atom_client.views.lines import line_text
from atom_client.views.run_facts import run_facts
from atom_client.views.run_list import (
    MOST_RUNS_LOOKED_AT,
    NoSuchPage,
    RunFilter,
    RunOrder,
    count_progress,
    describe_none,
    read_runs_page,
    timed_run,
)
from atom_client.views.run_references import require_run
from atom_client.views.since import since_of
from atom_client.views.step_list import count_line, remark, unstopped_jobs
from atom_client.views.summary import verdict
from atom_client.views.why_run import HEADINGS, explain_run, run_explanation
from atom_client.views.why_step import attempts_text, deciding_facts
from atom_client.views.workflow_history import MOST_RUNS, read_workflow_history
from atom_workflows.core.states import RunState

if TYPE_CHECKING:
    from datetime import datetime

    from atom_client.views.loops import LoopView
    from atom_workflows.core.records import StepRecord

runs = Blueprint("runs", __name__)

RUNS_PER_PAGE: Final = 50
ITEMS_PER_PAGE: Final = 50
_LONGEST_REMARK: Final = 300
_MOST_PAGES: Final = 1_000_000
_STATES: Final = tuple(state.value for state in RunState)
_ORDERS: Final = tuple(order.value for order in RunOrder)


@runs.get("/runs")
def list_runs() -> Response:
    """Answer with a page of runs; a page behind the last one means the last one."""
    services, now = this_console().services, this_console().services.clock.now()
    wanted, number = _wanted_runs(now), _number("page", 1, most=_MOST_PAGES)
    try:
        page = read_runs_page(services.store, wanted, number=number, size=RUNS_PER_PAGE, now=now)
    except NoSuchPage as error:
        number = error.pages
        page = read_runs_page(services.store, wanted, number=number, size=RUNS_PER_PAGE, now=now)
    progress = count_progress(services.store, page.runs)
    return answer(
        {
            "runs": [
                {
                    **timed_run(run, now),
                    "progress": progress[run.id]._asdict() if run.id in progress else None,
                }
                for run in page.runs
            ],
            "total": page.total,
            "page": number,
            "page_size": RUNS_PER_PAGE,
            "is_complete": page.is_complete,
            "most_searched": MOST_RUNS_LOOKED_AT,
            "unreadable": list(page.unreadable),
            "text": "" if page.runs or page.unreadable else describe_none(wanted),
            "as_of": moment_text(now),
        }
    )


def _wanted_runs(now: datetime) -> RunFilter:
    """Return the filter that the request's arguments specify."""
    given = request.args
    states = [one.upper() for one in given.getlist("state")]
    if unknown := [one for one in states if one not in _STATES]:
        raise Misuse(f"runs have no state {name_of(unknown[0])}; the states are {', '.join(_STATES)}")
    if (order := given.get("sort", RunOrder.CREATED.value)) not in _ORDERS:
        raise Misuse(f"runs cannot be sorted by {name_of(order)}, only by {', '.join(_ORDERS)}")
    labels = [one.partition("=") for one in given.getlist("label")]
    if bad := [name for name, sign, _ in labels if not (name and sign)]:
        raise Misuse(f"{name_of(bad[0])!r} is not a label; write NAME=VALUE")
    return RunFilter(
        states=[RunState(one) for one in dict.fromkeys(states)],
        workflow=given.get("workflow", "").strip(),
        labels={name.strip(): value for name, _, value in labels},
        since=since_of(given["since"], now, name="the beginning") if given.get("since", "").strip() else None,
        id_begins=given.get("id", "").strip(),
        order=RunOrder(order),
    )


def _number(name: str, default: int, *, most: int) -> int:
    """Return a number of the request, from 1 to `most`."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= most):
        raise Misuse(f"`{name}` is {name_of(text)!r}; write a number from 1 to {most:,}")
    return int(text[:9])


@runs.get("/runs/<run_id>")
def show_run(run_id: str) -> Response:
    """Answer with everything about a run and its steps, which are all read once, and a summary of items."""
    services = this_console().services
    run = require_run(services.store, run_id)
    seen = look_at_run(services, run, with_succeeded=True)
    this_console().pictures.keep(run, seen.nodes)
    steps = seen.steps
    line = [] if seen.line is None else [line_text(run, seen.line, seen.now)]
    return answer(
        {
            "run": timed_run(run, seen.now),
            "steps": step_rows(steps, seen.loops),
            "facts": [list(fact) for fact in run_facts(run, now=seen.now)],
            "verdict": [*verdict(run, steps, now=seen.now, loops=seen.loops), *line],
            "count": f"{count_line(steps, run.step_count)}." if run.step_count else "",
            "why": {**run_explanation(seen, explain_run(seen)), "headings": HEADINGS},
            "unstopped": list(unstopped_jobs(steps)),
            "as_of": moment_text(seen.now),
        }
    )


def step_rows(steps: Sequence[StepRecord], loops: Mapping[str, LoopView]) -> list[dict[str, Any]]:
    """Return steps as objects of JSON output, but with only the members that say something.

    There may be 10,000 of them. `remark` takes the place of the message.
    """
    rows = []
    for step in steps:
        row = {name: value for name, value in step_object(step).items() if _says_something(value)}
        row.pop("message", None)
        loop = loops.get(step.id)
        if said := clip(remark(step, loop), _LONGEST_REMARK):
            row["remark"] = said
        if loop is not None:
            row["items"] = {**loop.as_fields(), "text": loop.describe()}
        rows.append(row)
    return rows


def _says_something(value: Any) -> bool:
    # A duration of zero does.
    return value is not None and value is not False and value not in ("", [])


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
    """Answer with a page of a step's items, failed ones first; a page behind the last one means the last one."""
    services = this_console().services
    run = require_run(services.store, run_id)
    loop = read_loop(services.store, run, step_id)
    if loop is None:
        raise Failure(f"run {run.id} has no step {name_of(step_id)} with `forEach`")
    page = read_page(services.store, loop, number=_number("page", 1, most=_MOST_PAGES), size=ITEMS_PER_PAGE)
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
    history = read_workflow_history(services.store, name, most_runs=_number("runs", 20, most=MOST_RUNS))
    return answer({**history.as_fields(now), "as_of": moment_text(now)})
