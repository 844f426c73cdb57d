"""Explain how a run was stopped and how its steps ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from atom_client.text import counted, one_line
from atom_client.views.as_json import moment_text
from atom_client.views.reasons import (
    Fate,
    Reason,
    clock_time,
    failure_text,
    fate_of,
    group_skipped,
    named,
    stop_reasons,
)
from atom_client.views.seen import Seen
from atom_workflows.coordinator.commands import CANCELLED_BY_USER
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import Phase
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState

_STOPPED: Final = {StopKind.CANCEL: "cancelled", StopKind.TIMEOUT: "ended by its timeout", StopKind.FAIL: "given up"}


def explain_stop(seen: Seen) -> Iterator[Reason]:
    """Yield the reasons why a run ended early."""
    run = seen.run
    if run.stop is not None:
        now = ", without running the steps under `finally`" if run.stop.now else ""
        at = clock_time(run.stop.requested_at, seen.now)
        by = _canceller(run) if run.stop.kind is StopKind.CANCEL else ""
        text = f"It was {_STOPPED[run.stop.kind]}{by} at {at}{now}{_reason_text(run.stop.reason, by)}."
        facts = {"stop": run.stop.kind.value, "reason": run.stop.reason, "at": moment_text(run.stop.requested_at)}
        yield Reason(kind="stop", text=text, facts=facts)
    if run.main_state is RunState.CANCELLED and (run.stop is None or run.stop.kind is not StopKind.CANCEL):
        by = _canceller(run)
        said = "".join(_reason_text(error["message"], by) for error in run.main_errors[:1])
        text = f"It was cancelled{by}{said}; then the steps under `finally` ran."
        yield Reason(kind="stop", text=text, facts={"stop": "cancel"})
    elif run.main_state is not None and run.main_state is not run.state:
        text = f"Its main part ended as {run.main_state}; the steps under `finally` changed the state to {run.state}."
        yield Reason(kind="finally", text=text, facts={"main_state": run.main_state.value})
    if seen.is_incomplete:
        written = len(seen.steps)
        text = f"Only {written:,} of its {counted(run.step_count, 'step')} had been written."
        yield Reason(kind="half_seeded", text=text, facts={"written": written})


def _canceller(run: RunRecord) -> str:
    """Name the account that last cancelled the run, if known."""
    actors = [change.actor for change in run.changes if change.what.partition(" ")[0] == "cancel"]
    return f" by {one_line(actors[-1])}" if actors else ""


def _reason_text(reason: str, by: str) -> str:
    # If no reason was given, the one that is recorded only says that someone did it.
    return "" if by and reason == CANCELLED_BY_USER else f": {one_line(reason).rstrip('.')}"


def explain_ends(seen: Seen) -> Iterator[Reason]:
    """Yield the steps that did not succeed, and why."""
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
