"""What an error of an API, or a job that it does not find, means for a caller of the contract."""

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
"""Quotas of Google's APIs count per minute."""

GRANT_RETRY_S: Final = 30
"""A new grant, account or API takes minutes to become known."""

_UNSURE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT})


def is_taken(reply: Reply) -> bool:
    """Return True if a creation was refused because the job exists.

    HTTP 409 is also the answer to a request that lost a race inside the service; then there may be no job.
    """
    error = reply.document.get("error")
    is_lost_race = isinstance(error, Mapping) and error.get("status") == "ABORTED"
    return reply.status == HTTPStatus.CONFLICT and not is_lost_race


def raise_for_submission(reply: Reply, api: str) -> None:
    """Raise the error that a failed creation means.

    A refusal for lack of permission is worth another try: in a new deployment, grants take minutes to take effect, and
    the message says what is missing.
    """
    if reply.is_ok:
        return
    said = f"{api} answered HTTP {reply.status}: {reply.message or 'without a message'}"
    if reply.is_unsure or reply.status in _UNSURE or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise GoogleUnavailable(said)
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise NotNow(said, retry_after_s=reply.retry_after_s or BUSY_RETRY_S, is_busy=True)
    if reply.status == HTTPStatus.FORBIDDEN:
        raise NotNow(said, retry_after_s=reply.retry_after_s or GRANT_RETRY_S)
    raise RequestRefused(said)


def raise_for_question(reply: Reply, api: str) -> None:
    """Raise `GoogleUnavailable` for any error, since it says nothing about the job."""
    if not reply.is_ok:
        raise GoogleUnavailable(f"{api} answered HTTP {reply.status}: {reply.message or 'without a message'}")


def require_document(reply: Reply, api: str) -> None:
    """Raise `GoogleUnavailable` for an answer that describes no job.

    An answer that was too long, or that is no JSON, must not look like a job of unknown state.
    """
    raise_for_question(reply, api)
    if not reply.document:
        raise GoogleUnavailable(f"{api} answered HTTP {reply.status} without a description of the job")


def report_unseen(place: Place, now: datetime) -> JobReport:
    """Report a job that cannot be found as queued while new.

    Raises `JobNotFound` for any other, since it is gone.
    """
    if not place.is_new(now):
        raise JobNotFound(place.job_id)
    return JobReport(job_id=place.job_id, state=JobState.QUEUED, message="it was created, and cannot be seen yet")
