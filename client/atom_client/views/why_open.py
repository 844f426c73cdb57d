"""Explain an open run: its progress, and what it is waiting for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import counted, lasted, listing, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.lines import line_facts, line_text
from atom_client.views.reasons import Reason, clock_time, message_of, named, since
from atom_client.views.seen import Seen
from atom_client.views.under_way import loop_progress_text, progress_text
from atom_workflows.coordinator.repair import LATE
from atom_workflows.core.consistency import is_under_way
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.oddities import oddity_of
from atom_workflows.core.polling import NEXT_AUDIT
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState

_MOST_MEASURED: Final = 50
"""The maximum number of open steps to report along with a count of the steps waiting for each."""

_MOST_BEHIND: Final = 3
"""The maximum number of waiting steps to name."""


def explain_progress(seen: Seen) -> Iterator[Reason]:
    """Yield what is known about an open run's progress and deadline."""
    run, now = seen.run, seen.now
    if run.state is RunState.SEEDING:
        yield _seeding(seen)
    if run.state is RunState.QUEUED and seen.line is not None:
        text = line_text(run, seen.line, now)
        yield Reason(kind="queued", text=text, facts=line_facts(run, seen.line))
    if run.stop is not None:
        open_steps = sum(not step.state.is_terminal for step in seen.steps)
        then = "; the steps under `finally` will run after that" if run.runs_finally else ""
        yield Reason(
            kind="closing",
            text=f"It has been closing for {since(run.stop.requested_at, now)}: {one_line(run.stop.reason)}. "
            f"Still open: {counted(open_steps, 'step')}{then}.",
            facts={"stop": run.stop.kind.value, "reason": run.stop.reason, "open": open_steps},
        )
    if run.main_state is not None:
        ended = [one_line(error.get("message", "")) for error in run.main_errors if not error.get("step")]
        has_failed = run.main_state is RunState.FAILED and run.failure_count
        failures = f" with {counted(run.failure_count, 'failure')}" if has_failed else ""
        failures = f": {ended[0].rstrip('.')}" if ended else failures
        yield Reason(
            kind="finally",
            text=f"Its main part ended as {run.main_state}{failures}. The steps under `finally` are running now, until "
            f"{clock_time(run.deadline, now)} at the latest.",
            facts={"main_state": run.main_state.value, "deadline": moment_text(run.deadline)},
        )
    elif run.deadline is not None:
        at = clock_time(run.deadline, now)
        yield Reason(
            kind="deadline",
            text=f"Its timeout will end it at {at} ({lasted(run.deadline - now)} left)."
            if run.deadline > now
            else f"Its time ran out at {at}; the checker will end the run at its next tick.",
            facts={"deadline": moment_text(run.deadline)},
        )


def _seeding(seen: Seen) -> Reason:
    run, written = seen.run, len(seen.steps)
    begun = run.admitted_at or run.reopened_at or run.created_at
    text = f"Its steps are being written: {written:,} of {run.step_count:,} so far."
    if run.retries and not seen.is_incomplete:
        text = "Its steps are being reset for its retry."
    if seen.now - begun <= NEXT_AUDIT:
        return Reason(kind="seeding", text=text, facts={"written": written})
    doctor = with_place(f"runs doctor {run.id}")
    late = (
        f"This has taken {since(begun, seen.now)} so far; the checker will continue it, and "
        f"`{doctor}` does so immediately."
    )
    return Reason(kind="half_seeded", text=f"{text} {late}", facts={"written": written})


def explain_waits(seen: Seen) -> Iterator[Reason]:
    """Yield what an open run waits for, and what may be stuck."""
    under_way = [step for step in seen.steps if is_under_way(step)]
    # Of items, only those that the numbers of their step do not explain.
    under_way += [item for item in seen.items if item.deferrals or oddity_of(item, now=seen.now) is not None]
    # Odd steps come first, then those that have been under way the longest.
    under_way.sort(key=lambda step: (oddity_of(step, now=seen.now) is None, step.claimed_at or seen.now, step.id))
    measured, others = under_way[:_MOST_MEASURED], under_way[_MOST_MEASURED:]
    of_file = (step for step in measured if step.kind is not NodeKind.ITEM)
    behind = dict.fromkeys((step.id for step in measured), 0)
    behind |= count_behind(of_file, seen.nodes)
    measured.sort(key=lambda step: (oddity_of(step, now=seen.now) is None, -behind[step.id]))
    not_accepted: dict[str, list[StepRecord]] = {}
    for step in (*measured, *others):
        if step.state is StepState.DISPATCHING and step.deferrals and not step.awaits_earlier:
            not_accepted.setdefault(message_of(step), []).append(step)
        else:
            yield _waits_for(step, seen, behind.get(step.id))
    for said, steps in not_accepted.items():
        again = min((step.due_at for step in steps if step.due_at), default=None)
        tried = max(step.deferrals for step in steps)
        ids = [shown_id(step.id) for step in steps]
        text = (
            f"{named(ids)}: not accepted by the Task Runner (tried {counted(tried, 'time')}), "
            f"next try at {clock_time(again, seen.now)}: {said or 'no reason given'}"
        )
        facts = {"waits": "task_runner", "steps": ids, "next_at": moment_text(again), "tries": tried, "message": said}
        yield Reason(kind="waits", text=text, facts=facts)
    released = [step.id for step in seen.steps if step.is_released]
    if released:
        text = f"{named(released)}: released, but not yet claimed by a dispatcher"
        yield Reason(kind="waits", text=text, facts={"waits": "dispatcher", "steps": released})
    yield from _is_anything_stuck(seen, nothing=not (under_way or released))


