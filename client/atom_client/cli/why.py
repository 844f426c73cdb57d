"""`why`: explain a run's or a step's state, based on its documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

from atom_client.deployment import with_place
from atom_client.text import clean
from atom_client.views.as_json import json_document
from atom_client.views.explanations import look_at_run, look_at_step
from atom_client.views.reasons import Reason
from atom_client.views.rerun_plan import AS_STARTED
from atom_client.views.run_references import require_run
from atom_client.views.why_run import HEADINGS, explain_run, headline, run_explanation
from atom_client.views.why_step import step_explanation, step_facts, step_headline
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState

MOST_OF_A_KIND: Final = 6
"""The maximum number of reasons of each kind to print, so that an explanation fits on a screen."""

_LONGEST_NAME: Final = 12


def print_why_run(services: Services, run_text: str, *, as_json: bool) -> None:
    """Print why a run is in its current state."""
    run = require_run(services.store, run_text)
    seen = look_at_run(services, run)
    reasons = list(explain_run(seen))
    if as_json:
        click.echo(json_document(run_explanation(seen, reasons)))
        return
    click.echo(headline(seen))
    for line in _lines(reasons):
        click.echo(line)
    if run.step_count and run.state not in {RunState.QUEUED, RunState.SKIPPED}:
        click.echo(f"\n`{with_place(f'why {run.id} STEP')}` explains a step.")
    if run.state in {RunState.FAILED, RunState.CANCELLED}:
        click.echo(f"`{with_place(f'runs retry {run.id}')}` runs the unsuccessful steps again, {AS_STARTED}")


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
    seen = look_at_step(services, require_run(services.store, run_text), step_id)
    if as_json:
        click.echo(json_document(step_explanation(seen)))
        return
    click.echo(clean(step_headline(seen)))
    print_facts(step_facts(seen))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print facts with their labels; print a repeated label only once."""
    before = ""
    for name, value in facts:
        click.echo(f"  {'' if name == before else name:{_LONGEST_NAME}} {clean(value)}")
        before = name
