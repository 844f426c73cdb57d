"""How a run ended, in sentences.

They say which step failed and why, and which steps were skipped because of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from atom_client.deployment import with_place
from atom_client.text import clip, counted, listing, local_time, one_line, with_stop
from atom_client.views.delays import held_back_lines, stuck_lines
from atom_client.views.loops import without_first
from atom_client.views.reasons import failure_words, group_skipped, tries_of
from atom_client.views.run_times import ended_text
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState

if TYPE_CHECKING:
    from atom_client.views.loops import LoopView

MOST_FAILURES: Final = 5
MOST_PROBLEMS: Final = 100
_LONGEST_MESSAGE: Final = 500


_NO_LOOPS: Final[Mapping[str, LoopView]] = MappingProxyType({})


def verdict(
    run: RunRecord, steps: Sequence[StepRecord], *, now: datetime, loops: Mapping[str, LoopView] = _NO_LOOPS
) -> list[str]:
    """Return sentences about the run, most important first.

    `loops` holds what was read about the items of each step with `forEach`, by step id.
    """
    sentences = _verdict(run, steps, now, loops)
    return [sentences[0], *lateness(run, now), *sentences[1:]]


def lateness(run: RunRecord, now: datetime) -> list[str]:
    """Return a sentence if the run has missed its deadline."""
    is_late = run.late or (not run.state.is_terminal and run.is_late(now))
    if run.late_at is None or not is_late:
        return []
    return [f"It is late: its deadline was {local_time(run.late_at)}."]


def _verdict(run: RunRecord, steps: Sequence[StepRecord], now: datetime, loops: Mapping[str, LoopView]) -> list[str]:
    if run.state is RunState.INVALID:
        return [f"Run {run.id} is INVALID and was not started.", *problem_lines(run)]
    if run.state is RunState.SKIPPED:
        return [f"Run {run.id} is SKIPPED and was not started: {one_line(run.because)}."]
    if not run.state.is_terminal:
        return [
            f"Run {run.id} is {run.state}.",
            *_main_part(run),
            *_failures(steps, loops),
            *_tolerated(steps, loops),
            *held_back_lines(steps),
            *stuck_lines(steps, now),
        ]
    if run.state is RunState.SUCCEEDED:
        kept = sum(bool(step.kept_from) for step in steps)
        and_kept = f"; {counted(kept, 'step')} {'was' if kept == 1 else 'were'} kept" if kept else ""
        # Attempts before a retry were not needed by it. Each lost job has moved the first attempt that counts.
        own = [step for step in steps if not step.kept_from]
        again = [step.id for step in own if step.attempt + step.losses > step.first_attempt]
        needed = f", of which {listing(again)} needed more than one attempt" if again else ""
        items = sum(loop.counts.total or 0 for loop in loops.values())
        and_items = f" and {counted(items, 'item')}" if items else ""
        outputs = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in run.outputs.items())
        how_long = ended_text(run, word="in")
        return [
            f"Run {run.id} SUCCEEDED {how_long}: {counted(len(steps), 'step')}{and_items}{needed}{and_kept}.",
            *_tolerated(steps, loops),
            *_skipped_by_choice(steps),
            *([f"Outputs: {one_line(outputs)}."] if outputs else []),
        ]
    stopped = ""
    if run.state is RunState.CANCELLED and run.main_errors:
        stopped = f": {one_line(run.main_errors[0]['message'])}"
    elif run.stop is not None:
        reason = one_line(run.stop.reason)
        stopped = f": {reason}" if run.stop.kind is StopKind.CANCEL else f", stopped: {reason.rstrip('.')}"
    return [
        f"Run {run.id} {run.state} {ended_text(run)}{stopped}.",
        *_main_part(run),
        *_failures(steps, loops),
        *_tolerated(steps, loops),
        *_skipped(steps),
        *_skipped_by_choice(steps),
    ]


def problem_lines(run: RunRecord) -> list[str]:
    """Return a run's own errors, not those of its steps.

    They are the problems in its file, or the reason why it was stopped.
    """
    lines = []
    for error in run.errors:
        if not error.get("step"):
            place = "".join(f"{error[name]}:" for name in ("file", "line", "column") if error.get(name))
            suggestion = f"; {error['suggestion']}" if error.get("suggestion") else ""
            lines.append(one_line(f"{place} {error.get('message', '')}{suggestion}"))
    return lines[:MOST_PROBLEMS]


def _main_part(run: RunRecord) -> Iterator[str]:
    """Yield a sentence about the main part of a run.

    Yields nothing unless steps under `finally` are still running or changed the run's state.
    """
    if run.main_state is not None and not run.state.is_terminal:
        until = f", until {local_time(run.deadline)} at the latest" if run.deadline else ""
        yield f"Its main part ended as {run.main_state}; the steps under `finally` are running{until}."
    elif run.main_state not in {None, run.state}:
        yield f"Its main part ended as {run.main_state}; the steps under `finally` changed the state to {run.state}."


def _failures(steps: Sequence[StepRecord], loops: Mapping[str, LoopView]) -> Iterator[str]:
    """Yield a sentence for each failed step, and one for cancelled steps.

    Failed items are listed after their step, even if it is still running.
    """
    failed = [step for step in steps if step.state is StepState.FAILED and not step.tolerated]
    for step in failed[:MOST_FAILURES]:
        has_items = step.id in loops and bool(loops[step.id].failed)
        yield with_stop(f"Step `{step.id}` {_how_it_failed(step, has_items=has_items)}")
        yield from _items_that_failed(step, loops)
    if len(failed) > MOST_FAILURES:
        yield f"{counted(len(failed) - MOST_FAILURES, 'more step')} failed."
    cancelled = [step.id for step in steps if step.state is StepState.CANCELLED and not step.tolerated]
    if cancelled:
        yield f"Cancelled: {listing(cancelled)}."
    for step in steps:
        if step.id in loops and step.state in {StepState.RUNNING, StepState.CANCELLED} and loops[step.id].failed:
            yield f"Items of step `{step.id}`: {loops[step.id].describe()}."
            yield from _items_that_failed(step, loops)


def _items_that_failed(step: StepRecord, loops: Mapping[str, LoopView]) -> Iterator[str]:
    """Yield a line for each of a step's first failed items."""
    if (loop := loops.get(step.id)) is not None:
        for item in loop.failed:
            yield with_stop(f"  `{shown_id(item.id)}` {_how_it_failed(item)}")
        if loop.more_failed:
            all_of = with_place(f"runs show {step.run_id} --items {step.id}")
            yield f"  … and {loop.more_failed:,} more; `{all_of}` shows them first."


