"""Explain a run's state: what an open run is waiting for, or why a run ended as it did.

The reasons are gathered only from the run's documents, in one pass over its steps. The most important come first. Each
is complete in itself, and the caller decides how many of each kind to print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import between, counted, lasted, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.lines import Line, line_facts, line_text, ordinal
from atom_client.views.loops import LoopView
from atom_client.views.queries import in_order
from atom_client.views.reasons import (
    Fate,
    Reason,
    clock_time,
    failure_text,
    fate_of,
    group_skipped,
    last_start,
    message_of,
    named,
    since,
    stop_reasons,
)
from atom_client.views.summary import lateness, problem_lines
from atom_workflows.coordinator.repair import LATE
from atom_workflows.core.consistency import is_under_way
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.oddities import job_being_stopped, oddity_of
from atom_workflows.core.polling import NEXT_AUDIT
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.transitions import MAX_LOSSES

HEADINGS: Final[Mapping[str, str]] = {
    "waits": "It is waiting for:",
    "failed": "Failed:",
    "item": "Failed items, the first of each step (`runs show RUN --items STEP` shows all):",
    "stopped": "Ended when the run was stopped:",
    "tolerated": "Failed, but tolerated (allowFailure):",
    "tolerated_item": "Failed items, tolerated, the first of each step (`runs show RUN --items STEP` shows all):",
    "skipped": "Skipped by choice:",
}
"""The kinds of reasons that may occur many times, with the headings under which they are listed."""

_MOST_MEASURED: Final = 50
"""The maximum number of steps under way for which the steps waiting behind them are counted."""

_COUNTED: Final = {
    Fate.FAILED: "failed",
    Fate.CANCELLED: "cancelled on the Task Runner",
    Fate.BLOCKED: "blocked",
    Fate.STOPPED: "ended when the run was stopped",
    Fate.TOLERATED: "failed but tolerated",
    Fate.SKIPPED: "skipped by choice",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The data read about a run: its document, its nodes by id, and when the checker last queried jobs.

    Nodes that SUCCEEDED may be left out, unless the run has never been RUNNING. `nodes` does not include items:
    `loops` holds the item counts of each step with `forEach`, by step id, and `items` a few items that are under way.
    """

    run: RunRecord
    nodes: Mapping[str, StepRecord]
    now: datetime
    looked_at: datetime | None = None
    # Where the run stands in line, if it waits for a place in its group.
    line: Line | None = None
    loops: Mapping[str, LoopView] = field(default_factory=dict)
    items: Sequence[StepRecord] = ()

    @property
    def steps(self) -> list[StepRecord]:
        """The user's steps."""
        return in_order(self.nodes.values())

    @property
    def is_incomplete(self) -> bool:
        """True if the run should have begun, but lacks some of its steps."""
        is_expected = self.run.state is RunState.SKIPPED or (
            self.run.queued_at is not None and self.run.admitted_at is None
        )
        return self.run.started_at is None and not is_expected and len(self.steps) < self.run.step_count

    def count_states(self) -> dict[str, int]:
        """Return how many steps are in each state."""
        counts = Counter(step.state.value for step in self.steps)
        if not self.is_incomplete and self.nodes:
            counts[StepState.SUCCEEDED] += max(0, self.run.step_count - counts.total())
        return {state.value: counts[state] for state in StepState if counts[state]}


def headline(seen: Seen) -> str:
    """Describe a run's state on one line."""
    run = seen.run
    stops = stop_reasons(run)
    fates = Counter(fate_of(step, stops) for step in seen.steps)
    words = [f"{fates[fate]:,} {said}" for fate, said in _COUNTED.items() if fates[fate]]
    if run.state is RunState.INVALID:
        return f"Run {run.id} is INVALID and was not started."
    if run.state is RunState.SKIPPED:
        return f"Run {run.id} is SKIPPED and was not started: {one_line(run.because)}."
    if run.state is RunState.QUEUED and seen.line is not None:
        waited = since(run.queued_at or run.created_at, seen.now)
        return f"Run {run.id} has been QUEUED for {waited}: it is {ordinal(seen.line.ahead + 1)} in line."
    total = sum(seen.count_states().values())
    if not run.state.is_terminal:
        ended = f"{total - fates[Fate.OPEN]:,} of {counted(max(total, run.step_count), 'step')} ended"
        begun = since(run.admitted_at or run.reopened_at or run.started_at or run.created_at, seen.now)
        return f"Run {run.id} has been {run.state} for {begun}: {', '.join([ended, *words])}."
    took = lasted(between(last_start(run), run.finished_at))
    return f"Run {run.id} {run.state} after {took}: {', '.join([counted(total, 'step'), *words])}."


