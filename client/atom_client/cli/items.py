"""`runs show --items`: print a step's items, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import click

from atom_client.cli.output import Output
from atom_client.cli.runs import job_logs
from atom_client.cli.tables import items_sheet
from atom_client.deployment import with_place
from atom_client.errors import Failure, Misuse
from atom_client.text import clean, name_of, pages_text
from atom_client.views.as_json import items_object, json_document
from atom_client.views.items import ItemsPage, read_loop, read_page
from atom_client.views.queries import read_outputs_of_steps
from atom_client.views.run_references import require_run
from atom_client.views.step_list import unstopped_jobs
from atom_workflows.coordinator.services import Services
from atom_workflows.core.item_ids import shown_id

PAGE_SIZE: Final = 50


def show_items(  # noqa: PLR0913 (all but the first three are options)
    services: Services, text: str, step_id: str, *, page: int, limit: int, as_json: bool, with_outputs: bool
) -> None:
    """Print a page of a step's items, failed ones first."""
    run = require_run(services.store, text)
    loop = read_loop(services.store, run, step_id)
    if loop is None and run.started_at is None and not run.state.is_terminal:
        why = with_place(f"why {run.id}")
        raise Failure(f"run {run.id} is {run.state} and has not begun, so it has no items yet; `{why}` explains why")
    if loop is None:
        lists = with_place(f"runs show {run.id}")
        raise Failure(f"run {run.id} has no step `{name_of(step_id)}` with `forEach`; `{lists}` lists its steps")
    found = read_page(services.store, loop, number=page, size=limit)
    if page > found.pages:
        raise Misuse(f"--page {page} does not exist: there {pages_text(found.pages, limit, 'item')}")
    ids = [item.id for item in found.items if item.outputs]
    outputs = read_outputs_of_steps(services.store, run.id, ids) if with_outputs else None
    if as_json:
        click.echo(json_document(items_object(run, found, outputs)))
        return
    click.echo(f"Step `{step_id}` of run {run.id} is {loop.step.state}: {loop.describe() or 'it has no items yet'}.")
    if found.items:
        click.echo()
        Output().show(items_sheet(found.items, now=services.clock.now()))
    for line in (*job_logs(found.items), *unstopped_jobs(found.items)):
        click.echo(line)
    for item in found.items:
        if outputs and item.id in outputs:
            values = clean(json.dumps(outputs[item.id], ensure_ascii=False))
            click.echo(f"outputs of `{shown_id(item.id)}`: {values}")
    for line in _describe_others(found, step_id, limit):
        click.echo(line)


def _describe_others(found: ItemsPage, step_id: str, limit: int) -> Iterator[str]:
    """Say where to find the items that are not on the page."""
    origin = found.loop.step.kept_from
    if origin and not found.items:
        of_origin = with_place(f"runs show {origin} --items {step_id}")
        yield f"They ran in run {origin}, from which the step was kept: `{of_origin}` shows them."
    elif found.number < found.pages:
        size = "" if limit == PAGE_SIZE else f" --limit {limit}"
        command = f"runs show {found.loop.step.run_id} --items {step_id}{size} --page {found.number + 1}"
        yield f"\nPage {found.number:,} of {found.pages:,}; `{with_place(command)}` shows the next one."
