"""`runs show` and `runs cancel`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.output import Output
from atom_client.cli.platform import services_for_run
from atom_client.cli.tables import MOST_ROWS, show_steps
from atom_client.deployment import with_place
from atom_client.errors import Misuse
from atom_client.text import clean, counted, one_line, pages_text
from atom_client.views.as_json import json_document, run_with_steps
from atom_client.views.cancellation import cancelled_lines
from atom_client.views.items import read_loops
from atom_client.views.lines import line_text, read_line
from atom_client.views.queries import (
    in_order,
    may_have_items,
    read_nodes_of_steps,
    read_outputs_of_steps,
    read_run,
)
from atom_client.views.run_facts import run_facts
from atom_client.views.run_references import require_run, require_run_to_change
from atom_client.views.step_list import RUNNING_STATES, StepFilter, StepOrder, count_line, unstopped_jobs
from atom_client.views.summary import verdict
from atom_workflows.coordinator.commands import cancel_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.endings import require_stoppable
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState

STEPS_PER_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """The options that the user gave.

    `run_id` may be anything that refers to a run. If neither a page nor a limit is given, JSON output has all steps,
    and text output has the first page.
    """

    run_id: str
    as_json: bool = False
    with_outputs: bool = False
    states: Sequence[str] = ()
    failed: bool = False
    running: bool = False
    sort: str = StepOrder.STARTED.value
    page: int | None = None
    limit: int | None = None

    def words(self) -> Iterator[str]:
        """Yield the options that choose the steps, as typed."""
        yield from (f"--state {state}" for state in self.states)
        yield from ["--failed"] * self.failed
        yield from ["--running"] * self.running
        yield from ["--outputs"] * self.with_outputs
        if self.sort != StepOrder.STARTED:
            yield f"--sort {self.sort}"
        if self.limit is not None:
            yield f"--limit {self.limit}"

    def wanted(self) -> StepFilter:
        """Return the steps that the options choose."""
        states = (
            *(StepState(state.upper()) for state in self.states),
            *((StepState.FAILED,) if self.failed else ()),
            *(RUNNING_STATES if self.running else ()),
        )
        return StepFilter(states=tuple(dict.fromkeys(states)), order=StepOrder(self.sort))


def show_run(services: Services, options: ShowOptions) -> None:
    """Print everything about a run, with only a summary of its items.

    If there are many steps, only one page of them is printed.
    """
    now = services.clock.now()
    run = require_run(services.store, options.run_id)
    nodes = read_nodes_of_steps(services.store, run, with_jobs=False)
    steps, loops = in_order(nodes.values()), read_loops(services.store, run, nodes)
    chosen = options.wanted().choose(steps, now)
    shown = _page_of(chosen, options)
    outputs = None
    if options.with_outputs:
        # Item outputs are left out: those that an expression reads are also outputs of their step.
        ids = [step.id for step in shown if step.outputs] if may_have_items(run) or len(shown) < len(steps) else None
        outputs = read_outputs_of_steps(services.store, run.id, ids)
    if options.as_json:
        click.echo(json_document(run_with_steps(run, shown, outputs, loops)))
        return
    _show_facts(run, now)
    if shown:
        click.echo()
        show_steps(Output(), shown, loops, now=now)
    for line in (*_about_page(run, steps, chosen, options), *job_logs(shown), *unstopped_jobs(steps)):
        click.echo(line)
    if outputs is not None:
        _show_outputs(run, shown, outputs)
    click.echo()
    for sentence in verdict(run, steps, now=now, loops=loops):
        click.echo(sentence)
    if steps and not run.state.is_terminal:
        click.echo(f"{count_line(steps, run.step_count)}.")
    if run.state is RunState.QUEUED and (queue := read_line(services, run)) is not None:
        click.echo(line_text(run, queue, now))


def _show_facts(run: RunRecord, now: datetime) -> None:
    for name, value in run_facts(run, now=now):
        click.echo(f"{name:12} {value}")
    for warning in run.warnings:
        click.echo(f"Warning: {one_line(warning)}")


def _page_of(chosen: Sequence[StepRecord], options: ShowOptions) -> Sequence[StepRecord]:
    if options.as_json and options.page is None and options.limit is None:
        return chosen
    page, limit = options.page or 1, options.limit or STEPS_PER_PAGE
    pages = max(1, -(-len(chosen) // limit))
    if page > pages:
        raise Misuse(f"--page {page} does not exist: there {pages_text(pages, limit, 'step')}")
    return chosen[(page - 1) * limit : page * limit]


def _about_page(
    run: RunRecord, steps: Sequence[StepRecord], chosen: Sequence[StepRecord], options: ShowOptions
) -> Iterator[str]:
    """Yield lines about the steps that are not shown."""
    states = options.wanted().states
    if not chosen and states:
        is_running = tuple(states) == RUNNING_STATES
        yield "\nNo step is running." if is_running else f"\nNo step is {' or '.join(states)}."
        return
    page, limit = options.page or 1, options.limit or STEPS_PER_PAGE
    begin, end = (page - 1) * limit, min(page * limit, len(chosen))
    if end < len(chosen):
        words = " ".join(["runs show", run.id, *options.words(), f"--page {page + 1}"])
        yield f"\nSteps {begin + 1:,} to {end:,} of {len(chosen):,}; next: `{with_place(words)}`"
    elif page > 1:
        yield f"\nSteps {begin + 1:,} to {end:,} of {len(chosen):,}"
    elif states:
        yield f"\n{len(chosen):,} of {counted(len(steps), 'step')} shown"


def _show_outputs(run: RunRecord, steps: Sequence[StepRecord], outputs: Mapping[str, Any]) -> None:
    click.echo()
    found = {step.id: outputs[step.id] for step in steps if step.id in outputs}
    if run.outputs:
        click.echo(f"outputs of the run: {_json_line(run.outputs)}")
    for step_id, values in found.items():
        click.echo(f"outputs of `{step_id}`: {_json_line(values)}")
    if not run.outputs and not found:
        click.echo("There are no outputs.")


def job_logs(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield lines about the logs of jobs."""
    logged = [step for step in steps if step.logs_url]
    if logged:
        yield ""
    for step in logged[:MOST_ROWS]:
        yield f"log of `{shown_id(step.id)}`: {clean(step.logs_url)}"
    if len(logged) > MOST_ROWS:
        yield f"and {counted(len(logged) - MOST_ROWS, 'more log')}; --json shows all of them"


def _json_line(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def cancel_named(services: Services, text: str, *, now: bool = False, reason: str = "") -> None:
    """End a run.

    With `now`, its steps under `finally` end with it or are not started.
    """
    run = require_run_to_change(services.store, text)
    require_stoppable(run, kind=StopKind.CANCEL, now=now)
    run_id = run.id
    live = services_for_run(services, run_id)

    def has_ended() -> bool:
        # The platform of a single run ends with it, but its history stays.
        run = None if live is services else read_run(services.store, run_id)
        return run is not None and run.state.is_terminal

    cancel_run(live, run_id, now=now, actor=current_actor(), reason=reason, has_ended=has_ended)
    for line in cancelled_lines(services.store, run_id):
        click.echo(line)
