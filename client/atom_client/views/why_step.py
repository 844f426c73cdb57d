"""Explain a step's state by its dependencies, condition, attempts and job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from shlex import quote
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import between, clean, clip, counted, lasted, local_time, one_line, with_stop
from atom_client.views.as_json import moment_text, step_object
from atom_client.views.queries import NodeReader
from atom_client.views.reasons import (
    COUNTS_AS,
    Fate,
    clock_time,
    failure_text,
    failure_words,
    fate_of,
    message_of,
    since,
    stop_reasons,
    why_skipped,
)
from atom_client.views.seen import StepSeen
from atom_client.views.steps_before import find_before, find_chain
from atom_client.views.under_way import loop_progress_text, progress_text
from atom_client.views.why_items import WHOLE, item_facts, loop_facts, why_item_waits
from atom_workflows.core.consistency import is_under_way
from atom_workflows.core.graph import MAIN_END_ID, is_internal
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import MAX_LOSSES
from atom_workflows.core.workflow import Trigger
from atom_workflows.task_runner_urls import shown_url

MOST_DEPENDENCIES: Final = 12
_MOST_FRONTS: Final = 3
_LONGEST_CHAIN: Final = 6
_LONGEST_VALUE: Final = 1_500
_NOT_STARTED: Final = "not started: "

TRIGGERS: Final[Mapping[Trigger, str]] = {
    Trigger.NO_FAILURE: "runs unless a dependency failed or all were skipped",
    Trigger.ALL_SUCCEEDED: "runs if all dependencies succeeded",
    Trigger.ANY_FAILED: "runs if any dependency failed",
    Trigger.ALWAYS: "runs no matter how its dependencies ended",
}

_ORDER: Final = (
    Fate.FAILED,
    Fate.CANCELLED,
    Fate.BLOCKED,
    Fate.STOPPED,
    Fate.OPEN,
    Fate.TOLERATED,
    Fate.SKIPPED,
    Fate.SUCCEEDED,
)
"""Dependencies are listed in this order, most informative first."""


def look_around(reader: NodeReader, run: RunRecord, step: StepRecord, *, now: datetime) -> StepSeen:
    """Read the preceding steps that explain a step's state."""
    stops = stop_reasons(run)
    found = find_before(reader, step, into=lambda node: is_internal(node.id) and node.id != MAIN_END_ID)
    nodes = [node for node, _ in found.values() if not is_internal(node.id)]
    nodes.sort(key=lambda node: (_ORDER.index(fate_of(node, stops)), node.id))
    needs = reader.read(step.depends_on)
    has_open = len(needs) < len(step.depends_on) or not all(need.state.is_terminal for need in needs)
    seen = StepSeen(
        run=run,
        step=step,
        now=now,
        dependencies=nodes,
        awaits_main=MAIN_END_ID in found,
        is_released=not has_open,
        released_at=max((need.finished_at for need in needs if need.finished_at), default=None),
    )
    if seen.fate is Fate.BLOCKED:
        return replace(seen, chain=find_chain(reader, step))
    if step.state is StepState.PENDING and step.remaining and not seen.awaits_main:
        before = find_before(reader, step, into=lambda node: node.state is StepState.PENDING)
        active = [node for node, _ in before.values() if is_under_way(node) or node.is_released]
        active.sort(key=lambda node: (node.claimed_at or now, node.id))
        return replace(seen, fronts=[node for node in active if not is_internal(node.id)])
    return seen


# -- for people ------------------------------------------------------------------------------------------------------


def step_headline(seen: StepSeen) -> str:
    """Describe a step's state in a sentence."""
    step, fate = seen.step, seen.fate
    took = lasted(between(step.started_at, step.finished_at))
    how = "was ended while it was under way" if step.started_at else "was not started"
    reason = message_of(step).removeprefix(_NOT_STARTED)
    is_too_many = seen.is_item and step.message.removeprefix(_NOT_STARTED) not in stop_reasons(seen.run)
    why = "since too many others failed" if is_too_many else "as the run was stopped"
    where = {
        Fate.OPEN: lambda: _open_text(seen),
        Fate.SUCCEEDED: lambda: f"SUCCEEDED{_how_it_succeeded(step, took)}",
        Fate.SKIPPED: lambda: f"was skipped by choice: {why_skipped(step)}",
        Fate.BLOCKED: lambda: f"was blocked by {_chain_text(seen)}",
        Fate.STOPPED: lambda: f"{how}, {why}: {reason}",
        Fate.TOLERATED: lambda: f"{failure_text(step)}; allowFailure tolerates it, so the run continues",
    }
    name = f"Item `{shown_id(step.id)}`" if seen.is_item else f"Step `{step.id}`"
    return with_stop(f"{name} {where.get(fate, lambda: failure_text(step))()}")


def _how_it_succeeded(step: StepRecord, took: str) -> str:
    if step.is_marked:
        return f": {message_of(step)}"
    return f" after {took}" if took else ""


