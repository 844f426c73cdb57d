"""The outcomes of attempts: how jobs, submissions or dispatchers ended.

Polls and submissions turn responses into outcomes, which are sent as events; transitions.py turns them into changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from atom_workflows.core.records import StepRecord

NOT_STOPPED: Final = "NOT_STOPPED"
"""The reason given for an attempt whose job kept running after its Task Runner accepted the request to stop it."""


TIME_LIMIT: Final = "TIMEOUT"
"""The reason that a Task Runner reports for a job that it ended when the time in Atom-Job-Timeout was up."""


MAX_MESSAGE_LENGTH: Final = 2_000


class OutcomeKind(StrEnum):
    """The ways in which an attempt can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    # The job succeeded, but did not return the outputs that its step declares.
    OUTPUTS = "outputs"
    # An expression of the step could not be evaluated, so there was no job.
    EXPRESSION = "expression"
    # More items of the step failed than it tolerates.
    ITEMS = "items"


FAILURE_KINDS: Final[Mapping[OutcomeKind, str]] = MappingProxyType(
    {
        OutcomeKind.FAILED: "failed",
        OutcomeKind.TIMED_OUT: "timeout",
        OutcomeKind.REFUSED: "refused",
        OutcomeKind.CANCELLED: "cancelled",
        OutcomeKind.LOST: "lost",
        OutcomeKind.OUTPUTS: "outputs",
        OutcomeKind.EXPRESSION: "expression",
        OutcomeKind.ITEMS: "items",
    }
)
"""The kinds of failures, in the words that expressions use: `failure.kind`, `step.last.kind`."""

OWN_FAILURES: Final = frozenset(FAILURE_KINDS.values())
"""The values of `last_kind` in steps that failed by themselves; stopping the run sets other values."""


RETRIED_BY_DEFAULT: Final = frozenset({OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.OUTPUTS})
"""The failures that are retried if the step does not specify any (`retry.when`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a step's attempt, with its job's last known state.

    A lost job has been unknown to its Task Runner since `missing_since`. If the dispatcher was lost, `job_id` is empty.
    The outputs are the text of a JSON object (see outputs.py), or `outputs_problem` says why there are none; only an
    attempt that succeeded has either. `reason` is the Task Runner's own term for why the job ended. `may_run` is True
    if the job may still be running, since it could not be stopped.
    """

    step_id: str
    attempt: int
    kind: OutcomeKind
    message: str = ""
    job_id: str = ""
    job_state: str = ""
    missing_since: datetime | None = None
    outputs: str = ""
    outputs_problem: str = ""
    reason: str = ""
    logs_url: str = ""
    may_run: bool = False


JOB_OUTCOMES: Final[Mapping[str, OutcomeKind]] = {
    "SUCCEEDED": OutcomeKind.SUCCEEDED,
    "FAILED": OutcomeKind.FAILED,
    "CANCELLED": OutcomeKind.CANCELLED,
    "CANCELED": OutcomeKind.CANCELLED,
}
"""The states that Task Runners report for jobs that have ended, and what each state means."""


JOB_PROGRESS: Final = frozenset(
    {"NEW", "LOADING", "QUEUED", "PREPARING", "PENDING", "RUNNING", "CANCELLING", "STATE_UNSPECIFIED", "UNSPECIFIED"}
)
"""The states of a job that has not ended. Any unlisted state is treated like these, and is reported as an oddity."""


# Vertex AI adds this prefix to the states of AI Platform, for which the contract was written.
_VERTEX_PREFIX: Final = "JOB_STATE_"


def outcome_of(  # noqa: PLR0913 (the fields of a response, for which the core has no single type)
    step: StepRecord,
    *,
    job_id: str,
    job_state: str,
    message: str,
    outputs: str = "",
    outputs_problem: str = "",
    reason: str = "",
    logs_url: str = "",
) -> Outcome | None:
    """Return the outcome that a response reports for the current attempt.

    Returns None while the job has not ended. The outputs of a job that did not succeed are dropped.
    """
    kind = JOB_OUTCOMES.get(_plain_state(job_state))
    if kind is None:
        return None
    has_outputs = kind is OutcomeKind.SUCCEEDED
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=kind,
        message=clip(message),
        job_id=job_id,
        job_state=job_state,
        outputs=outputs if has_outputs else "",
        outputs_problem=outputs_problem if has_outputs else "",
        reason=reason,
        logs_url=logs_url,
    )


def has_ended(job_state: str) -> bool:
    """Return True if a job in the given state has ended."""
    return _plain_state(job_state) in JOB_OUTCOMES


def has_succeeded(job_state: str) -> bool:
    """Return True if a job in the given state has ended successfully."""
    return JOB_OUTCOMES.get(_plain_state(job_state)) is OutcomeKind.SUCCEEDED


def is_running(job_state: str) -> bool:
    """Return True if a job in the given state is under way."""
    return _plain_state(job_state) == "RUNNING"


def is_known_state(job_state: str) -> bool:
    """Return True if the contract defines the job state."""
    return _plain_state(job_state) in JOB_OUTCOMES.keys() | JOB_PROGRESS


def _plain_state(job_state: str) -> str:
    return job_state.strip().upper().removeprefix(_VERTEX_PREFIX)


def clip(text: str, most: int = MAX_MESSAGE_LENGTH) -> str:
    """Shorten text to the maximum message length, and mark the cut."""
    return text if len(text) <= most else text[: most - 1] + "…"
