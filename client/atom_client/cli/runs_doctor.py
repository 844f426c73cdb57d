"""`runs doctor`: why a run does not go on, and what was done about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import click

from atom_client.deployment import with_place
from atom_client.text import clip, counted, listing, local_time, one_line
from atom_client.views.as_json import dumped, moment_text
from atom_client.views.queries import full_run_id
from atom_workflows.coordinator.doctor import Examination, examine
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import Finding, is_under_way
from atom_workflows.core.graph import is_internal
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState

MOST_STEPS: Final = 10
_LONGEST_MESSAGE: Final = 200


def doctor(services: Services, text: str, *, dry_run: bool, as_json: bool) -> bool:
    """Examine a run, mend what can be mended, and tell; whether nothing is left that is wrong."""
    examination = examine(services, full_run_id(services.store, text), mending=not dry_run)
    if as_json:
        click.echo(dumped(_as_object(examination)))
    else:
        for line in _lines(examination, now=services.clock.now(), dry_run=dry_run):
            click.echo(line)
    return not _left(examination)


def _lines(examination: Examination, *, now: datetime, dry_run: bool) -> Iterator[str]:
    run, steps = examination.run, _of_user(examination)
    ended = sum(step.state.is_terminal for step in steps)
    yield f"Run {run.id} is {run.state}: {ended:,} of {counted(len(steps), 'step')} ended."
    yield from _what_it_waits_for(steps, now)
    yield from _what_is_wrong(examination, dry_run=dry_run)
    if examination.published:
        yield f"Published again: {counted(examination.published, 'released step')} that no dispatcher had taken yet."
    if not any((examination.found, examination.open_work, examination.overdue_since, examination.odd)):
        yield _all_clear(examination)


def _all_clear(examination: Examination) -> str:
    """What to say when there is nothing to mend: of a run that ended badly, where its reasons stand."""
    run = examination.run
    if run.state in {RunState.FAILED, RunState.CANCELLED, RunState.INVALID}:
        return f"There is nothing to mend; `{with_place(f'runs show {run.id}')}` tells why it ended so."
    if any(is_under_way(step) for step in _of_user(examination)):
        return "Nothing is wrong with it: it waits for the steps above."
    return "Nothing is wrong with it."


def _what_it_waits_for(steps: Sequence[StepRecord], now: datetime) -> Iterator[str]:
    under_way = [step for step in steps if is_under_way(step)]
    yield from (_step_line(step, now) for step in under_way[:MOST_STEPS])
    if len(under_way) > MOST_STEPS:
        yield f"  … and {counted(len(under_way) - MOST_STEPS, 'more step')} under way"
    released = [step.id for step in steps if step.is_released]
    if released:
        yield f"Released, and not taken by a dispatcher yet: {listing(released)}."


def _step_line(step: StepRecord, now: datetime) -> str:
    job = f", job {one_line(step.job_id)} last seen {one_line(step.job_state)}" if step.job_id else ""
    # A job that answers keeps the time of its first poll, and is polled in every round from then on.
    is_polled = step.state is StepState.RUNNING and step.due_at is not None and step.due_at <= now
    look = f"; next look {local_time(step.due_at)}" if step.due_at and not is_polled else ""
    message = f": {clip(one_line(step.message), _LONGEST_MESSAGE)}" if step.message else ""
    return f"  {step.id} is {step.state}, attempt {step.attempt}{job}{look}{message}"


def _what_is_wrong(examination: Examination, *, dry_run: bool) -> Iterator[str]:
    if examination.open_work:
        done = "would be mended" if dry_run else "mended"
        yield f"Wrong: {one_line(examination.open_work)} ({done})."
    mended = {finding.step_id for finding in examination.mended}
    for finding in examination.found:
        yield f"Wrong: {finding.what} ({_fate(finding, mended, dry_run=dry_run)})."
    if examination.overdue_since is not None:
        since = local_time(examination.overdue_since)
        yield (
            f"Wrong: a step was to be looked at by {since}, and no checker came. Is the scheduler's job there and "
            "enabled, and what does the checker's log say?"
        )
    for oddity in examination.odd[:MOST_STEPS]:
        yield f"Wrong: step {oddity.step_id}: {one_line(oddity.what)}."
    if len(examination.odd) > MOST_STEPS:
        yield f"  … and {counted(len(examination.odd) - MOST_STEPS, 'more step')} in such a state"
    if examination.odd:
        yield "Only the Task Runner can change that; each step's timeout still applies."
    if _left(examination) and not dry_run and examination.run.state is RunState.RUNNING and examination.found:
        yield f"`{with_place(f'runs cancel {examination.run.id}')}` ends it; then start the workflow again."


def _fate(finding: Finding, mended: set[str], *, dry_run: bool) -> str:
    if finding.step_id in mended:
        return "mended"
    if not finding.fields:
        return "cannot be mended"
    return "would be mended" if dry_run else "it changed just now; look again"


def _left(examination: Examination) -> bool:
    """Whether something is wrong still."""
    is_late = examination.overdue_since is not None
    return len(examination.mended) < len(examination.found) or is_late or bool(examination.odd)


def _of_user(examination: Examination) -> list[StepRecord]:
    return [step for step in examination.steps.values() if not is_internal(step.id)]


def _as_object(examination: Examination) -> dict[str, Any]:
    mended = {finding.step_id for finding in examination.mended}
    return {
        "run": examination.run.id,
        "state": examination.run.state.value,
        "under_way": [step.id for step in _of_user(examination) if is_under_way(step)],
        "found": [
            {"step": one.step_id, "flaw": one.flaw.value, "what": one.what, "mended": one.step_id in mended}
            for one in examination.found
        ],
        "open_work": examination.open_work,
        "published": examination.published,
        "overdue_since": moment_text(examination.overdue_since),
        "odd": [{"step": one.step_id, "kind": one.kind.value, "what": one.what} for one in examination.odd],
    }