def _open_text(seen: StepSeen) -> str:
    step = seen.step
    if step.state is not StepState.PENDING:
        is_loop = seen.loop is not None and not seen.is_item
        return loop_progress_text(seen.loop, seen.now) if is_loop and seen.loop else progress_text(step, seen.now)
    if seen.run.state.is_terminal:
        return f"is PENDING, although its run has ended: the run is {seen.run.state}"
    if seen.awaits_main and step.remaining:
        return "is PENDING: it is under `finally`, and is waiting for the main part to end"
    if step.is_released:
        waits = "its condition will be evaluated next" if step.awaits_condition else "no dispatcher has claimed it yet"
        return f"is released, and {waits}"
    if seen.is_item:
        return f"is PENDING: {why_item_waits(seen.loop)}"
    open_ones = [node for node in seen.dependencies if not node.state.is_terminal]
    have = f"{len(open_ones):,} of {len(seen.dependencies):,} dependencies have"
    which = "its dependency has" if len(open_ones) == len(seen.dependencies) == 1 else have
    fronts = "; ".join(
        f"`{node.id}`, which has been {node.state} for {since(node.claimed_at, seen.now)}"
        if is_under_way(node)
        else f"`{node.id}`, which is released, but not yet claimed by a dispatcher"
        for node in seen.fronts[:_MOST_FRONTS]
    )
    more = f"; and {len(seen.fronts) - _MOST_FRONTS:,} more" if len(seen.fronts) > _MOST_FRONTS else ""
    waits = f". It is now waiting for {fronts}{more}" if seen.fronts else ""
    return f"is PENDING: {which} not ended{waits}"


def _chain_text(seen: StepSeen) -> str:
    """Describe the path from a blocked step to its cause.

    For example `` `load` ← `extract` FAILED after 1 attempt``.
    """
    if not seen.chain:
        return f"`{seen.step.cause}`, which did not succeed"
    *between_them, root = seen.chain
    names = [f"`{node.id}`" for node in between_them]
    if len(names) > _LONGEST_CHAIN:
        names = [*names[: _LONGEST_CHAIN - 1], f"{len(names) - _LONGEST_CHAIN + 1:,} more"]
    return " ← ".join([*names, f"`{root.id}` {failure_text(root)}"])


def step_facts(seen: StepSeen) -> Iterator[tuple[str, str]]:
    """Yield the facts about a step, each with a label.

    The same label may occur several times in a row.
    """
    yield from deciding_facts(seen)
    yield from inputs_and_outputs(seen)


def deciding_facts(seen: StepSeen, *, whole: str = WHOLE) -> Iterator[tuple[str, str]]:
    """Yield the facts that explain a step's state, each with a label.

    `whole` says where to find a long value in full.
    """
    yield from item_facts(seen.step, seen.loop, whole=whole) if seen.is_item and seen.loop else ()
    yield from kept_facts(seen.step)
    yield from mark_facts(seen.step)
    yield from _what_decides(seen)
    yield from loop_facts(seen.loop, seen.items, seen.now) if seen.loop and not seen.is_item else _attempts(seen)


def kept_facts(step: StepRecord) -> Iterator[tuple[str, str]]:
    """Yield the run from which a step was kept, if it was."""
    if origin := step.kept_from:
        explains = with_place(f"why {origin} {quote(shown_id(step.id))}")
        yield "kept from", f"run {origin}, in which it ended; `{explains}` explains what happened there"


def mark_facts(step: StepRecord) -> Iterator[tuple[str, str]]:
    """Yield who marked the step, when and why."""
    if not step.is_marked:
        return
    from atom_workflows.core.marks import WORDS, read_mark  # noqa: PLC0415 (people mark few steps)

    mark = read_mark(step)
    assert mark is not None  # noqa: S101 (checked above)
    why = f": {one_line(mark.why)}" if mark.why else ""
    waits = {StepState.RUNNING: "; its job is being stopped first", StepState.PENDING: "; it has not been released yet"}
    missed = "; it ended before that, but a retry that does not name it ends it as marked"
    state = missed if step.has_open_mark and step.state.is_terminal else waits.get(step.state, "")
    when = f"{local_time(mark.at)}{why}{state}"
    yield "marked", f"as {WORDS[mark.state]} by {one_line(mark.actor)} at {when}"


def inputs_and_outputs(seen: StepSeen) -> Iterator[tuple[str, str]]:
    """Yield the body sent for a step's last attempt, and its outputs."""
    body = sent_body(seen.step)
    if body is not None:
        yield "sent", _json_text(body)
    if seen.outputs:
        yield "outputs", _json_text(seen.outputs)
    elif seen.step.outputs:
        yield "outputs", f"none; it declares {', '.join(seen.step.outputs)}"


