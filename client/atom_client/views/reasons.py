"""Words for what happened to a step, and reasons for a state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from atom_client.text import between, clip, counted, lasted, listing, local_time, marked_time, one_line
from atom_workflows.core.graph import MAIN_END_ID
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, NodeKind, Phase
from atom_workflows.core.outcomes import clip as clip_message
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState

LONGEST_MESSAGE: Final = 300
_ORDINARY: Final = frozenset({"", "failed", "cancelled", "items"})
"""Kinds of failures that the step's state already implies."""


class Fate(StrEnum):
    """What has happened to a step, in more detail than its state."""

    OPEN = "open"
    SUCCEEDED = "succeeded"
    # It failed or was cancelled on the Task Runner, and `allowFailure` lets that pass.
    TOLERATED = "tolerated"
    # Its condition was false, or its trigger was not met although nothing had failed.
    SKIPPED = "skipped"
    FAILED = "failed"
    # Its job was cancelled on the Task Runner.
    CANCELLED = "cancelled"
    # A step that it depends on, directly or not, failed.
    BLOCKED = "blocked"
    # The run was cancelled, timed out or could not continue before the step had ended.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason for a run's state.

    It has a clause for people, and the same information as fields for programs.
    """

    kind: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_fields(self) -> dict[str, Any]:
        """Return the reason as fields for JSON output."""
        return {"kind": self.kind, "text": self.text, **self.facts}


def stop_reasons(run: RunRecord) -> frozenset[str]:
    """Return the messages that a stop leaves in the steps it ends.

    Once the steps under `finally` have started, these messages remain only in the errors of the main part.
    """
    messages = [str(error.get("message", "")) for error in run.main_errors if not error.get("step")]
    return frozenset(clip_message(one) for one in (*messages, *([run.stop.reason] if run.stop else ())))


def fate_of(step: StepRecord, stops: frozenset[str] = frozenset()) -> Fate:
    """Return a step's fate. `stops` is what `stop_reasons` returns for its run."""
    if not step.state.is_terminal:
        return Fate.OPEN
    if step.state is StepState.SUCCEEDED:
        return Fate.SUCCEEDED
    if step.state is StepState.SKIPPED:
        return Fate.SKIPPED if step.by_choice else Fate.BLOCKED if step.cause else Fate.STOPPED
    if step.tolerated:
        return Fate.TOLERATED
    was_stopped = step.message in stops
    if not was_stopped and step.schema >= LANGUAGE_SCHEMA:
        # A failure of the step itself has a kind. However, the step may have failed earlier and then been stopped.
        was_stopped = step.last_kind != "cancelled" if step.state is StepState.CANCELLED else not step.last_kind
    return Fate.STOPPED if was_stopped else Fate(step.state.value.lower())


COUNTS_AS: Final[Mapping[Fate, str]] = {
    Fate.OPEN: "has not ended",
    Fate.SUCCEEDED: "counts as a success",
    Fate.TOLERATED: "counts as a success without outputs, since allowFailure tolerates the failure",
    Fate.SKIPPED: "counts as skipped by choice",
    Fate.FAILED: "counts as a failure",
    Fate.CANCELLED: "counts as a failure",
    Fate.BLOCKED: "counts as a failure, since a failure blocked it",
    Fate.STOPPED: "counts as a failure, since the run was stopped",
}
"""How a step with each fate counts for its dependents."""


def failure_words(step: StepRecord) -> str:
    """Describe the kind and reason of a step's last failure.

    For example ` (timeout, OOM)`, or "" if there is nothing to add to the state.
    """
    kind = "" if step.last_kind in _ORDINARY else step.last_kind
    words = ", ".join(filter(None, (kind, one_line(step.last_reason or step.reason))))
    return f" ({words})" if words else ""


def message_of(step: StepRecord, longest: int = LONGEST_MESSAGE) -> str:
    """Return the latest message about a step, on one line."""
    return clip(one_line(step.message).rstrip("."), longest)


def failure_text(step: StepRecord, longest: int = LONGEST_MESSAGE) -> str:
    """Return how a step failed, worded to follow its name.

    For example `FAILED after 2 attempts (timeout, OOM): no memory`.
    """
    message = message_of(step, longest) or "the Task Runner gave no reason"
    return f"{step.state}{tries_of(step)}{failure_words(step)}: {message}"


def tries_of(step: StepRecord) -> str:
    """Return a failed step's attempts, such as ` after 2 attempts`.

    Returns "" for a step with `forEach`, since each of its items has its own attempts.
    """
    if step.kind is NodeKind.GATHER:
        return ""
    return f" after {counted(step.attempt, 'attempt')}" if step.attempt else " before its first attempt"


def why_skipped(step: StepRecord) -> str:
    """Explain why a step was skipped by choice."""
    if step.phase is Phase.FINALLY and MAIN_END_ID in step.depends_on and step.skipped and step.when is None:
        return "no step of the main part was started, so there is nothing to clean up"
    return one_line(step.because) or "its condition or its trigger was not met"


def clock_time(moment: datetime | None, now: datetime) -> str:
    """Format a time in this machine's time zone.

    The date is omitted if it is today's.
    """
    if moment is None:
        return "an unknown time"
    is_today = moment.astimezone().date() == now.astimezone().date()
    return marked_time(moment, "%H:%M:%S") if is_today else local_time(moment)


def last_start(run: RunRecord) -> datetime:
    """Return when a run last started or continued.

    This is the latest of its first start, its last retry, and the end of its wait for a place. If a run is cancelled
    while QUEUED and then retried, its first start comes after the retry.
    """
    return max(filter(None, (run.reopened_at, run.admitted_at, run.started_at or run.created_at)))


def since(moment: datetime | None, now: datetime) -> str:
    """Format the time that has passed since the given moment."""
    return lasted(between(moment, now)) or "an unknown time"


def group_skipped(steps: Iterable[StepRecord]) -> dict[str, list[str]]:
    """Return the ids of steps skipped by choice, grouped by reason."""
    groups: dict[str, list[str]] = {}
    for step in steps:
        groups.setdefault(why_skipped(step), []).append(step.id)
    return groups


def named(step_ids: Sequence[str], most: int = 5) -> str:
    """Join step ids into a readable list."""
    return listing(list(step_ids), most=most)
