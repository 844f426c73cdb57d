"""Why steps are delayed: odd answers, refused submissions and earlier attempts' jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from atom_client.text import clip, counted, listing, local_time, one_line
from atom_workflows.core.oddities import oddities
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

_MOST_NAMED: Final = 5
_LONGEST_MESSAGE: Final = 500


def stuck_lines(steps: Sequence[StepRecord], now: datetime) -> Iterator[str]:
    """Yield a sentence for each step that may never end unaided.

    Then yield one for each reason why submissions are delayed, since no other output shows the full reason.
    """
    odd = oddities(steps, now=now)
    for oddity in odd[:_MOST_NAMED]:
        yield f"Step `{oddity.step_id}`: {one_line(oddity.what)}."
    if len(odd) > _MOST_NAMED:
        yield f"... and {counted(len(odd) - _MOST_NAMED, 'more step')} in a similar state."
    by_reason: dict[str, list[StepRecord]] = {}
    for step in steps:
        if step.state is StepState.DISPATCHING and step.deferrals and not step.awaits_earlier:
            by_reason.setdefault(clip(one_line(step.message).rstrip("."), _LONGEST_MESSAGE), []).append(step)
    for reason, waiting in list(by_reason.items())[:_MOST_NAMED]:
        tried = counted(max(step.deferrals for step in waiting), "time")
        names = listing([step.id for step in waiting])
        again = min((step.due_at for step in waiting if step.due_at), default=None)
        ends = min((step.attempt_deadline for step in waiting if step.attempt_deadline), default=None)
        next_try = f", next at {local_time(again)}" if again else ""
        next_try += f", until the timeout at {local_time(ends)}" if ends else ""
        yield f"Not submitted so far: {names} (tried {tried}{next_try}): {reason}."


def held_back_lines(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield a sentence for each step that waits for its earlier jobs.

    Its new job has not been submitted yet, so a number of tries would be meaningless.
    """
    waiting = [step for step in steps if step.awaits_earlier]
    for step in waiting[:_MOST_NAMED]:
        why = one_line(step.message).rstrip(".") or "a job of an earlier attempt is being stopped first"
        yield f"Step `{step.id}` has not been submitted yet: {clip(why, _LONGEST_MESSAGE)}."
    if len(waiting) > _MOST_NAMED:
        yield f"... and {counted(len(waiting) - _MOST_NAMED, 'more step')} waiting for earlier jobs."