def _what_decides(seen: StepSeen) -> Iterator[tuple[str, str]]:
    step = seen.step
    if seen.awaits_main:
        # Cancelled at once, a run ends without a result of its main part.
        state = seen.run.main_state or (seen.run.state if seen.run.state.is_terminal else None)
        yield "depends on", f"the main part of the run, which {f'ended as {state}' if state else 'has not ended'}"
    stops = stop_reasons(seen.run)
    for node in seen.dependencies[:MOST_DEPENDENCIES]:
        words = failure_words(node) if fate_of(node, stops) in {Fate.FAILED, Fate.CANCELLED, Fate.TOLERATED} else ""
        yield "depends on", f"`{node.id}` {node.state}{words}: {COUNTS_AS[fate_of(node, stops)]}"
    if more := seen.dependencies[MOST_DEPENDENCIES:]:
        states = Counter(node.state.value for node in more)
        counts = ", ".join(f"{count:,} {state}" for state, count in states.items())
        yield "depends on", f"… and {len(more):,} more: {counts}"
    if step.depends_on and not seen.is_item:
        yield "trigger", f"{step.trigger.value}: {TRIGGERS[step.trigger]}"
    if step.when is not None:
        place = f"(line {step.when.line})"
        if step.is_marked:
            yield "when", f"`{one_line(step.when.text)}` {place}: not evaluated, since the step is marked"
        elif step.because and not (step.by_choice and "trigger" in step.because):
            yield "when", f"{one_line(step.because)} {place}"
        else:
            result = "it was not reached" if step.state.is_terminal or step.attempt else "not evaluated yet"
            yield "when", f"`{one_line(step.when.text)}` {place}: {result}"
    if step.allow_failure and seen.fate is not Fate.TOLERATED:
        yield "allowFailure", "true: a failure would be tolerated"


def attempts_text(step: StepRecord) -> str:
    """Describe how many attempts a step has had and may have."""
    if step.is_marked and step.attempt and step.attempt < step.first_attempt:
        return f"none in this round, since the step is marked; {counted(step.attempt, 'attempt')} in all"
    text = f"{max(step.attempt - step.first_attempt + 1, 0)} of {step.policies.retry.max_attempts}"
    if step.losses:
        text += f"; {step.losses:,} of {MAX_LOSSES - 1} allowed job losses"
    if step.retries:
        text += f"; the run was retried {counted(step.retries, 'time')}, for {counted(step.attempt, 'attempt')} in all"
    if step.policies.retry.when is not None:
        text += f"; retried when `{one_line(step.policies.retry.when.text)}`"
    return text


def _attempts(seen: StepSeen) -> Iterator[tuple[str, str]]:
    step = seen.step
    if step.attempt:
        lists = with_place(f"runs show {step.run_id} --step {quote(shown_id(step.id))}")
        yield "attempts", f"{attempts_text(step)}{f'; `{lists}` lists them' if step.attempt > 1 else ''}"
    if step.last_kind and seen.fate in {Fate.OPEN, Fate.SUCCEEDED}:
        reason = f" ({one_line(step.last_reason)})" if step.last_reason else ""
        yield "last failure", f"{step.last_kind}{reason}"
    if step.state is StepState.RUNNING and step.message:
        yield "message", message_of(step)
    if step.job_id:
        url = shown_url(step.task_runner_url)
        yield "job", f"{one_line(step.job_id)} at {url}, last seen {one_line(step.job_state)}"
    if step.logs_url:
        yield "log", clean(step.logs_url)
    if step.due_at is not None and step.state in {StepState.RETRYING, StepState.DISPATCHING}:
        yield "next", f"the checker will process it at {clock_time(step.due_at, seen.now)}"


def sent_body(step: StepRecord) -> Any:
    """Return the body that was sent for the last attempt.

    Returns None if nothing was sent, or if another run sent it: the stored request of a kept step has this run's ids
    and times, which are not the ones that were sent.
    """
    if step.kept_from:
        return None
    if step.sent:
        return json.loads(step.sent)
    return dict(step.request) if step.request is not None and step.attempt and not step.templates else None


def _json_text(value: Any) -> str:
    text = clip(clean(json.dumps(value, ensure_ascii=False)), _LONGEST_VALUE)
    return f"{text} ({WHOLE})" if text.endswith("…") else text


# -- for programs ----------------------------------------------------------------------------------------------------


def step_explanation(seen: StepSeen) -> dict[str, Any]:
    """Return the explanation of a step as an object for JSON output."""
    step, stops = seen.step, stop_reasons(seen.run)
    loop = None if seen.loop is None or seen.is_item else seen.loop.as_fields()
    item = {"of": step.each, "index": step.index, "value": json.loads(step.item or "null")} if seen.is_item else None
    return {
        "run_id": seen.run.id,
        "run": seen.run.id,
        "step": step_object(step),
        "items": loop,
        "item": item,
        "fate": seen.fate.value,
        "text": step_headline(seen),
        "dependencies": [
            {"step": node.id, "state": node.state.value, "fate": fate_of(node, stops).value}
            for node in seen.dependencies
        ],
        "awaits_main_part": seen.awaits_main,
        "blocked_by": [
            {"step": node.id, "state": node.state.value, "kind": node.last_kind, "message": node.message}
            for node in seen.chain
        ],
        "waits_for": [node.id for node in seen.fronts],
        "max_attempts": step.policies.retry.max_attempts,
        "next_at": moment_text(step.due_at),
        "sent": sent_body(step),
        "outputs": dict(seen.outputs),
    }
