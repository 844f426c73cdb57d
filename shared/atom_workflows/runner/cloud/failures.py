"""Translate API errors and missing jobs into errors of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

from atom_workflows.errors import GoogleUnavailable, JobNotFound, NotNow, RequestRefused
from atom_workflows.runner.cloud.job_ids import Place
from atom_workflows.runner.cloud.rest import Reply
from atom_workflows.runner.reports import JobReport, JobState

BUSY_RETRY_S: Final = 60
"""The quotas of Google's APIs apply per minute."""

GRANT_RETRY_S: Final = 30
"""A new grant, a new account or a newly enabled API may not be usable for several minutes."""

_UNSURE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT})


def is_taken(reply: Reply) -> bool:
    """Return True if a creation was refused because the job already exists.

    HTTP 409 is also the response to a request that lost a race inside the service; in that case, there may be no job.
    """
    error = reply.document.get("error")
    is_lost_race = isinstance(error, Mapping) and error.get("status") == "ABORTED"
    return reply.status == HTTPStatus.CONFLICT and not is_lost_race


def raise_for_submission(reply: Reply, api: str) -> None:
    """Raise the error that corresponds to a failed creation.

    A request that was refused for lack of permission is worth retrying: in a new deployment, grants take minutes to
    take effect, and the message says what is missing.
    """
    if reply.is_ok:
        return
    said = f"{api} responded with HTTP {reply.status}: {reply.message or 'no message'}"
    if reply.is_unsure or reply.status in _UNSURE or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise GoogleUnavailable(said)
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise NotNow(said, retry_after_s=reply.retry_after_s or BUSY_RETRY_S, is_busy=True)
    if reply.status == HTTPStatus.FORBIDDEN:
        raise NotNow(said, retry_after_s=reply.retry_after_s or GRANT_RETRY_S)
    raise RequestRefused(said)


def raise_for_question(reply: Reply, api: str) -> None:
    """Raise `GoogleUnavailable` for any error, since errors say nothing about the job."""
    if not reply.is_ok:
        raise GoogleUnavailable(f"{api} responded with HTTP {reply.status}: {reply.message or 'no message'}")


def require_document(reply: Reply, api: str) -> None:
    """Raise `GoogleUnavailable` for a response that does not describe a job.

    A response that is too long, or is not JSON, must not be mistaken for a job in an unknown state.
    """
    raise_for_question(reply, api)
    if not reply.document:
        raise GoogleUnavailable(f"{api} responded with HTTP {reply.status} but without a description of the job")


def report_unseen(place: Place, now: datetime) -> JobReport:
    """Report a missing job as queued if it is very new.

    Raises `JobNotFound` if the job is older, since it must be gone.
    """
    if not place.is_new(now):
        raise JobNotFound(place.job_id)
    return JobReport(job_id=place.job_id, state=JobState.QUEUED, message="it was created but is not visible yet")
