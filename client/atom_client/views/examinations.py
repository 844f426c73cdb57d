"""What `runs doctor` found out about a run, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import clip, counted, listing, local_time, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.loops import is_shown
from atom_workflows.coordinator.repair import Examination
from atom_workflows.core.consistency import is_under_way
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState

MOST_STEPS: Final = 10
_LONGEST_MESSAGE: Final = 200


def examination_lines(examination: Examination, *, now: datetime, dry_run: bool) -> Iterator[str]:
    """Yield the run's waits, its problems, and what was fixed."""
    run, steps = examination.run, _of_user(examination)
    of_file = [step for step in steps if is_shown(step)]
    ended = sum(step.state.is_terminal for step in of_file)
    items = [step for step in steps if step.kind is NodeKind.ITEM]
    ended_items = sum(item.state.is_terminal for item in items)
    and_items = f" and {ended_items:,} of {counted(len(items), 'item')}" if items else ""
    yield f"Run {run.id} is {run.state}: {ended:,} of {counted(len(of_file), 'step')}{and_items} ended."
    yield from _what_it_waits_for(steps, now)
    yield from _what_is_wrong(examination, dry_run=dry_run)
    if examination.published:
        yield f"Published again: {counted(examination.published, 'released step')} that no dispatcher had claimed yet."
    if any((examination.found, examination.open_work, examination.overdue_since, examination.odd)):
        return
    if run.state in {RunState.FAILED, RunState.CANCELLED, RunState.INVALID}:
        yield f"There is nothing to fix; `{with_place(f'why {run.id}')}` explains why the run ended this way."
    elif run.state is RunState.QUEUED:
        yield f"Nothing is wrong with the run: it is waiting in line. `{with_place(f'why {run.id}')}` explains why."
    elif any(is_under_way(step) for step in steps):
        yield "Nothing is wrong with the run: it is waiting for the steps above."
    else:
        yield "Nothing is wrong with the run."


def _what_it_waits_for(steps: Sequence[StepRecord], now: datetime) -> Iterator[str]:
    under_way = [step for step in steps if is_under_way(step)]
    for step in under_way[:MOST_STEPS]:
        job = f", job {one_line(step.job_id)} last seen {one_line(step.job_state)}" if step.job_id else ""
        # A job that responds keeps the due time of its first poll and is polled in every round from then on.
        is_polled = step.state is StepState.RUNNING and step.due_at is not None and step.due_at <= now
        look = f"; next check {local_time(step.due_at)}" if step.due_at and not is_polled else ""
        message = f": {clip(one_line(step.message), _LONGEST_MESSAGE)}" if step.message else ""
        yield f"  {shown_id(step.id)} is {step.state}, attempt {step.attempt}{job}{look}{message}"
    if len(under_way) > MOST_STEPS:
        yield f"  … and {counted(len(under_way) - MOST_STEPS, 'more step')} under way"
    released = [shown_id(step.id) for step in steps if step.is_released]
    if released:
        yield f"Released, but not yet claimed by a dispatcher: {listing(released)}."


def _what_is_wrong(examination: Examination, *, dry_run: bool) -> Iterator[str]:
    if examination.open_work:
        done = "would be fixed" if dry_run else "fixed"
        yield f"Problem: {one_line(examination.open_work)} ({done})."
    fixed = {finding.step_id for finding in examination.fixed}
    unfixed = "would be fixed" if dry_run else "it has just changed; run this command again"
    for finding in examination.found:
        result = unfixed if finding.fields else "cannot be fixed"
        yield f"Problem: {finding.what} ({'fixed' if finding.step_id in fixed else result})."
    if examination.overdue_since is not None:
        since = local_time(examination.overdue_since)
        yield (
            f"Problem: a step has been overdue since {since}, and the checker has not processed it. Does the scheduler "
            "job exist, is it enabled, and what does the checker's log say?"
        )
    for oddity in examination.odd[:MOST_STEPS]:
        yield f"Problem: step {shown_id(oddity.step_id)}: {one_line(oddity.what)}."
    if len(examination.odd) > MOST_STEPS:
        yield f"  … and {counted(len(examination.odd) - MOST_STEPS, 'more step')} in a similar state"
    if examination.odd:
        yield "Only the Task Runner can change that; each step's timeout still applies."
    is_stuck = bool(examination.found) and is_anything_wrong(examination)
    if is_stuck and not dry_run and examination.run.state is RunState.RUNNING:
        yield f"`{with_place(f'runs cancel {examination.run.id}')}` ends the run; after that, start the workflow again."


def is_anything_wrong(examination: Examination) -> bool:
    """Return True if anything is still wrong with the run."""
    is_late = examination.overdue_since is not None
    return len(examination.fixed) < len(examination.found) or is_late or bool(examination.odd)


def _of_user(examination: Examination) -> list[StepRecord]:
    """Return the user's steps, and the items of those with `forEach`."""
    return [step for step in examination.steps.values() if not is_internal(step.id)]


def examination_object(examination: Examination) -> dict[str, Any]:
    """Return an examination for JSON output."""
    fixed = {finding.step_id for finding in examination.fixed}
    return {
        "run_id": examination.run.id,
        "run": examination.run.id,
        "state": examination.run.state.value,
        "under_way": [shown_id(step.id) for step in _of_user(examination) if is_under_way(step)],
        "found": [
            {"step": shown_id(one.step_id), "flaw": one.flaw.value, "what": one.what, "fixed": one.step_id in fixed}
            for one in examination.found
        ],
        "open_work": examination.open_work,
        "published": examination.published,
        "overdue_since": moment_text(examination.overdue_since),
        "odd": [{"step": shown_id(one.step_id), "kind": one.kind.value, "what": one.what} for one in examination.odd],
    }
