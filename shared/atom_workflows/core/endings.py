"""Decide how runs end, and how steps end without a job.

This module also resets steps that run again. As in transitions.py, each decision is a `StepChange`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from atom_workflows.core.changes import StepChange, add_unstopped, attempts_to_resolve, change, end_step, jobs_to_stop
from atom_workflows.core.counts import Counts
from atom_workflows.core.evaluation import Verdict
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, NodeKind, Phase, Release, WhenStopped
from atom_workflows.core.outcomes import OutcomeKind, clip
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import RunEvent, RunState, StepEvent, StepState
from atom_workflows.core.transitions import fail_step
from atom_workflows.core.workflow import Trigger
from atom_workflows.errors import Remedy, RunStateError


def require_stoppable(run: RunRecord, *, kind: StopKind, now: bool) -> None:
    """Raise `RunStateError` if this stop comes too late for the run."""
    if run.state.is_terminal:
        raise RunStateError(f"run {run.id} has ended: it is {run.state}")
    if kind is StopKind.CANCEL and not now and run.main_state is not None:
        message = f"the main steps of run {run.id} have ended, and its `finally` steps are running"
        well = "to end these as well, cancel it with"
        raise RunStateError(message, remedy=Remedy(f"{well} --now", f'{well} "now": true'))


def require_retries(run: RunRecord, retries: int | None) -> None:
    """Raise `RunStateError` unless the run has been retried `retries` times.

    None stands for any number.
    """
    if retries is not None and run.retries != retries:
        message = f"the request says that `retries` is {retries}, but for run {run.id} it is {run.retries}"
        raise RunStateError(f"{message}; check the run's state before you try again")


def end_without_job(step: StepRecord, *, now: datetime, verdict: Verdict | None = None) -> StepChange | None:
    """End a released step that needs no job.

    It needs none if it will not run, is a barrier, or was marked by a person. `verdict` is the result of the step's
    condition. Returns None if the step needs a job, if its condition has to be evaluated first, or if it is not (or no
    longer) released.
    """
    release = step.release
    if step.is_marked and release is not Release.WAIT:
        from atom_workflows.core.marks import end_marked  # noqa: PLC0415 (people mark few steps)

        return end_marked(step, now=now)
    if release is Release.BLOCK:
        return _block(step, now)
    if release is Release.SKIP:
        # A step with `forEach` was told why it has no items.
        return _skip_by_choice(step, now, step.because or _why_not_triggered(step))
    if step.awaits_condition and not (verdict is not None and verdict.holds):
        return None if verdict is None else _end_by_verdict(step, verdict, now)
    because = {"because": verdict.because} if verdict is not None and step.when is not None else {}
    return end_step(step, StepEvent.SUCCEED, now, **because) if release is Release.SUCCEED else None


def _end_by_verdict(step: StepRecord, verdict: Verdict, now: datetime) -> StepChange:
    """End a step whose condition does not hold or cannot be evaluated."""
    if not verdict.error:
        return _skip_by_choice(step, now, verdict.because)
    if step.kind is NodeKind.EXPAND:
        # The failure is that of the step for which this node would create items.
        return end_step(step, StepEvent.SUCCEED, now, problem=clip(verdict.error))
    return fail_step(step, OutcomeKind.EXPRESSION, now, message=clip(verdict.error))


def _block(step: StepRecord, now: datetime) -> StepChange:
    cause = "a step before it" if step.cause is None else f"step {step.cause}"
    return end_step(step, StepEvent.SKIP, now, message=f"skipped because {cause} did not succeed")


def _skip_by_choice(step: StepRecord, now: datetime, because: str) -> StepChange:
    return end_step(step, StepEvent.SKIP, now, by_choice=True, because=because, message=because)


def block_item(step: StepRecord, why: str, *, now: datetime) -> StepChange:
    """Block an item waiting for its place, because too many others failed."""
    return end_step(step, StepEvent.SKIP, now, message=clip(f"not started: {why}"))


def skip_idle(step: StepRecord, *, now: datetime) -> StepChange:
    """Skip a step under `finally` because no step was started."""
    return _skip_by_choice(step, now, "no step of the run was started")


def _why_not_triggered(step: StepRecord) -> str:
    if step.trigger is Trigger.ANY_FAILED:
        return "none of the steps that it depends on failed, and its trigger is any-failed"
    if step.skipped >= step.total:
        return "every step that it depends on was skipped"
    were = "was" if step.skipped == 1 else "were"
    return f"{step.skipped} of the {step.total} steps that it depends on {were} skipped; its trigger is all-succeeded"


def ends_with_steps(step: StepRecord, run: RunRecord) -> bool:
    """Return True if stopping the run also ends this node."""
    if run.runs_finally and (step.phase is Phase.FINALLY or step.kind is NodeKind.MAIN_END):
        return False
    return step.rules.stopped is WhenStopped.WITH_STEPS


def stop_step(step: StepRecord, stop: Stop, *, now: datetime) -> StepChange:
    """End an open step of a run that is being closed.

    A job that has not ended may keep running.
    """
    from atom_workflows.core.attempts import STOPPED, keep_attempt  # noqa: PLC0415 (not needed while steps succeed)

    may_run = step.state is StepState.RUNNING and not step.is_stop_over
    unstopped = add_unstopped(step, *jobs_to_stop(step)) if may_run else {}
    # A dispatcher may be submitting the job right now, or may have done so before it died.
    is_in_flight = step.rules.has_job and step.state is StepState.DISPATCHING and not step.answered
    unsure = {"unsure_attempt": step.attempt} if is_in_flight else {}
    # An earlier attempt may have failed, but that is not how the step ends.
    earlier = {"last_kind": "stopped", "last_reason": ""} if step.last_kind else {}
    message = clip(stop.reason)
    kept = keep_attempt(step, STOPPED, now=now, fields={"message": message})
    ended = {"message": message, **earlier, **unstopped, **unsure, **kept}
    if stop.kind is StopKind.CANCEL:
        return end_step(step, StepEvent.CANCEL, now, **ended)
    # A step that waits for its items has started.
    if step.state is StepState.PENDING and not step.items:
        # One dependency may have failed already, but others were still running.
        no_cause = {"cause": None} if step.cause else {}
        return end_step(step, StepEvent.SKIP, now, message=clip(f"not started: {stop.reason}"), **no_cause)
    return end_step(step, StepEvent.FAIL, now, **ended)


def end_run(run: RunRecord, end: StepRecord | None, *, now: datetime) -> tuple[RunEvent, StepChange | None]:
    """Decide how a run and its end node end.

    A requested stop takes precedence over the counters of the end node. The node's change is None if the node's
    document is missing, or if the node had ended before the run was retried and has not been reset.
    """
    event = main_event(run, end)
    if run.main_state not in {None, RunState.SUCCEEDED}:
        # A failure under `finally` fails a run that would have succeeded, but never hides the original cause.
        event = RunEvent.CANCEL if run.main_state is RunState.CANCELLED else RunEvent.FAIL
    if run.stop is not None:
        is_over = end is None or end.state.is_terminal
        return event, None if is_over or end is None else stop_step(end, run.stop, now=now)
    if end is None or end.release is not Release.CLOSE:
        return event, None
    return event, end_step(end, StepEvent.SUCCEED, now) if event is RunEvent.SUCCEED else _block(end, now)


def main_event(run: RunRecord, end: StepRecord | None) -> RunEvent:
    """Decide how the main part of a run ends.

    A requested stop takes precedence over the counters of its end node.
    """
    if run.stop is not None:
        return RunEvent.CANCEL if run.stop.kind is StopKind.CANCEL else RunEvent.FAIL
    return RunEvent.FAIL if end is None or end.fails_run else RunEvent.SUCCEED


def end_main(end: StepRecord, *, now: datetime, nothing_started: bool) -> StepChange:
    """End the main part's end node, which releases the steps under `finally`.

    If no step was started, those steps are skipped by choice.
    """
    return end_step(end, StepEvent.SUCCEED, now, **({"by_choice": True} if nothing_started else {}))


def reset(  # noqa: PLR0913 (what it waits for, and what it keeps)
    step: StepRecord, *, remaining: int, kept: Counts, retries: int, expire_at: datetime | None, is_named: bool = False
) -> StepChange:
    """Make a step PENDING again.

    `remaining` is the number of its dependencies that will also run again; the others are counted in `kept`. The latest
    attempt is kept like earlier ones. A mark is kept if it is for this round, or if it has not taken effect yet, unless
    a person named the step to run again (`is_named`).
    """
    set_since = {name: empty for name, empty in _DECIDED.items() if getattr(step, name) != empty}
    if step.schema >= LANGUAGE_SCHEMA and step.attempt:
        # Steps that are reset are read without their tasks, and so without what was sent.
        set_since["sent"] = ""
    if (leftovers := jobs_to_stop(step)) != step.leftovers:
        set_since["leftovers"] = leftovers
    if (unresolved := attempts_to_resolve(step)) != step.unresolved:
        set_since["unresolved"] = unresolved
    if unresolved:
        set_since["unresolved_since"] = step.finished_at
    if step.mark is not None and step.mark["retries"] != retries:
        is_kept = step.has_open_mark and not is_named
        set_since["mark"] = {**step.mark, "retries": retries} if is_kept else None
    counters = kept.counters(step.schema)
    # In the first schema, these are stored only if marks have set them.
    set_since |= {name: 0 for name in ("skipped", "stained") if name not in counters and getattr(step, name)}
    if step.attempt:
        from atom_workflows.core.attempts import keep_latest  # noqa: PLC0415 (needed by retries of runs only)

        set_since |= keep_latest(step)
    reset_step = change(
        step,
        StepEvent.RESET,
        remaining=remaining,
        **counters,
        # A failure that is kept blocks the step like a new one.
        cause=kept.cause,
        first_attempt=step.attempt + 1,
        losses=0,
        deferrals=0,
        unanswered=0,
        retries=retries,
        job_id="",
        job_state="",
        message="",
        due_at=None,
        missing_since=None,
        unheard_since=None,
        claimed_at=None,
        started_at=None,
        finished_at=None,
        expire_at=expire_at,
        **set_since,
    )
    return replace(reset_step, outputs={}) if step.outputs and step.state is StepState.SUCCEEDED else reset_step


_DECIDED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("because", "kept_from", "reason", "sent", "last_kind", "last_reason", "logs_url"), ""),
    **dict.fromkeys(("by_choice", "tolerated", "notifies"), False),
    "unstarted": 0,
    **dict.fromkeys(("hinted_at", "submitted_at", "running_at")),
    "unsure_attempt": 0,
}
"""The fields that are reset in each round of a run, with their empty values."""
