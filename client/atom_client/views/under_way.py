"""What a step under way is doing, worded to follow its name."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from atom_client.text import counted, one_line
from atom_client.views.loops import LoopView
from atom_client.views.reasons import clock_time, message_of, since
from atom_workflows.core.oddities import job_being_stopped, oddity_of
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import MAX_LOSSES


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
    ends = f"; it times out at {clock_time(step.attempt_deadline, now)}" if step.attempt_deadline else ""
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
