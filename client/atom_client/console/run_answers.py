"""A run as the page receives it, in full or only changes."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from atom_client.deployment import with_place
from atom_client.text import between, clip
from atom_client.views.as_json import items_object, moment_text, rounded_seconds
from atom_client.views.lines import line_text
from atom_client.views.next_steps import find_next, next_sentence
from atom_client.views.queries import read_run
from atom_client.views.run_facts import run_facts
from atom_client.views.run_list import count_progress, is_under_way, timed_run
from atom_client.views.step_list import count_line, remark, unstopped_jobs
from atom_client.views.summary import verdict
from atom_client.views.why_run import HEADINGS, explain_run, run_explanation
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import Phase
from atom_workflows.core.states import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from atom_client.views.items import ItemsPage
    from atom_client.views.loops import LoopView
    from atom_client.views.seen import Seen
    from atom_workflows.core.records import RunRecord, StepRecord
    from atom_workflows.ports import Store

_LONGEST_REMARK: Final = 300
_HEADINGS: Final = {
    **HEADINGS,
    "item": "Failed items, the first few of each step:",
    "tolerated_item": "Failed items that were tolerated, the first few of each step:",
}
"""The headings of the kinds of reasons on the page.

Those of the command line name the command that shows all items; here, a step's page shows them.
"""

_MOST_OF_A_KIND: Final = 50
"""The maximum number of reasons of a kind to send.

A run with 10,000 failed steps has 10,000 reasons.
"""


def run_rows(store: Store, runs: Sequence[RunRecord], now: datetime) -> list[dict[str, Any]]:
    """Return runs for a list, with the progress of those under way.

    If there are many, only the first ones have a `progress`; what the page shows of the others is still the latest.
    """
    counted = {run_id: {"progress": one._asdict()} for run_id, one in count_progress(store, runs).items()}
    uncounted: dict[str, Any] = {"progress": None}
    return [{**timed_run(run, now), **counted.get(run.id, {} if is_under_way(run) else uncounted)} for run in runs]


def queued_lines(store: Store, run_id: str) -> list[str]:
    """Return a line that says that a reopened run is in line, if it is."""
    run = read_run(store, run_id)
    waits = run is not None and run.state is RunState.QUEUED
    return [f"The run is QUEUED for now: `{with_place(f'why {run_id}')}` explains why."] if waits else []


def run_answer(seen: Seen) -> dict[str, Any]:
    """Return a run and its explanation, without its steps."""
    run, steps = seen.run, seen.steps
    line = [] if seen.line is None else [line_text(run, seen.line, seen.now)]
    following = find_next(seen)
    return {
        "run": timed_run(run, seen.now),
        "facts": [list(fact) for fact in run_facts(run, now=seen.now)],
        "verdict": [*verdict(run, steps, now=seen.now, loops=seen.loops), *line],
        "count": f"{count_line(steps, run.step_count)}." if run.step_count else "",
        "why": _why(seen),
        "next": [one.as_fields() for one in following],
        "next_text": next_sentence(following),
        "unstopped": list(unstopped_jobs(steps)),
        "as_of": moment_text(seen.now),
    }


def _why(seen: Seen) -> dict[str, Any]:
    """Return a run's explanation with its first reasons of each kind.

    `more` counts the others.
    """
    counts: Counter[str] = Counter()
    reasons = []
    for reason in explain_run(seen):
        counts[reason.kind] += 1
        if counts[reason.kind] <= _MOST_OF_A_KIND:
            reasons.append(reason)
    more = {kind: count - _MOST_OF_A_KIND for kind, count in counts.items() if count > _MOST_OF_A_KIND}
    return {**run_explanation(seen, reasons), "headings": _HEADINGS, "more": more}


def step_rows(steps: Iterable[StepRecord], loops: Mapping[str, LoopView]) -> list[dict[str, Any]]:
    """Return the fields that step lists show, named as in JSON output.

    There may be 10,000 steps, so empty fields are left out. `remark` replaces the message.
    """
    rows = []
    for step in steps:
        row: dict[str, Any] = {"id": shown_id(step.id), "state": step.state.value}
        if step.attempt:
            row["attempts"] = step.attempt
        if step.started_at is not None:
            row["started_at"] = moment_text(step.started_at)
            if step.finished_at is not None:
                row["duration_s"] = rounded_seconds(between(step.started_at, step.finished_at))
        if step.phase is Phase.FINALLY:
            row["phase"] = step.phase.value
        if step.tolerated:
            row["tolerated"] = True
        loop = loops.get(step.id)
        if said := clip(remark(step, loop), _LONGEST_REMARK):
            row["remark"] = said
        if loop is not None:
            row["items"] = {**loop.as_fields(), "text": loop.describe()}
        rows.append(row)
    return rows


def items_answer(run: RunRecord, page: ItemsPage) -> dict[str, Any]:
    """Return a page of items as the page shows it."""
    found = items_object(run, page)
    return {**found, "items": item_rows(page.items), "text": page.loop.describe()}


def item_rows(items: Iterable[StepRecord]) -> list[dict[str, Any]]:
    """Return items as `step_rows` returns steps, each with its index and value."""
    items = list(items)
    rows = zip(step_rows(items, {}), items, strict=True)
    return [{**row, "index": item.index, "item": json.loads(item.item or "null")} for row, item in rows]
