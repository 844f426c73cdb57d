"""Translate what Batch says about a job into the contract's terms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from atom_workflows.runner.cloud.placeholders import is_placeholder
from atom_workflows.runner.cloud.times import read_time
from atom_workflows.runner.reports import JobState

STATES: Final[Mapping[str, JobState]] = {
    "STATE_UNSPECIFIED": JobState.QUEUED,
    "QUEUED": JobState.QUEUED,
    "SCHEDULED": JobState.PREPARING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "DELETION_IN_PROGRESS": JobState.CANCELLING,
    "CANCELLATION_IN_PROGRESS": JobState.CANCELLING,
    "CANCELLED": JobState.CANCELLED,
}
"""Maps Batch's job states to the contract's. A state added by a later version counts as in progress."""

KILLED: Final = 137
"""128 plus the signal number of SIGKILL, which the kernel sends when memory runs out."""

NOT_STARTED: Final = 125
"""Docker's exit code when it cannot start a container, for instance because it cannot pull the image."""

REASONS: Final[Mapping[int, tuple[str, str]]] = {
    50001: ("PREEMPTED", "Google Cloud reclaimed its Spot VM"),
    50002: ("VM_LOST", "its VM stopped reporting"),
    50003: ("VM_LOST", "its VM was restarted"),
    50004: ("VM_LOST", "neither its VM nor its container responded"),
    50005: ("TIMEOUT", "it ran longer than allowed"),
    50006: ("VM_LOST", "its VM was recreated while the job was running"),
    KILLED: ("OOM", "it was killed, most likely because the machine ran out of memory; choose a larger masterType"),
    NOT_STARTED: ("NOT_STARTED", "its container could not be started; check the image and the permission to pull it"),
}
"""Maps exit codes to the contract's reason and a message.

See https://cloud.google.com/batch/docs/troubleshooting#reserved-exit-codes.
"""

_UNKNOWN_CODE: Final = 50000
"""Batch's exit code for a failure that has no more specific code."""

_EXIT_CODE: Final = re.compile(r"exit code (-?[0-9]{1,6})\b", re.IGNORECASE)
_MOST_EVENTS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed."""

    reason: str
    message: str


def state_of(job: Mapping[str, Any]) -> JobState:
    """Return the job's state."""
    if is_placeholder(job):
        return JobState.CANCELLED
    return STATES.get(str(_at(job, "status", "state")), JobState.RUNNING)


def created_of(job: Mapping[str, Any], otherwise: datetime) -> datetime:
    """Return the time at which the job was created.

    Returns `otherwise` if the job does not contain it.
    """
    return read_time(job.get("createTime")) or otherwise


def uid_of(job: Mapping[str, Any]) -> str:
    """Return the id that Batch has assigned to the job.

    Returns "" if it has none yet.
    """
    return str(job.get("uid") or "")


def key_of(job: Mapping[str, Any]) -> str:
    """Return the idempotency key from the job's environment.

    Returns "" if the job is not one of ours.
    """
    groups = job.get("taskGroups")
    first = groups[0] if isinstance(groups, list) and groups else None
    variables = _at(first, "taskSpec", "environment", "variables")
    if not isinstance(variables, Mapping):
        return ""
    parts = [str(variables.get(f"ATOM_{name}") or "") for name in ("RUN_ID", "STEP_ID", "ATTEMPT")]
    return "/".join(parts) if all(parts) else ""


def waiting_message(job: Mapping[str, Any]) -> str:
    """Return Batch's latest message about a waiting job."""
    return _last_description(job)


def failure_of(job: Mapping[str, Any], task: Mapping[str, Any]) -> Failure:
    """Explain a job's failure, based on the job and its task.

    The task may be empty.
    """
    description = _last_description(task) or _last_description(job)
    code = exit_code_of(job, task)
    if code is None:
        return Failure(reason="", message=description or "the job failed, but Batch gave no reason")
    if code == _UNKNOWN_CODE:
        return Failure(reason="BATCH_ERROR", message=description or "the job failed because of an error in Batch")
    if code in REASONS:
        reason, text = REASONS[code]
        return Failure(reason=reason, message=_joined(f"exit code {code}: {text}", description))
    return Failure(reason=f"EXIT_{code}", message=_joined(f"exit code {code}", description))


def exit_code_of(job: Mapping[str, Any], task: Mapping[str, Any]) -> int | None:
    """Return the exit code from the newest events, or None.

    The task's events contain it as a number; the job's events mention it in a sentence.
    """
    for event in _events(task):
        code = _at(event, "taskExecution", "exitCode")
        if isinstance(code, int) and not isinstance(code, bool) and code:
            return code
    for event in (*_events(task), *_events(job)):
        if found := _EXIT_CODE.findall(str(event.get("description") or "")):
            return int(found[-1])
    return None


def _last_description(resource: Mapping[str, Any]) -> str:
    texts = (" ".join(str(event.get("description") or "").split()) for event in _events(resource))
    return next((text for text in texts if text), "")


def _joined(summary: str, description: str) -> str:
    return f"{summary} ({description})" if description else summary


def _events(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the resource's events, newest first."""
    events = _at(resource, "status", "statusEvents")
    listed = [one for one in events if isinstance(one, Mapping)] if isinstance(events, list) else []
    yield from sorted(listed[-_MOST_EVENTS:], key=lambda event: str(event.get("eventTime") or ""), reverse=True)


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
