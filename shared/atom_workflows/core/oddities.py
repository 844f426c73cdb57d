"""Describe steps under way whose jobs may never end, although nothing failed.

A step does not fail just because its Task Runner is silent or reports a state that the contract does not define, and a
job that the Task Runner does not know counts as lost only after a minute. Users should learn of such problems earlier.
This module describes them but makes no decisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from atom_workflows.core.durations import format_duration
from atom_workflows.core.outcomes import is_known_state
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

LONG_SILENCE: Final = timedelta(minutes=5)
"""The shortest silence worth reporting. Shorter ones are common and end before anyone notices."""

_SECOND: Final = timedelta(seconds=1)


class OddityKind(StrEnum):
    """A kind of oddity."""

    UNKNOWN_JOB = "unknown_job"
    UNKNOWN_STATE = "unknown_state"
    SILENCE = "silence"
    STOPPING = "stopping"


class Oddity(NamedTuple):
    """An oddity in a step. `what` is a clause to be shown after the step's name."""

    step_id: str
    kind: OddityKind
    what: str


def oddities(steps: Iterable[StepRecord], *, now: datetime) -> list[Oddity]:
    """Return the oddities found in the steps, in the same order."""
    return [found for step in steps if (found := oddity_of(step, now=now)) is not None]


def oddity_of(step: StepRecord, *, now: datetime) -> Oddity | None:
    """Return a step's oddity, or None if it has none."""
    if waits_for := job_being_stopped(step):
        return _oddity_of_stop(step, waits_for, now)
    if step.state is not StepState.RUNNING:
        return _oddity_of_dispatch(step, now)
    if step.unanswered and (lasting := _silence(step.unanswered_since, now)):
        what = f"the Task Runner has given no valid response to queries about job {step.job_id} for {lasting}"
        return Oddity(step_id=step.id, kind=OddityKind.SILENCE, what=what)
    if step.missing_since is not None:
        lasting = _lasting(step.missing_since, now)
        what = (
            f"the Task Runner has been reporting job {step.job_id} as unknown for {lasting}; if this continues, the "
            "job will count as lost"
        )
        return Oddity(step_id=step.id, kind=OddityKind.UNKNOWN_JOB, what=what)
    if step.job_state and not is_known_state(step.job_state):
        what = (
            f"the Task Runner reports that job {step.job_id} is in state {step.job_state!r}, which the contract does "
            "not define; the job is polled until it is SUCCEEDED, FAILED or CANCELLED, or until the step times out"
        )
        return Oddity(step_id=step.id, kind=OddityKind.UNKNOWN_STATE, what=what)
    return None


def _oddity_of_stop(step: StepRecord, job_id: str, now: datetime) -> Oddity | None:
    if not (lasting := _silence(step.stop_since, now)):
        return None
    what = f"job {job_id} has not stopped, although its Task Runner was asked to stop it {lasting} ago"
    return Oddity(step_id=step.id, kind=OddityKind.STOPPING, what=what)


def _oddity_of_dispatch(step: StepRecord, now: datetime) -> Oddity | None:
    # `claimed_at` is when the attempt began, no matter how many times it has been submitted since.
    lasting = _silence(step.claimed_at, now)
    if step.state is not StepState.DISPATCHING or not step.deferrals or not lasting:
        return None
    what = f"the Task Runner has not accepted its job for {lasting}"
    return Oddity(step_id=step.id, kind=OddityKind.SILENCE, what=what)


def job_being_stopped(step: StepRecord) -> str:
    """Return the id of the step's job that is being stopped.

    Returns "" if there is none.
    """
    if step.state is StepState.DISPATCHING:
        return step.leftovers[0] if step.leftovers else ""
    return step.job_id if step.being_stopped_for and not step.is_stop_over else ""


def _silence(since: datetime | None, now: datetime) -> str:
    """Format the length of a silence; return "" if it is short."""
    return _lasting(since, now) if since is not None and now - since >= LONG_SILENCE else ""


def _lasting(since: datetime, now: datetime) -> str:
    return format_duration(max(_SECOND, (now - since) // _SECOND * _SECOND))