def explain_run(seen: Seen) -> Iterator[Reason]:
    """Yield the reasons for a run's state.

    The most important come first.
    """
    if seen.run.state is RunState.INVALID:
        yield from (Reason(kind="problem", text=line) for line in problem_lines(seen.run))
        return
    for line in lateness(seen.run, seen.now):
        yield Reason(kind="late", text=line, facts={"late_at": moment_text(seen.run.late_at)})
    if seen.run.state.is_terminal:
        yield from _how_it_was_stopped(seen)
        # The reason for a stop has been yielded already.
        stop = one_line(seen.run.stop.reason) if seen.run.stop else None
        errors = (line for line in problem_lines(seen.run) if line.strip() != stop)
        yield from (Reason(kind="error", text=f"Error: {line.rstrip('.')}.") for line in errors)
    else:
        yield from _where_it_is(seen)
        yield from _what_it_waits_for(seen)
    yield from _how_steps_ended(seen)


# -- open runs -------------------------------------------------------------------------------------------------------


def _where_it_is(seen: Seen) -> Iterator[Reason]:
    run, now = seen.run, seen.now
    if run.state is RunState.SEEDING:
        yield _seeding(seen)
    if run.state is RunState.QUEUED and seen.line is not None:
        text = line_text(run, seen.line, now)
        yield Reason(kind="queued", text=text, facts=line_facts(run, seen.line))
    if run.stop is not None:
        open_steps = sum(not step.state.is_terminal for step in seen.steps)
        then = "; then the steps under `finally` run" if run.runs_finally else ""
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
        left = lasted(run.deadline - now) if run.deadline > now else "now"
        yield Reason(
            kind="deadline",
            text=f"Its timeout will end it at {clock_time(run.deadline, now)} ({left} left).",
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


def _what_it_waits_for(seen: Seen) -> Iterator[Reason]:
    under_way = [step for step in seen.steps if is_under_way(step)]
    # Of items, only those that the numbers of their step do not explain.
    under_way += [item for item in seen.items if item.deferrals or oddity_of(item, now=seen.now) is not None]
    # Odd steps come first, then those that have been under way the longest.
    under_way.sort(key=lambda step: (oddity_of(step, now=seen.now) is None, step.claimed_at or seen.now, step.id))
    measured, others = under_way[:_MOST_MEASURED], under_way[_MOST_MEASURED:]
    of_file = (step for step in measured if step.kind is not NodeKind.ITEM)
    behind = dict.fromkeys((step.id for step in measured), 0)
    behind |= {step.id: _count_behind(step, seen.nodes) for step in of_file}
    measured.sort(key=lambda step: (oddity_of(step, now=seen.now) is None, -behind[step.id]))
    not_accepted: dict[str, list[StepRecord]] = {}
    for step in (*measured, *others):
        if step.state is StepState.DISPATCHING and step.deferrals and not step.awaits_earlier:
            not_accepted.setdefault(message_of(step), []).append(step)
        else:
            yield _waits_for(step, seen.now, behind.get(step.id), seen.loops.get(step.id))
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


def _count_behind(step: StepRecord, nodes: Mapping[str, StepRecord]) -> int:
    """Count the steps that are waiting for a step, directly or not."""
    seen: set[str] = set()
    pending = list(step.dependents)
    while pending:
        name = pending.pop()
        node = nodes.get(name)
        if name not in seen and node is not None and node.state is StepState.PENDING:
            seen.add(name)
            pending += node.dependents
    return sum(not is_internal(name) for name in seen)


def _waits_for(step: StepRecord, now: datetime, behind: int | None, loop: LoopView | None) -> Reason:
    holds = f"; {counted(behind, 'step')} {'is' if behind == 1 else 'are'} waiting for it" if behind else ""
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


def loop_progress_text(loop: LoopView, now: datetime) -> str:
    """Return the progress of a `forEach` step, worded to follow its name."""
    step = loop.step
    said = loop.describe()
    if loop.is_expanded and loop.counts.ended == loop.counts.total:
        said = f"{said}; its results are being gathered"
    too_many = loop.counts.failed > step.tolerate and not step.state.is_terminal
    fails = ", so the step will fail once all have ended" if too_many else ""
    waits = f"; {message_of(step)}" if step.message else ""
    return f"has been {step.state} for {since(step.claimed_at, now)}{f': {said}' if said else ''}{fails}{waits}"


def progress_text(step: StepRecord, now: datetime) -> str:
    """Return the progress of a step, worded to follow its name."""
    if step.state is StepState.RETRYING:
        # `attempt` also counts lost jobs, but `first_attempt` compensates for that.
        tries = f"try {step.attempt - step.first_attempt + 2} of {step.policies.retry.max_attempts}"
        lost = f", {step.losses:,} of {MAX_LOSSES - 1} allowed job losses" if step.losses else ""
        kind = _AFTER.get(step.last_kind, "a failure")
        reason = f" ({one_line(step.last_reason)})" if step.last_reason else ""
        what = f"will be tried again at {clock_time(step.due_at, now)}, {tries}{lost}, after {kind}{reason}"
        return f"{what}: {message_of(step) or 'no message'}"
    attempt = f", attempt {step.attempt}" if step.attempt > 1 else ""
    lasting = f"has been {step.state} for {since(step.claimed_at, now)}{attempt}"
    if step.state is StepState.DISPATCHING:
        return f"{lasting}{_dispatch_remark(step, now)}"
    job = f", job {one_line(step.job_id)} last seen {one_line(step.job_state)}" if step.job_id else ""
    ends = f"; its timeout is at {clock_time(step.attempt_deadline, now)}" if step.attempt_deadline else ""
    odd = oddity_of(step, now=now)
    remark = f"; {one_line(odd.what)}" if odd else ""
    if job_being_stopped(step):
        # Its timeout may have passed.
        return f"{lasting}{job}; {message_of(step)}{remark}"
    if step.unanswered:
        again = f", next query at {clock_time(step.due_at, now)}" if step.due_at else ""
        silent = f"without a response since {clock_time(step.unanswered_since, now)}"
        remark = f"; queried {counted(step.unanswered, 'time')} {silent}{again}: {message_of(step)}"
    return f"{lasting}{job}{remark}{ends}"


_AFTER: Final = {
    "failed": "a failure",
    "timeout": "a timeout",
    "refused": "a refusal",
    "cancelled": "its job was cancelled on the Task Runner",
    "lost": "its job was lost",
    "outputs": "its job returned outputs other than those declared",
    "expression": "an expression could not be evaluated",
}
"""The kinds of failures, worded to follow "after"."""


def _dispatch_remark(step: StepRecord, now: datetime) -> str:
    if step.leftovers:
        return f"; job {one_line(step.leftovers[0])} of an earlier attempt is being stopped first"
    if step.unresolved:
        return f"; {message_of(step)}" if step.deferrals else "; the job of an earlier attempt is being stopped first"
    unsure = "; an earlier submission may have started a job whose id is not known" if step.is_unsure else ""
    if step.deferrals:
        again = f", next try at {clock_time(step.due_at, now)}" if step.due_at else ""
        times = counted(step.deferrals, "time")
        return f"; the Task Runner has not accepted its job (tried {times}){again}: {message_of(step)}{unsure}"
    if step.due_at is not None and step.due_at <= now and not step.answered:
        return f"; its dispatcher seems to have died, so the checker will submit it again{unsure}"
    return unsure


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


# -- how it ended ----------------------------------------------------------------------------------------------------

_STOPPED: Final = {StopKind.CANCEL: "cancelled", StopKind.TIMEOUT: "ended by its timeout", StopKind.FAIL: "given up"}


def _how_it_was_stopped(seen: Seen) -> Iterator[Reason]:
    run = seen.run
    if run.stop is not None:
        now = " at once, without the steps under `finally`" if run.stop.now else ""
        at = clock_time(run.stop.requested_at, seen.now)
        text = f"It was {_STOPPED[run.stop.kind]} at {at}{now}: {one_line(run.stop.reason).rstrip('.')}."
        facts = {"stop": run.stop.kind.value, "reason": run.stop.reason, "at": moment_text(run.stop.requested_at)}
        yield Reason(kind="stop", text=text, facts=facts)
    if run.main_state is RunState.CANCELLED and (run.stop is None or run.stop.kind is not StopKind.CANCEL):
        said = "".join(f": {one_line(error['message']).rstrip('.')}" for error in run.main_errors[:1])
        text = f"It was cancelled{said}; then the steps under `finally` ran."
        yield Reason(kind="stop", text=text, facts={"stop": "cancel"})
    elif run.main_state is not None and run.main_state is not run.state:
        text = f"Its main part ended as {run.main_state}; the steps under `finally` made the run {run.state}."
        yield Reason(kind="finally", text=text, facts={"main_state": run.main_state.value})
    if seen.is_incomplete:
        written = len(seen.steps)
        text = f"Only {written:,} of its {counted(run.step_count, 'step')} had been written."
        yield Reason(kind="half_seeded", text=text, facts={"written": written})


def _how_steps_ended(seen: Seen) -> Iterator[Reason]:
    stops = stop_reasons(seen.run)
    by_fate: dict[Fate, list[StepRecord]] = {}
    for step in seen.steps:
        by_fate.setdefault(fate_of(step, stops), []).append(step)
    blocked: dict[str, list[str]] = {}
    for step in by_fate.get(Fate.BLOCKED, ()):
        blocked.setdefault(step.cause or "", []).append(step.id)
    failed = [*by_fate.get(Fate.FAILED, ()), *by_fate.get(Fate.CANCELLED, ())]
    failed.sort(key=lambda step: (step.finished_at or seen.now, step.id))
    for step in failed:
        blocks = blocked.pop(step.id, [])
        phase = " (under `finally`)" if step.phase is Phase.FINALLY else ""
        held = f"; it blocks {named(blocks)}" if blocks else ""
        text = f"`{step.id}`{phase} {failure_text(step)}{held}"
        yield Reason(kind="failed", text=text, facts={**_failure_facts(step), "blocks": blocks})
    for cause, names in blocked.items():
        text = f"{named(names)}: blocked by `{cause}`, which did not succeed"
        yield Reason(kind="failed", text=text, facts={"step": cause, "blocks": names})
    are_tolerated = {
        name: loop.step.tolerated or loop.step.state is StepState.SUCCEEDED for name, loop in seen.loops.items()
    }
    yield from (_failed_item(item, "item") for item in _failed_items(seen, are_tolerated, of=False))
    for is_started, said in ((True, "under way"), (False, "not started")):
        if names := [step.id for step in by_fate.get(Fate.STOPPED, ()) if bool(step.started_at) is is_started]:
            facts = {"steps": names, "started": is_started}
            yield Reason(kind="stopped", text=f"{named(names)}: {said}", facts=facts)
    for step in by_fate.get(Fate.TOLERATED, ()):
        yield Reason(kind="tolerated", text=f"`{step.id}` {failure_text(step)}", facts=_failure_facts(step))
    yield from (_failed_item(item, "tolerated_item") for item in _failed_items(seen, are_tolerated, of=True))
    for because, names in group_skipped(by_fate.get(Fate.SKIPPED, ())).items():
        yield Reason(kind="skipped", text=f"{named(names)}: {because}", facts={"because": because, "steps": names})


def _failed_items(seen: Seen, are_tolerated: Mapping[str, bool], *, of: bool) -> Iterator[StepRecord]:
    """Yield the failed items of steps, tolerated or not."""
    return (item for name, loop in seen.loops.items() if are_tolerated[name] is of for item in loop.failed)


def _failed_item(item: StepRecord, kind: str) -> Reason:
    return Reason(kind=kind, text=f"`{shown_id(item.id)}` {failure_text(item)}", facts=_failure_facts(item))


def _failure_facts(step: StepRecord) -> dict[str, Any]:
    return {
        "step": shown_id(step.id),
        "state": step.state.value,
        "attempts": step.attempt,
        "failure_kind": step.last_kind,
        "reason": step.last_reason or step.reason,
        "message": step.message,
    }
