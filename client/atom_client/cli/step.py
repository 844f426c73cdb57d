"""`runs show --step`: print one step in full, including its attempts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

import click

from atom_client.cli.output import Output
from atom_client.cli.tables import attempts_sheet
from atom_client.cli.why import print_facts
from atom_client.deployment import with_place
from atom_client.text import clean, lasted, local_time, one_line
from atom_client.views.as_json import json_document
from atom_client.views.attempts import (
    PARTS,
    WAITS,
    TimedAttempt,
    durations_text,
    step_details,
    time_attempts,
    time_step,
    unlisted_attempts,
)
from atom_client.views.explanations import look_at_step
from atom_client.views.run_references import require_run
from atom_client.views.seen import StepSeen
from atom_client.views.step_list import taken_by, unstopped_jobs
from atom_client.views.why_step import attempts_text, inputs_and_outputs, kept_facts, mark_facts, step_headline
from atom_workflows.coordinator.services import Services
from atom_workflows.core.item_ids import shown_id


def show_step(services: Services, run_text: str, step_id: str, *, as_json: bool) -> None:
    """Print everything about a step or an item.

    This includes its state, times and attempts, what was sent, and its outputs.
    """
    seen = look_at_step(services, require_run(services.store, run_text), step_id)
    attempts = time_attempts(seen.step, seen.now)
    if as_json:
        click.echo(json_document(step_details(seen, attempts)))
        return
    click.echo(clean(step_headline(seen)))
    print_facts(_facts(seen, attempts))
    if attempts:
        click.echo()
        Output().show(attempts_sheet(seen.step, attempts, now=seen.now))
    for line in (*_about_attempts(seen, attempts), *unstopped_jobs([seen.step])):
        click.echo(line)
    why = with_place(f"why {seen.run.id} {quote(shown_id(seen.step.id))}")
    click.echo(f"\n`{why}` explains how it came to its state.")


def _facts(seen: StepSeen, attempts: Sequence[TimedAttempt]) -> Iterator[tuple[str, str]]:
    step = seen.step
    yield "run", seen.run.id
    yield "state", step.state.value
    yield from kept_facts(step)
    if seen.loop is not None and not seen.is_item:
        yield "items", seen.loop.describe() or "it has no items yet"
    if step.attempt:
        yield "attempts", attempts_text(step)
    for name, moment in (("started", step.started_at), ("finished", step.finished_at)):
        if moment is not None:
            yield name, local_time(moment)
    yield from mark_facts(step)
    durations = time_step(seen, attempts)
    if waited := durations_text(durations, WAITS):
        yield "waited", waited
    if (took := taken_by(step, seen.now)) is not None:
        parts = durations_text(durations, PARTS)
        so_far = "" if step.state.is_terminal else " so far"
        yield "duration", f"{lasted(took)}{so_far}{f': {parts}' if parts else ''}"
    yield from inputs_and_outputs(seen)


def _about_attempts(seen: StepSeen, attempts: Sequence[TimedAttempt]) -> Iterator[str]:
    """Yield the job of each attempt, and the address of its log."""
    yield from unlisted_attempts(seen.step, attempts)
    if any(one.attempt.job_id for one in attempts):
        yield ""
    for one in attempts:
        job, log = one_line(one.attempt.job_id), clean(one.attempt.logs_url)
        if job:
            yield f"job of attempt {one.attempt.number}: {job}{f', log: {log}' if log else ''}"
