"""Hypothetical runs, as people and programs see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from atom_client.planning.loops import MOST_PLANNED
from atom_client.planning.walk import in_order
from atom_client.text import clip, counted, escaped, lasted, one_line
from atom_client.views.plan_parts import (
    LONGEST_VALUE,
    MOST_IN_FULL,
    Asked,
    count_verdicts,
    heading_lines,
    heading_object,
    id_width,
    json_line,
    own_fields,
    step_fields,
    step_lines,
    value_lines,
)
from atom_workflows.core.workflow import Step, Workflow

if TYPE_CHECKING:
    from atom_emulator.testing import Played, PlayedStep


def played_lines(asked: Asked, played: Played) -> Iterator[str]:
    """Yield the lines of a hypothetical run."""
    yield from heading_lines(asked)
    steps = _all_in_order(asked.workflow)
    in_full = len(steps) <= MOST_IN_FULL
    width = id_width(steps)
    ids = {step.id for step in asked.workflow.steps}
    for title, in_main in (("STEPS", True), ("FINALLY", False)):
        part = [step for step in steps if (step.id in ids) is in_main]
        if part:
            yield f"\n{title}{count_verdicts([played.states.get(step.id, 'PENDING') for step in part])}"
        for step in part:
            jobs = played.jobs(step.id) if step.id in played.steps else []
            verdict = _ended(played.steps[step.id]) if step.id in played.steps else "PENDING"
            is_loop = step.for_each is not None
            yield from step_lines(step, width, verdict, jobs[-1] if jobs and not is_loop else None, in_full=in_full)
            yield from _played_item_lines(step, played, width) if in_full and is_loop else ()
    if played.outputs:
        yield "\nOUTPUTS"
        yield from value_lines(played.outputs)
    yield f"\nThis run would end as {played.state} after {lasted(played.took)}; nothing was started."
    yield from (f"  {one_line(error)}" for error in played.errors[:MOST_IN_FULL])


def _all_in_order(workflow: Workflow) -> list[Step]:
    return [*in_order(workflow.steps), *in_order(workflow.finally_steps)]


def _played_item_lines(step: Step, played: Played, width: int) -> Iterator[str]:
    """Yield lines for a loop's failed items and a few others."""
    items = played.items_of(step.id) if step.id in played.steps else {}
    names = list(items)
    failed = [name for name in names if items[name].state == "FAILED"][:MOST_PLANNED]
    others = [name for name in names if name not in failed][: MOST_PLANNED - len(failed)]
    for name in sorted([*failed, *others], key=names.index):
        jobs = played.jobs(name)
        body = f"  {escaped(json_line(own_fields(step, jobs[-1])))}" if jobs else ""
        yield f"  {' ' * width}    {name}  {_ended(items[name])}{body}"
    more = len(items) - len(failed) - len(others)
    yield from ([f"  {' ' * width}    and {counted(more, 'more item')}"] if more else [])


def _ended(step: PlayedStep) -> str:
    again = f" after {counted(step.attempts, 'attempt')}" if step.attempts > 1 else ""
    tolerated = " (tolerated)" if step.tolerated else ""
    because = f" ({one_line(step.because)})" if step.because and step.state != "SKIPPED" else ""
    message = f": {clip(one_line(step.message), LONGEST_VALUE)}" if step.message and step.state != "SUCCEEDED" else ""
    outputs = escaped(", ".join(f"{name} = {json_line(value)}" for name, value in step.outputs.items()))
    returned = f"; {clip(outputs, LONGEST_VALUE)}" if outputs else ""
    if step.counts and step.state != "SKIPPED":
        ended = (f"{step.counts[name]:,} {name}" for name in ("succeeded", "failed", "skipped") if step.counts[name])
        nothing = "nothing to do" if step.state == "SUCCEEDED" else "none were created"
        returned = f"; {counted(step.counts['total'], 'item')}: {', '.join(ended) or nothing}{returned}"
    if step.state == "SKIPPED":
        said = clip(one_line(step.message), LONGEST_VALUE)
        # The message of a blocked step begins by repeating the state.
        return f"SKIPPED{said.removeprefix('skipped')}" if said.startswith("skipped") else f"SKIPPED: {said}"
    return f"{step.state}{again}{tolerated}{because}{message}{returned}"


def played_object(asked: Asked, played: Played) -> dict[str, Any]:
    """Return a hypothetical run as an object for JSON output."""
    return {
        **heading_object(asked),
        "state": played.state,
        "took_s": played.took.total_seconds(),
        "errors": list(played.errors),
        "steps": [
            _played_object(step, played, in_finally=step in asked.workflow.finally_steps)
            for step in _all_in_order(asked.workflow)
        ],
        "outputs": dict(played.outputs),
    }


def _played_object(step: Step, played: Played, *, in_finally: bool) -> dict[str, Any]:
    found = played.steps.get(step.id)
    if found is None:
        return {**step_fields(step, in_finally=in_finally), "state": "PENDING"}
    if step.for_each is None:
        items = None
        jobs = played.jobs(step.id)
    else:
        jobs = []
        of_items: dict[str, list[Any]] = {}
        for one in played.submissions:
            of_items.setdefault(one.step, []).append(one.job)
        ended = played.items_of(step.id).items()
        items = [{"id": name, **_ended_object(item, of_items.get(name, []))} for name, item in ended]
    return {
        **step_fields(step, in_finally=in_finally),
        **_ended_object(found, jobs),
        "counts": dict(found.counts) or None,
        "items": items,
    }


def _ended_object(found: PlayedStep, jobs: Sequence[Any]) -> dict[str, Any]:
    return {
        "state": found.state,
        "attempts": found.attempts,
        "message": found.message,
        "because": found.because or None,
        "skipped_by_choice": found.skipped_by_choice,
        "skipped_because_of": found.cause or None,
        "tolerated": found.tolerated,
        "reason": found.reason or None,
        "outputs": dict(found.outputs),
        "jobs": list(jobs),
    }
