"""Describe steps under way whose jobs may never end, though nothing has failed.

A Task Runner that does not answer, or reports a state that the contract does not define, does not fail a step; a job
that it does not know for a minute counts as lost. Users should see this earlier. This module makes no decisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import is_known_state

LONG_SILENCE: Final = timedelta(minutes=5)
"""Shorter outages are common, and end before anyone notices."""

_SECOND: Final = timedelta(seconds=1)


class OddityKind(StrEnum):
    """A kind of oddity."""

    UNKNOWN_JOB = "unknown_job"
    UNKNOWN_STATE = "unknown_state"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """One oddity of a step. `what` is a clause to put after the step's name."""

    step_id: str
    kind: OddityKind
    what: str


def oddities(steps: Iterable[StepRecord], *, now: datetime) -> list[Oddity]:
    """Return the oddities of these steps, in order."""
    return [found for step in steps if (found := oddity_of(step, now=now)) is not None]


def oddity_of(step: StepRecord, *, now: datetime) -> Oddity | None:
    """Return the oddity of a step, or None if it has none."""
    if step.state is StepState.RUNNING:
        return _oddity_of_job(step, now)
    # The attempt was claimed only once, however often it has been submitted since then.
    if step.state is StepState.DISPATCHING and step.deferrals and (lasting := _silence(step.claimed_at, now)):
        what = f"the Task Runner has not accepted its job for {lasting}"
        return Oddity(step_id=step.id, kind=OddityKind.SILENCE, what=what)
    return None


def _oddity_of_job(step: StepRecord, now: datetime) -> Oddity | None:
    if step.unanswered and (lasting := _silence(step.unanswered_since, now)):
        what = f"the Task Runner has given no valid answer about job {step.job_id} for {lasting}"
        return Oddity(step_id=step.id, kind=OddityKind.SILENCE, what=what)
    if step.missing_since is not None:
        lasting = _lasting(step.missing_since, now)
        what = (
            f"the Task Runner has answered for {lasting} that it does not know job {step.job_id}, which counts as lost "
            "if that goes on"
        )
        return Oddity(step_id=step.id, kind=OddityKind.UNKNOWN_JOB, what=what)
    if step.job_state and not is_known_state(step.job_state):
        what = (
            f"the Task Runner calls the state of job {step.job_id} {step.job_state!r}, which the contract "
            "does not define; the job is polled until it is SUCCEEDED, FAILED or CANCELLED, or the step times out"
        )
        return Oddity(step_id=step.id, kind=OddityKind.UNKNOWN_STATE, what=what)
    return None


def _silence(since: datetime | None, now: datetime) -> str:
    """Return the length of a silence, or "" while it is short."""
    return _lasting(since, now) if since is not None and now - since >= LONG_SILENCE else ""


def _lasting(since: datetime, now: datetime) -> str:
    return format_duration(max(_SECOND, (now - since) // _SECOND * _SECOND))
