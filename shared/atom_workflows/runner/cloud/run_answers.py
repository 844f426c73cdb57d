"""Translate what Cloud Run says about a job into contract terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from atom_workflows.runner.cloud.batch_answers import Failure
from atom_workflows.runner.cloud.placeholders import is_placeholder
from atom_workflows.runner.cloud.times import read_time
from atom_workflows.runner.reports import JobState

STATES: Final[Mapping[str, JobState]] = {
    "EXECUTION_PENDING": JobState.PREPARING,
    "EXECUTION_RUNNING": JobState.RUNNING,
    "EXECUTION_SUCCEEDED": JobState.SUCCEEDED,
    "EXECUTION_FAILED": JobState.FAILED,
    "EXECUTION_CANCELLED": JobState.CANCELLED,
}
"""Maps the latest execution's `completionStatus` to the contract's state; any other value counts as in progress."""

_OUT_OF_MEMORY: Final = re.compile(r"memory limit|out of memory", re.IGNORECASE)
_TIMED_OUT: Final = re.compile(r"timeout was reached|maximum timeout|deadline", re.IGNORECASE)
_EXIT_CODE: Final = re.compile(r"exit(?:ed)?[^0-9]{1,40}([0-9]{1,3})\b", re.IGNORECASE)


def state_of(job: Mapping[str, Any]) -> JobState:
    """Return the job's state.

    A job whose execution was never created has failed if Cloud Run has given up on it.
    """
    if is_placeholder(job):
        return JobState.CANCELLED
    execution = execution_of(job)
    if execution:
        return STATES.get(str(execution.get("completionStatus")), JobState.RUNNING)
    if _condition(job).get("state") == "CONDITION_FAILED":
        return JobState.FAILED
    return JobState.QUEUED


def execution_of(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the reference to the job's execution.

    Returns {} if there is none yet.
    """
    found = job.get("latestCreatedExecution")
    return found if isinstance(found, Mapping) and found.get("name") else {}


def execution_name(job: Mapping[str, Any]) -> str:
    """Return the short name of the job's execution, or ""."""
    return str(execution_of(job).get("name", "")).rpartition("/")[2]


def created_of(job: Mapping[str, Any], otherwise: datetime) -> datetime:
    """Return the time at which the job was created.

    Returns `otherwise` if the job does not contain it.
    """
    return read_time(job.get("createTime")) or otherwise


def created_by(operation: Mapping[str, Any]) -> datetime | None:
    """Return the creation time of the job that an operation creates.

    Returns None if the operation does not contain it.
    """
    job = operation.get("metadata")
    return read_time(job.get("createTime")) if isinstance(job, Mapping) else None


def ended_at(job: Mapping[str, Any]) -> datetime | None:
    """Return the time at which the job ended, or None.

    A job whose execution was never created ended when Cloud Run gave up on it; a placeholder ended when it
    was created.
    """
    if is_placeholder(job):
        return read_time(job.get("createTime"))
    if execution := execution_of(job):
        is_over = STATES.get(str(execution.get("completionStatus")), JobState.RUNNING).is_terminal
        return read_time(execution.get("completionTime")) if is_over else None
    return read_time(_condition(job).get("lastTransitionTime")) if state_of(job) is JobState.FAILED else None


def failure_of(job: Mapping[str, Any], tasks: Mapping[str, Any]) -> Failure:
    """Explain a job's failure, based on the job and its tasks.

    The list of tasks may be empty.
    """
    listed = tasks.get("tasks")
    task = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], Mapping) else {}
    result = task.get("lastAttemptResult")
    result = result if isinstance(result, Mapping) else {}
    status = result.get("status")
    said = " ".join(str(status.get("message") or "").split()) if isinstance(status, Mapping) else ""
    message = said or _condition_message(task) or _condition_message(job)
    if not execution_of(job):
        return Failure(reason="NOT_STARTED", message=message or "the job could not be started")
    if _OUT_OF_MEMORY.search(message):
        return Failure(reason="OOM", message=f"{message}; choose a larger masterType")
    if _TIMED_OUT.search(message):
        return Failure(reason="TIMEOUT", message=message)
    if signal := _number(result.get("termSignal")):
        return Failure(reason=f"SIGNAL_{signal}", message=message or f"the container was terminated by signal {signal}")
    named = _EXIT_CODE.search(message)
    if code := _number(result.get("exitCode")) or (int(named[1]) if named else 0):
        return Failure(reason=f"EXIT_{code}", message=message or f"exit code {code}")
    return Failure(reason="", message=message or "the job failed, but Cloud Run gave no reason")


def waiting_message(job: Mapping[str, Any]) -> str:
    """Return Cloud Run's latest message about a waiting job."""
    return _condition_message(job)


def _condition(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    found = resource.get("terminalCondition")
    if isinstance(found, Mapping):
        return found
    conditions = resource.get("conditions")
    listed = [one for one in conditions if isinstance(one, Mapping)] if isinstance(conditions, list) else []
    return next((one for one in listed if one.get("state") == "CONDITION_FAILED"), {})


def _condition_message(resource: Mapping[str, Any]) -> str:
    return " ".join(str(_condition(resource).get("message") or "").split())


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
