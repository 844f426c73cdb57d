"""`runs mark`: end a step as the user chooses, after showing the effect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from atom_client.errors import RUN_FAILED, Failure, Misuse
from atom_client.planning.params import pairs_of
from atom_client.text import listing, name_of
from atom_client.views.as_json import json_document
from atom_client.views.loops import items_text
from atom_client.views.mark_plan import MarkPlan
from atom_client.views.queries import read_outlines, read_run, similar_step
from atom_client.views.rerun_plan import HEADING
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.commands import mark_step
from atom_workflows.coordinator.marks import Accepted, Wish, find_named, judge_wish
from atom_workflows.coordinator.reopening import require_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.marks import STATES, Effect, require_markable
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import MarkError, SelectionError, ValueMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkOptions:
    """The options that the user gave; `run_id` may be just the beginning of an id."""

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
    """Show what a mark would do, apply it, and return the exit code."""
    state = _read_state(options)
    texts = pairs_of("--output", options.outputs)
    values = {} if options.outputs_file is None else _read_object(options.outputs_file)
    run = require_run_to_change(services.store, options.run_id)
    require_markable(run, now=services.clock.now())
    try:
        named = find_named(services, run.id, options.step_id)
        given = {**values, **{name: _read_value(named.step, name, text) for name, text in texts.items()}}
        wish = Wish(step=options.step_id, state=state, outputs=given)
        _, effect, _ = judge_wish(services, run, wish)
        if effect is Effect.REOPENS:
            require_alone(services, run)
        plan = MarkPlan.of(run, read_outlines(services.store, run.id), named.step, state, effect)
    except MarkError as error:
        raise _explain(services, run, error) from error
    except SelectionError as error:
        raise Failure(f"step {options.step_id} cannot be marked in run {run.id}: {error}") from error
    accepted = Accepted.of(run, named, effect, now=services.clock.now())
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


def _read_value(step: StepRecord, name: str, text: str) -> Any:
    """Return the value that the user typed.

    It is the text itself if the declared type accepts it, or else the JSON value in the text, if it is JSON.
    """
    if name in step.outputs:
        from atom_workflows.core.reads import zone_of  # noqa: PLC0415 (only steps with outputs need it)
        from atom_workflows.expressions.types import read_value  # noqa: PLC0415 (see above)

        with suppress(ValueMismatch):
            read_value(text, step.outputs[name], zone=zone_of(step.constants))
            return text
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def _explain(services: Services, run: RunRecord, error: MarkError) -> Failure:
    """Add a hint about the intended step to the error."""
    if not error.name:
        return Failure(str(error))
    if items := items_text(read_outlines(services.store, run.id), error.name):
        return Failure(f"{error}; {items}")
    meant = similar_step(services.store, run, error.name)
    lists = f"`{with_place(f'runs show {run.id}')}` lists its steps"
    return Failure(f"{error}; {f'did you mean {listing([meant])}?' if meant and meant != error.name else lists}")