def count_behind(steps: Iterable[StepRecord], nodes: Mapping[str, StepRecord]) -> dict[str, int]:
    """Count the user's steps that wait for each step, even indirectly."""
    # Each node is visited once, after those behind it, whose sets are unions of bits: many steps have thousands of
    # steps behind them, most of them the same ones.
    sets: dict[str, int] = {}
    opened: set[str] = set()
    roots = {step.id: _waiting(step, nodes) for step in steps}
    stack = [node for waiting in roots.values() for node in waiting]
    while stack:
        node = stack[-1]
        if node.id in opened:
            stack.pop()
            if node.id not in sets:
                own = 0 if is_internal(node.id) else 1 << len(sets)
                sets[node.id] = own | _union(sets, _waiting(node, nodes))
        else:
            opened.add(node.id)
            stack += [one for one in _waiting(node, nodes) if one.id not in opened]
    return {name: _union(sets, waiting).bit_count() for name, waiting in roots.items()}


def _waiting(step: StepRecord, nodes: Mapping[str, StepRecord]) -> list[StepRecord]:
    """Return the nodes that wait directly for a node."""
    found = (nodes.get(name) for name in step.dependents)
    return [node for node in found if node is not None and node.state is StepState.PENDING]


def _union(sets: Mapping[str, int], nodes: Iterable[StepRecord]) -> int:
    return reduce(or_, (sets.get(node.id, 0) for node in nodes), 0)


def _nearest_behind(step: StepRecord, nodes: Mapping[str, StepRecord]) -> list[str]:
    """Return the first few steps that wait for a step, nearest first."""
    found: dict[str, None] = {}
    pending, named_ones = deque(_waiting(step, nodes)), list[str]()
    while pending and len(named_ones) < _MOST_BEHIND:
        node = pending.popleft()
        if node.id not in found:
            found[node.id] = None
            named_ones += [] if is_internal(node.id) else [node.id]
            pending += _waiting(node, nodes)
    return named_ones


def _waits_for(step: StepRecord, seen: Seen, behind: int | None) -> Reason:
    now, loop, holds = seen.now, seen.loops.get(step.id), ""
    if behind:
        are = "is" if behind == 1 else "are"
        names = listing(_nearest_behind(step, seen.nodes), most=_MOST_BEHIND, total=behind)
        holds = f"; {counted(behind, 'step')} {are} waiting for it: {names}"
    progress = progress_text(step, now) if loop is None else loop_progress_text(loop, now)
    text = f"`{shown_id(step.id)}` {progress}{holds}"
    facts: dict[str, Any] = {
        "waits": step.state.value.lower(),
        "step": shown_id(step.id),
        "attempt": step.attempt,
        "job_id": step.job_id,
        "job_state": step.job_state,
        "since": moment_text(step.claimed_at),
        "next_at": moment_text(step.due_at) if step.state is StepState.RETRYING or step.unanswered else None,
        "holds_up": behind,
    }
    if odd := oddity_of(step, now=now):
        facts["odd"] = odd.kind.value
    if loop is not None:
        facts["items"] = loop.counts.as_fields()
    return Reason(kind="waits", text=text, facts=facts)


def _is_anything_stuck(seen: Seen, *, nothing: bool) -> Iterator[Reason]:
    if nothing and seen.run.state is RunState.RUNNING and seen.run.stop is None:
        doctor = with_place(f"runs doctor {seen.run.id}")
        text = f"No step is under way or released. `{doctor}` finds out why and fixes it."
        yield Reason(kind="nothing", text=text)
    due = [
        node.due_at
        for node in seen.nodes.values()
        if node.due_at is not None and not node.state.is_terminal and node.state is not StepState.RUNNING
    ]
    overdue = min((moment for moment in due if seen.now - moment > LATE), default=None)
    looked = f"It last queried jobs {since(seen.looked_at, seen.now)} ago. " if seen.looked_at else ""
    if overdue is not None:
        text = f"The checker has not reached a step that has been due since {clock_time(overdue, seen.now)}. {looked}"
        check = f"`{with_place('doctor')}` checks the platform."
        yield Reason(kind="overdue", text=f"{text}{check}", facts={"since": moment_text(overdue)})
    elif seen.looked_at is not None and any(step.state is StepState.RUNNING for step in seen.steps):
        text = f"The checker last queried running jobs at {clock_time(seen.looked_at, seen.now)}"
        ago = "now" if seen.looked_at >= seen.now else f"{since(seen.looked_at, seen.now)} ago"
        yield Reason(kind="looked", text=f"{text} ({ago}).", facts={"at": moment_text(seen.looked_at)})
