"""The `runs` commands that look at runs, and the one that ends one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from atom_client.cli.output import Output
from atom_client.cli.tables import runs_sheet, steps_sheet
from atom_client.deployment import with_place
from atom_client.text import clean, counted, local_time, one_line
from atom_client.views.as_json import dumped, run_object, run_with_steps
from atom_client.views.queries import MOST_RUNS_LOOKED_AT, full_run_id, newest_runs, read_run, read_steps
from atom_client.views.summary import verdict
from atom_workflows.coordinator.commands import cancel_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.errors import RunNotFound
from atom_workflows.task_runner_urls import shown_url


def list_runs(services: Services, *, limit: int, state: RunState | None, as_json: bool) -> None:
    """Print the newest runs."""
    runs = newest_runs(services.store, limit=limit, state=state)
    if as_json:
        click.echo(dumped([run_object(run) for run in runs]))
    elif runs:
        Output().show(runs_sheet(runs))
    elif state is None:
        click.echo(f"There are no runs yet. `{with_place('start FILE')}` starts one.")
    else:
        click.echo(f"None of the newest {MOST_RUNS_LOOKED_AT:,} runs is {state}.")


def show_run(services: Services, text: str, *, as_json: bool) -> None:
    """Print all that is known of a run."""
    run = _run(services, text)
    steps = read_steps(services.store, run.id)
    if as_json:
        click.echo(dumped(run_with_steps(run, steps)))
        return
    for name, value in _facts(run):
        click.echo(f"{name:12} {value}")
    for warning in run.warnings:
        click.echo(f"Warning: {one_line(warning)}")
    if steps:
        click.echo()
        Output().show(steps_sheet(steps))
    click.echo()
    for sentence in verdict(run, steps, now=services.clock.now()):
        click.echo(sentence)


def cancel(services: Services, text: str) -> None:
    """End a run."""
    run_id = full_run_id(services.store, text)
    cancel_run(services, run_id)
    click.echo(
        f"Run {run_id} is cancelled: no further job is submitted. Jobs that run already go on at the Task Runner."
    )


def _run(services: Services, text: str) -> RunRecord:
    run_id = full_run_id(services.store, text)
    run = read_run(services.store, run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def _facts(run: RunRecord) -> Iterator[tuple[str, str]]:
    """What is known of a run, each with its name; what is not known is left out."""
    facts = {
        "run": run.id,
        "workflow": run.workflow,
        "description": run.description,
        "state": f"{run.state}, to be closed: {run.stop.reason}"
        if run.stop and not run.state.is_terminal
        else run.state,
        "source": _source(run),
        "trigger": ", ".join(f"{name} {value}" for name, value in sorted(run.trigger.items(), key=_kind_first)),
        "task runner": shown_url(run.task_runner_url),
        "labels": ", ".join(f"{name}={value}" for name, value in run.labels.items()),
        "params": ", ".join(f"{name}={value}" for name, value in run.params.items()),
        "created": local_time(run.created_at),
        "started": local_time(run.started_at),
        "finished": local_time(run.finished_at),
        "deadline": local_time(run.deadline),
        "retried": counted(run.retries, "time") if run.retries else "",
    }
    for name, value in facts.items():
        if value:
            yield name, one_line(clean(value))


def _kind_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0] != "kind", item[0]


def _source(run: RunRecord) -> str:
    path = run.source.get("path", "")
    if run.source.get("inline"):
        return f"{path} (given in the start message)"
    generation = run.source.get("generation")
    return f"{path} (generation {generation})" if generation else str(path)
