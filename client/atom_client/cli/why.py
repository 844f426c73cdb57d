"""`why`: explains why a run or a step is in its current state, based on its documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import click

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import clean, listing
from atom_client.views.as_json import json_text, moment_text
from atom_client.views.lines import read_line
from atom_client.views.queries import (
    NodeReader,
    last_look,
    read_outlines,
    read_outputs_of_steps,
    require_run,
    similar_step,
)
from atom_client.views.reasons import Reason
from atom_client.views.why_run import HEADINGS, Seen, explain_run, headline
from atom_client.views.why_step import look_around, step_explanation, step_facts, step_headline
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.language.limits import MAX_ID

MOST_OF_A_KIND: Final = 6
"""The maximum number of reasons of each kind to print, so that an explanation fits on a screen."""

_LONGEST_NAME: Final = 12
_STEP_ID: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}")


def print_why_run(services: Services, run_text: str, *, as_json: bool) -> None:
    """Print why a run is in its current state."""
    run = require_run(services.store, run_text)
    now = services.clock.now()
    looked_at = last_look(services.store, now=now) if run.state is RunState.RUNNING else None
    nodes: Mapping[str, StepRecord] = {}
    if run.state not in {RunState.INVALID, RunState.SKIPPED}:
        nodes = read_outlines(services.store, run.id, but_succeeded=run.started_at is not None)
    queue = read_line(services, run) if run.state is RunState.QUEUED else None
    seen = Seen(run=run, nodes=nodes, now=now, looked_at=looked_at, line=queue)
    reasons = list(explain_run(seen))
    if as_json:
        described = {
            "run": run.id,
            "state": run.state.value,
            "main_state": run.main_state.value if run.main_state else None,
            "text": headline(seen),
            "steps": seen.count_states(),
            "deadline": moment_text(run.deadline),
            "reasons": [reason.as_fields() for reason in reasons],
        }
        click.echo(json_text(described))
        return
    click.echo(headline(seen))
    for line in _lines(reasons):
        click.echo(line)
    if run.step_count and run.state not in {RunState.QUEUED, RunState.SKIPPED}:
        click.echo(f"\n`{with_place(f'why {run.id} STEP')}` explains a step.")


def _lines(reasons: Sequence[Reason]) -> Iterator[str]:
    """Yield the reasons as lines, a few under each heading."""
    kinds = Counter(reason.kind for reason in reasons)
    printed: Counter[str] = Counter()
    for reason in reasons:
        printed[reason.kind] += 1
        number, of = printed[reason.kind], kinds[reason.kind]
        if reason.kind not in HEADINGS:
            yield clean(reason.text)
            continue
        if number == 1:
            yield HEADINGS[reason.kind]
        if number <= MOST_OF_A_KIND:
            yield f"  {clean(reason.text)}"
        elif number == of:
            yield f"  … and {of - MOST_OF_A_KIND:,} more; `--json` lists all"


def print_why_step(services: Services, run_text: str, step_id: str, *, as_json: bool) -> None:
    """Print why a step is in its current state."""
    run = require_run(services.store, run_text)
    reader = NodeReader(services.store, run.id)
    is_reserved = step_id.startswith("__") and step_id.endswith("__")
    found = reader.read([step_id]) if _STEP_ID.fullmatch(step_id) and not is_reserved else []
    if not found:
        meant = similar_step(services.store, run.id, step_id)
        lists = f"`{with_place(f'runs show {run.id}')}` lists its steps"
        hint = f"did you mean {listing([meant])}?" if meant else lists
        raise Failure(f"run {run.id} has no step {listing([step_id])}; {hint}")
    step = found[0]
    seen = look_around(reader, run, step, now=services.clock.now())
    if step.outputs:
        outputs = read_outputs_of_steps(services.store, run.id, [step.id]).get(step.id, {})
        seen = replace(seen, outputs=outputs)
    if as_json:
        click.echo(json_text(step_explanation(seen)))
        return
    click.echo(clean(step_headline(seen)))
    before = ""
    for name, value in step_facts(seen):
        click.echo(f"  {'' if name == before else name:{_LONGEST_NAME}} {clean(value)}")
        before = name
