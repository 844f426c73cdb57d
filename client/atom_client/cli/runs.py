"""`runs show` and `runs cancel`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from atom_client.cli.output import Output
from atom_client.cli.tables import MOST_ROWS, show_steps
from atom_client.deployment import with_place
from atom_client.text import clean, counted, listing, one_line
from atom_client.views.as_json import json_text, run_with_steps
from atom_client.views.items import read_loops
from atom_client.views.lines import line_text, read_line
from atom_client.views.loops import count_nodes
from atom_client.views.queries import (
    in_order,
    may_have_items,
    read_nodes_of_steps,
    read_outlines,
    read_outputs_of_steps,
    read_run,
)
from atom_client.views.run_facts import run_facts
from atom_client.views.run_references import full_run_id, require_run
from atom_client.views.summary import verdict
from atom_workflows.coordinator.commands import cancel_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState


def show_run(services: Services, text: str, *, as_json: bool, with_outputs: bool = False) -> None:
    """Print everything about a run, but only a summary of its items."""
    run = require_run(services.store, text)
    nodes = read_nodes_of_steps(services.store, run)
    steps, loops = in_order(nodes.values()), read_loops(services.store, run, nodes)
    outputs = None
    if with_outputs:
        # Item outputs are left out: those that an expression reads are also outputs of their step.
        ids = [step.id for step in steps if step.outputs] if may_have_items(run) else None
        outputs = read_outputs_of_steps(services.store, run.id, ids)
    if as_json:
        click.echo(json_text(run_with_steps(run, steps, outputs, loops)))
        return
    for name, value in run_facts(run):
        click.echo(f"{name:12} {value}")
    for warning in run.warnings:
        click.echo(f"Warning: {one_line(warning)}")
    if steps:
        click.echo()
        show_steps(Output(), steps, loops, now=services.clock.now())
    for line in about_jobs(steps):
        click.echo(line)
    if outputs is not None:
        _show_outputs(run, steps, outputs)
    click.echo()
    for sentence in verdict(run, steps, now=services.clock.now(), loops=loops):
        click.echo(sentence)
    if run.state is RunState.QUEUED and (queue := read_line(services, run)) is not None:
        click.echo(line_text(run, queue, services.clock.now()))


def _show_outputs(run: RunRecord, steps: Sequence[StepRecord], outputs: Mapping[str, Any]) -> None:
    click.echo()
    found = {step.id: outputs[step.id] for step in steps if step.id in outputs}
    if run.outputs:
        click.echo(f"outputs of the run: {_json_line(run.outputs)}")
    for step_id, values in found.items():
        click.echo(f"outputs of `{step_id}`: {_json_line(values)}")
    if not run.outputs and not found:
        click.echo("There are no outputs.")


def about_jobs(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield lines about job logs and jobs that may still be running."""
    logged = [step for step in steps if step.logs_url]
    if logged:
        yield ""
    for step in logged[:MOST_ROWS]:
        yield f"log of `{shown_id(step.id)}`: {clean(step.logs_url)}"
    if len(logged) > MOST_ROWS:
        yield f"and {counted(len(logged) - MOST_ROWS, 'more log')}; --json shows all of them"
    for step in steps:
        if step.unstopped:
            named, jobs = shown_id(step.id), listing(step.unstopped)
            yield f"Warning: the Task Runner did not stop these jobs of `{named}`, which may still be running: {jobs}"


def _json_line(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def cancel_named(services: Services, text: str, *, now: bool = False) -> None:
    """End a run.

    With `now`, its steps under `finally` end with it or are not started.
    """
    run_id = full_run_id(services.store, text)
    cancel_run(services, run_id, now=now)
    run = read_run(services.store, run_id)
    if run is not None and not run.state.is_terminal:
        show = with_place(f"runs show {run_id}")
        click.echo(
            f"Run {run_id} is being cancelled: no more jobs from its main part will be submitted, and its steps under "
            f"`finally` will run. `{show}` shows them; --now ends the run without them."
        )
        return
    click.echo(f"Run {run_id} is cancelled: no more jobs will be submitted.")
    nodes = {} if run is None else read_outlines(services.store, run_id)
    unstopped = [step for step in nodes.values() if step.unstopped]
    if unstopped:
        show = with_place(f"runs show {run_id}")
        items = [shown_id(step.id) for step in unstopped if step.kind is NodeKind.ITEM]
        lists = f"`{show}` lists them" + (f", and `--items STEP` those of items such as `{items[0]}`" if items else "")
        click.echo(f"Jobs of {count_nodes(unstopped)} could not be stopped and may still be running; {lists}.")
