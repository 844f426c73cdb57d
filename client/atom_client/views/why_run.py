"""Explain a run's state: what it waits for, or why it ended.

The reasons are gathered only from the run's documents, in one pass over its steps. The most important come first. Each
is complete in itself, and the caller decides how many of each kind to print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from atom_client.text import counted, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.lines import ordinal
from atom_client.views.reasons import Fate, Reason, fate_of, last_start, since, stop_reasons
from atom_client.views.run_times import ended_text, open_text
from atom_client.views.seen import Seen
from atom_client.views.summary import lateness, problem_lines
from atom_client.views.why_ended import explain_ends, explain_stop
from atom_client.views.why_open import explain_progress, explain_waits
from atom_workflows.core.states import RunState

HEADINGS: Final[Mapping[str, str]] = {
    "waits": "It is waiting for:",
    "failed": "Failed:",
    "item": "Failed items, the first few of each step (`runs show RUN --items STEP` shows all):",
    "stopped": "Ended when the run was stopped:",
    "tolerated": "Failed, but tolerated (allowFailure):",
    "tolerated_item": (
        "Failed items that were tolerated, the first few of each step (`runs show RUN --items STEP` shows all):"
    ),
    "skipped": "Skipped by choice:",
}
"""The kinds of reasons that may occur many times, with the headings under which they are listed."""

_COUNTED: Final = {
    Fate.FAILED: "failed",
    Fate.CANCELLED: "cancelled on the Task Runner",
    Fate.BLOCKED: "blocked",
    Fate.STOPPED: "ended when the run was stopped",
    Fate.TOLERATED: "failed but tolerated",
    Fate.SKIPPED: "skipped by choice",
}


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
        begun = open_text(run, seen.now) or since(last_start(run), seen.now)
        return f"Run {run.id} has been {run.state} for {begun}: {', '.join([ended, *words])}."
    return f"Run {run.id} {run.state} {ended_text(run)}: {', '.join([counted(total, 'step'), *words])}."


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
        yield from explain_stop(seen)
        # The reason for a stop has been yielded already.
        stop = one_line(seen.run.stop.reason) if seen.run.stop else None
        errors = (line for line in problem_lines(seen.run) if line.strip() != stop)
        yield from (Reason(kind="error", text=f"Error: {line.rstrip('.')}.") for line in errors)
    else:
        yield from explain_progress(seen)
        yield from explain_waits(seen)
    yield from explain_ends(seen)


def run_explanation(seen: Seen, reasons: Iterable[Reason]) -> dict[str, Any]:
    """Return the explanation of a run as an object for JSON output."""
    run = seen.run
    return {
        "run_id": run.id,
        "run": run.id,
        "state": run.state.value,
        "main_state": run.main_state.value if run.main_state else None,
        "text": headline(seen),
        "steps": seen.count_states(),
        "deadline": moment_text(run.deadline),
        "reasons": [reason.as_fields() for reason in reasons],
    }