def _how_it_failed(step: StepRecord, *, has_items: bool = False) -> str:
    said = without_first(step) if has_items else step.message
    message = clip(one_line(said).rstrip("."), _LONGEST_MESSAGE) or "the Task Runner gave no reason"
    verb = "was cancelled on the Task Runner" if step.state is StepState.CANCELLED else "failed"
    return f"{verb}{tries_of(step)}{failure_words(step)}: {message}"


def _tolerated(steps: Sequence[StepRecord], loops: Mapping[str, LoopView]) -> Iterator[str]:
    """Yield a warning for each tolerated failure, with its failed items."""
    tolerated = [step for step in steps if step.tolerated]
    for step in tolerated[:MOST_FAILURES]:
        has_items = step.id in loops and bool(loops[step.id].failed)
        yield f"Warning: step `{step.id}` {_how_it_failed(step, has_items=has_items)}; allowFailure tolerates it."
        yield from _items_that_failed(step, loops)
    for step in steps:
        if step.state is StepState.SUCCEEDED and step.id in loops and loops[step.id].failed:
            counts = loops[step.id].counts
            failed = f"{counts.failed:,} of {counted(counts.total or 0, 'item')} failed"
            if step.is_marked:
                yield f"Warning: step `{step.id}` was marked as succeeded, with {counts.describe()}."
            else:
                yield f"Warning: {failed} in step `{step.id}`; `tolerate: {step.tolerate}` allows that."
            yield from _items_that_failed(step, loops)
    if len(tolerated) > MOST_FAILURES:
        yield f"Warning: {counted(len(tolerated) - MOST_FAILURES, 'more failure')} tolerated."


def _skipped(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield a sentence for each cause of blocked steps.

    Steps that were skipped because the run was stopped share one sentence.
    """
    skipped: dict[str | None, list[str]] = {}
    for step in steps:
        if step.state is StepState.SKIPPED and not step.by_choice:
            skipped.setdefault(step.cause, []).append(step.id)
    for cause, names in list(skipped.items())[:MOST_FAILURES]:
        because = f"because `{cause}` did not succeed" if cause else "because the run was stopped first"
        yield f"Skipped {because}: {listing(names)}."


def _skipped_by_choice(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield a sentence for each reason why steps were skipped by choice."""
    groups = group_skipped(step for step in steps if step.by_choice)
    for because, names in list(groups.items())[:MOST_FAILURES]:
        yield f"Skipped by choice: {listing(names)}: {because}."
    if len(groups) > MOST_FAILURES:
        left = sum(len(names) for names in list(groups.values())[MOST_FAILURES:])
        yield f"Skipped by choice: {counted(left, 'more step')}."
