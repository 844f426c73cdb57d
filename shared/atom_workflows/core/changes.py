"""Changes to steps: the named fields that a decision sets, for the coordinator to save."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from atom_workflows.core.outcomes import has_ended
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent, StepState, next_step_state
from atom_workflows.core.workflow import Backoff, JsonValue

MAX_UNSTOPPED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step's next state and the fields that change with it.

    `outputs` are the declared outputs of a step that succeeds, as JSON values; {} clears those of an earlier round, and
    None leaves them unchanged. `undeclared` names the outputs that the job returned but the step does not declare.
    """

    event: StepEvent
    state: StepState
    fields: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, JsonValue] | None = None
    undeclared: str = ""

    @property
    def is_terminal(self) -> bool:
        """True if the step ends with this change."""
        return self.state.is_terminal


def change(step: StepRecord, event: StepEvent, **fields: Any) -> StepChange:
    """Build the change that an event makes to a step.

    Raises `TransitionError` if the event is not allowed in the step's state.
    """
    return StepChange(event=event, state=next_step_state(step.state, event), fields=fields)


def apply_change(step: StepRecord, change: StepChange) -> StepRecord:
    """Return the step with the change applied."""
    return replace(step, state=change.state, **change.fields)


def clear(step: StepRecord, *names: str) -> dict[str, Any]:
    """Return the named fields that are set, with their empty values."""
    return {name: _EMPTY[name] for name in names if getattr(step, name) != _EMPTY[name]}


_EMPTY: Final[Mapping[str, Any]] = {
    "unheard_since": None,
    "logs_url": "",
    "notifies": False,
    "hinted_at": None,
    "stop_for": "",
}


def job_to_stop(step: StepRecord) -> str:
    """Return the id of the step's latest job that may still run, or "" if there is none."""
    return step.job_id if step.job_id and not has_ended(step.job_state) else step.leftover


def add_unstopped(step: StepRecord, job_id: str) -> dict[str, Any]:
    """Return the field that lists the step's jobs that could not be stopped, with this one added."""
    if not job_id or job_id in step.unstopped:
        return {}
    return {"unstopped": (*step.unstopped, job_id)[-MAX_UNSTOPPED:]}


def leave_over(step: StepRecord, now: datetime) -> dict[str, Any]:
    """Return the fields with which a new attempt first has the job of an earlier one stopped, if it may still run."""
    leftover = job_to_stop(step)
    if not leftover:
        return {}
    return {
        "leftover": leftover,
        "stop_attempt": step.attempt + 1,
        "stop_stage": "",
        "stop_since": now,
        **clear(step, "stop_for"),
    }


def backoff_delay(backoff: Backoff, *, tries: int, seed: str, at_least_s: float | None = None) -> timedelta:
    """Return how long to wait after the given number of tries.

    `at_least_s` is the wait that a server asked for (Retry-After); it can lengthen the wait up to the back-off's
    maximum. The jitter is derived from the seed, so that deciding twice gives the same result.
    """
    initial = backoff.initial.total_seconds()
    limit = backoff.maximum.total_seconds()
    # After a very large number of tries, the power would overflow a float.
    grown = initial * backoff.factor ** min(tries - 1, 64)
    share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") / 2**32
    wait = timedelta(seconds=min(grown, limit) * (1 - backoff.jitter * share))
    return wait if at_least_s is None else max(wait, min(timedelta(seconds=at_least_s), backoff.maximum))


def not_after_deadline(step: StepRecord, due_at: datetime, *, now: datetime) -> datetime:
    """Return `due_at`, or the attempt's deadline if that is earlier.

    A deadline that has passed counts as `now`.
    """
    deadline = step.attempt_deadline
    return due_at if deadline is None else min(due_at, max(deadline, now))


def end_step(step: StepRecord, event: StepEvent, now: datetime, **fields: Any) -> StepChange:
    """End a step."""
    if step.shard:
        # It may have waited for its place, or been handed it just now.
        fields |= {"waits_at": "", "remaining": step.remaining - (1 if step.waits_at else 0)}
    return change(step, event, finished_at=now, due_at=None, **fields)
