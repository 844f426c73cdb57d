"""`runs mark`: mark a step as succeeded or skipped, after a preview."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.output import Output
from atom_client.cli.platform import services_for_run
from atom_client.cli.sources import content_of
from atom_client.cli.tables import show_rerun
from atom_client.cli.watch import WatchOptions, watch_run
from atom_client.deployment import with_place
from atom_client.errors import RUN_FAILED, Misuse
from atom_client.planning.marks import AskedMark, plan_mark
from atom_client.planning.params import pairs_of
from atom_client.text import name_of
from atom_client.views.as_json import json_document
from atom_client.views.queries import read_run
from atom_client.views.rerun_plan import HEADING
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.commands import mark_step
from atom_workflows.coordinator.services import Services
from atom_workflows.core.marks import STATES, Effect, require_markable
from atom_workflows.core.states import RunState, StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkOptions:
    """The options that the user gave.

    `run_id` may be just the beginning of an id.
    """

    run_id: str
    step_id: str
    state_text: str
    outputs: Sequence[str] = ()
    outputs_file: str | None = None
    dry_run: bool = False
    yes: bool = False
    wait: bool = False
    timeout_s: float | None = None
    reason: str = ""
    as_json: bool = False


def mark_named(services: Services, options: MarkOptions) -> int:
    """Show a mark's effect, apply the mark, and return the exit code."""
    state = _read_state(options)
    texts = dict(pairs_of("--output", options.outputs))
    values = {} if options.outputs_file is None else _read_object(options.outputs_file)
    run = require_run_to_change(services.store, options.run_id)
    require_markable(run, now=services.clock.now())
    asked = AskedMark(step_id=options.step_id, state=state, texts=texts, values=values)
    planned = plan_mark(services, run, asked)
    plan = planned.plan
    history = services
    if not options.dry_run:
        services = services_for_run(services, run.id)
    show_rerun(Output(aside=options.as_json), HEADING, tuple(plan.rows()), plan.sentences())
    if options.dry_run:
        if options.as_json:
            click.echo(json_document({**plan.as_fields(), "queued": False, "dry_run": True}))
        return 0
    is_asked = not options.yes and Output(aside=options.as_json).has_reader
    if is_asked and not click.confirm("Mark this step?", err=options.as_json):
        click.echo("Nothing was changed.", err=options.as_json)
        return RUN_FAILED
    wish, accepted = planned.wish, planned.accepted
    done = mark_step(services, run.id, wish, actor=current_actor(), reason=options.reason, accepted=accepted)
    if options.wait:
        Output(aside=options.as_json).say("Marked.")
        return watch_run(history, WatchOptions(run_id=run.id, timeout_s=options.timeout_s, as_json=options.as_json))
    reopened = read_run(services.store, run.id) if done is Effect.REOPENS else None
    waits = reopened is not None and reopened.state is RunState.QUEUED
    if options.as_json:
        click.echo(json_document({**plan.as_fields(), "effect": done.value, "queued": waits}))
        return 0
    queued = f" The run is QUEUED for now: `{with_place(f'why {run.id}')}` explains why." if waits else ""
    click.echo(f"Marked.{queued} `{with_place(f'runs show {run.id}')}` shows the run.")
    return 0


def _read_state(options: MarkOptions) -> StepState:
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    state = STATES.get(options.state_text.lower())
    if state is None:
        raise Misuse(f"the state is {name_of(options.state_text)}; a step can be marked as {' or '.join(STATES)}")
    return state


def _read_object(file: str) -> Mapping[str, Any]:
    try:
        values = json.loads(content_of(file, what="--outputs"))
    except (ValueError, RecursionError) as error:
        raise Misuse(f"--outputs is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise Misuse('--outputs must be a JSON object, such as {"rows": 12}')
    return values
