"""A Task Runner's reports about jobs, in the form the contract requires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from atom_workflows.core.outcomes import MAX_MESSAGE_LENGTH, clip
from atom_workflows.core.outputs import MAX_REASON_LENGTH


class JobState(StrEnum):
    """The states that the Task Runners in this repository report."""

    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """True if the job has ended."""
        return self in _TERMINAL


_TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """A job's state.

    `outputs` and `reason` apply only to a job that has ended; `outputs` is None if there are none.
    """

    job_id: str
    state: JobState
    message: str = ""
    reason: str = ""
    outputs: Mapping[str, Any] | None = None
    logs_url: str = ""

    # True if the end of the job will be reported on the topic `jobs`.
    notifies: bool = False

    # True if the job runs nothing, and only keeps its key from being used.
    is_placeholder: bool = False

    def to_response(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the JSON of the response.

        The message and the reason are truncated to the lengths that the coordinator reads.
        """
        job: dict[str, Any] = {
            "state": self.state.value,
            "jobId": self.job_id,
            "message": clip(self.message),
        }
        if self.state.is_terminal and self.outputs is not None:
            job["outputs"] = self.outputs
        if self.state.is_terminal and self.reason:
            job["reason"] = self.reason[:MAX_REASON_LENGTH]
        if self.logs_url:
            job["logsUrl"] = self.logs_url
        if self.notifies:
            job["notifies"] = True
        return HTTPStatus.OK, {"job": job}


def unknown_job(job_id: str) -> tuple[int, dict[str, Any]]:
    """Return the response for a job that does not exist.

    It has the form that the contract requires.
    """
    return HTTPStatus.NOT_FOUND, {"message": f"there is no job {job_id}"[:MAX_MESSAGE_LENGTH]}


def to_lookup_response(key: str, report: JobReport | None) -> tuple[int, dict[str, Any]]:
    """Return the response to the lookup of a key.

    It repeats the key, so it cannot be mistaken for the response of a Task Runner that ignores the parameter.
    """
    if report is None:
        return HTTPStatus.OK, {"key": key, "jobId": None}
    status, body = report.to_response()
    return status, {"key": key, **body}


def refusal(message: str) -> tuple[int, dict[str, Any]]:
    """Return the response to a submission that can never succeed."""
    return HTTPStatus.BAD_REQUEST, {"message": message[:MAX_MESSAGE_LENGTH]}
