"""Changes to steps: the named fields that a decision sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from atom_workflows.core.copying import copier_of
from atom_workflows.core.outcomes import has_ended
from atom_workflows.core.records import StepRecord, StopStage
from atom_workflows.core.states import StepEvent, StepState, next_step_state
from atom_workflows.core.workflow import Backoff, JsonValue

MAX_UNSTOPPED: Final = 10

MAX_LEFTOVERS: Final = 10
"""The maximum number of earlier jobs, and of earlier attempts without a known job, that a step remembers."""


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


_copy_step: Final = copier_of(StepRecord)


def apply_change(step: StepRecord, change: StepChange) -> StepRecord:
    """Return the step with the change applied."""
    return _copy_step(step, {"state": change.state, **change.fields})


def clear(step: StepRecord, *names: str) -> dict[str, Any]:
    """Return the empty value of each named field that is set."""
    return {name: _EMPTY[name] for name in names if getattr(step, name) != _EMPTY[name]}


_EMPTY: Final[Mapping[str, Any]] = {
    "unheard_since": None,
    "submitted_at": None,
    "running_at": None,
    "logs_url": "",
    "notifies": False,
    "hinted_at": None,
    "stop_for": "",
}


def jobs_to_stop(step: StepRecord) -> tuple[str, ...]:
    """Return the ids of jobs that may still be running, earliest first."""
    was_stopped = step.stop_attempt == step.attempt and step.stop_stage == StopStage.OVER
    has_stopped = has_ended(step.job_state) or (was_stopped and step.job_id not in step.unstopped)
    own = (step.job_id,) if step.job_id and not has_stopped else ()
    return tuple(dict.fromkeys((*step.leftovers, *own)))[-MAX_LEFTOVERS:]


def attempts_to_resolve(step: StepRecord) -> tuple[int, ...]:
    """Return the attempts that may have started jobs with unknown ids."""
    # A step that failed because an earlier job did not stop names that job.
    has_own = step.job_id != "" and step.job_id not in step.leftovers
    has_job = has_own or has_ended(step.job_state)
    own = (step.attempt,) if step.is_unsure and not has_job else ()
    return tuple(dict.fromkeys((*step.unresolved, *own)))[-MAX_LEFTOVERS:]


def add_unstopped(step: StepRecord, *job_ids: str) -> dict[str, Any]:
    """Return the field `unstopped` with the given jobs added."""
    added = [job_id for job_id in job_ids if job_id and job_id not in step.unstopped]
    return {"unstopped": (*step.unstopped, *added)[-MAX_UNSTOPPED:]} if added else {}


def leave_over(step: StepRecord, now: datetime) -> dict[str, Any]:
    """Return the fields that make an attempt stop earlier jobs first."""
    leftovers, unresolved = jobs_to_stop(step), attempts_to_resolve(step)
    if not leftovers and not unresolved:
        return {}
    # A reset has recorded when they ended.
    is_new = bool(unresolved) and (unresolved != step.unresolved or step.unresolved_since is None)
    return {
        **({"unresolved_since": now} if is_new else {}),
        **({"leftovers": leftovers} if leftovers != step.leftovers else {}),
        **({"unresolved": unresolved} if unresolved != step.unresolved else {}),
        "stop_attempt": step.attempt + 1,
        "stop_stage": "",
        "stop_since": now,
        # A lost job has been unknown since then.
        **({"missing_since": step.missing_since} if leftovers == (step.job_id,) else {}),
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
