"""The TaskRunner port over HTTP: pooled connections, bounded in time and in what is read.

No redirect is followed, no cookie kept, and no proxy or password of the machine's environment used.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any, Final, Protocol
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError as CannotUnpack

from atom_workflows.adapters.kept_connections import KeptConnections, Limits, NoConnection
from atom_workflows.adapters.prompt_transport import AnswerTooLarge
from atom_workflows.errors import JobRefused, JobUnknown, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer

CONNECT_TIMEOUT_S: Final = 3.05
SUBMIT_TIMEOUT_S: Final = 60.0
STATUS_TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_QUOTED_TEXT: Final = 500
MAX_JOB_ID: Final = 500
MAX_JOB_STATE: Final = 100
"""Both are carried by events, whose texts may have 2,000 characters, and stand within sentences there."""

MAX_RETRY_AFTER_S: Final = 86_400.0
"""A server may wish for more than a clock can count."""

MIN_TIMEOUT_S: Final = 0.001

MIN_RENEWAL_S: Final = 5.0
"""With less time left than this, no other token is asked for: a submission must end before its lease does."""

MASKED_START: Final = 16
"""So much of a token, and what follows of it, is masked: a Task Runner may quote a header cut short."""

_WORD: Final = r"[\w.~+/=-]*"
_TAG: Final = re.compile(r"<[^<>]*>")
_TOO_MANY_REQUESTS: Final = 429
_NOT_FOUND: Final = 404
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Tokens(Protocol):
    """Where the bearer token for an address comes from."""

    def token_for(self, base_url: str) -> str | None:
        """The token, None to send none.

        Raises `JobRefused` if there can never be one, `TaskRunnerUnavailable` if waiting may help.
        """
        ...

    def renewed(self, base_url: str, refused: str) -> str | None:
        """Another token, after this one was refused with 401; None if there is none. Raises as `token_for` does."""
        ...

    def refusal(self, base_url: str, status: int) -> str:
        """What a 401 or 403 means to the user, and what to do about it."""
        ...


class TaskRunnerClient:
    """Calls of the Task Runner's contract. Safe to use from several threads.

    The timeouts bound the time from the request to the answer's end.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        submit_timeout_s: float = SUBMIT_TIMEOUT_S,
        status_timeout_s: float = STATUS_TIMEOUT_S,
    ) -> None:
        self._tokens = tokens
        self._submit_timeout_s = submit_timeout_s
        self._status_timeout_s = status_timeout_s
        self._connections = KeptConnections()

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        request = _Request("POST", base_url, "/job", headers=headers, body=content)
        answer = self._call(request, self._submit_timeout_s)
        if 400 <= answer.status < 500 and answer.status != _TOO_MANY_REQUESTS:  # noqa: PLR2004 (HTTP)
            raise JobRefused(answer.status, answer.text[:MAX_QUOTED_TEXT] or "no reason given")
        return _job_answer(answer)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        request = _Request("GET", base_url, f"/jobstatus?job_id={quote(job_id, safe='')}", headers={})
        answer = self._asked(request)
        if answer.status == _NOT_FOUND:
            raise JobUnknown(job_id)
        return _job_answer(answer)

    def _asked(self, request: _Request) -> _Answer:
        """A status call, of which nothing may be read as the end of the job."""
        try:
            return self._call(request, self._status_timeout_s)
        except JobRefused as error:
            problem = str(error)
        raise TaskRunnerUnavailable(problem)

    def _call(self, request: _Request, timeout_s: float) -> _Answer:
        """Send it with a token, and with another one if that is refused; all of it in the time of one call."""
        ends_at = time.monotonic() + CONNECT_TIMEOUT_S + timeout_s
        base_url = request.base_url
        token = self._tokens.token_for(base_url)
        answer = self._exchange(request, token, timeout_s, ends_at)
        refused = answer.status == requests.codes.unauthorized
        if refused and token and time.monotonic() < ends_at - MIN_RENEWAL_S:
            other = self._tokens.renewed(base_url, token)
            if other is not None and time.monotonic() < ends_at:
                answer = self._exchange(request, other, timeout_s, ends_at)
        if answer.status in {requests.codes.unauthorized, requests.codes.forbidden}:
            refusal = self._tokens.refusal(base_url, answer.status)
            return replace(answer, text=f"{refusal}. It said: {_plain(answer.text)}")
        return answer

    def _exchange(self, request: _Request, token: str | None, timeout_s: float, ends_at: float) -> _Answer:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        try:
            limits = Limits(
                connect_timeout_s=CONNECT_TIMEOUT_S,
                timeout_s=min(timeout_s, max(ends_at - time.monotonic(), MIN_TIMEOUT_S)),
                most_bytes=MAX_ANSWER_BYTES,
            )
            answer = self._connections.call(
                request.method,
                request.base_url,
                request.target,
                headers=request.headers,
                body=request.body,
                limits=limits,
            )
        except (OSError, HTTPException, CannotUnpack, ValueError) as error:
            reason = _reason(error)
        else:
            return _Answer(
                status=answer.status,
                text=_masked(answer.content.decode("utf-8", "replace"), token),
                location=_masked(answer.headers.get("Location", ""), token),
                retry_after=answer.headers.get("Retry-After", ""),
            )
        # Outside of the handler: the text of an error about a header holds the header's value, which may be the token.
        raise TaskRunnerUnavailable(f"{request.base_url} gave no answer: {reason}")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    base_url: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What is read of an answer.

    A Task Runner may quote the request in it, but the token must not get into our logs: where it was, it is masked.
    """

    status: int
    text: str
    location: str
    retry_after: str


def _masked(text: str, token: str | None) -> str:
    """The text without the token, of which it may hold no more than the beginning."""
    if not token:
        return text
    start = token[:MASKED_START]
    return re.sub(re.escape(start) + _WORD, "(token)", text) if start in text else text


def _plain(text: str) -> str:
    """The words of an answer that may be a web page, as Cloud Run's refusals are."""
    return " ".join(_TAG.sub(" ", text).split()) or "nothing"


def _job_answer(answer: _Answer) -> JobAnswer:
    text = answer.text
    if answer.status != requests.codes.ok:
        said = _plain(text)[:MAX_QUOTED_TEXT]
        if answer.status in _REDIRECTS and answer.location:
            said = f"go to {answer.location[:MAX_QUOTED_TEXT]}, but a redirection is not followed"
        raise TaskRunnerUnavailable(
            f"the Task Runner answered HTTP {answer.status}: {said}", retry_after_s=_seconds(answer.retry_after)
        )
    try:
        job = json.loads(text)["job"]
        job_id, state, message = job.get("jobId"), job["state"], job.get("message")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        state = None
    if not isinstance(state, str) or not state:
        raise TaskRunnerUnavailable(f"the Task Runner's answer is not the contract's: {text[:MAX_QUOTED_TEXT]!r}")
    job_id = _storable(job_id)
    if len(job_id) > MAX_JOB_ID:
        # Cut short it would name another job, or none.
        raise TaskRunnerUnavailable(
            f"the Task Runner's answer is not the contract's: its jobId has {len(job_id):,} characters, more than the "
            f"{MAX_JOB_ID} allowed"
        )
    return JobAnswer(job_id=job_id, state=_storable(state)[:MAX_JOB_STATE], message=_storable(message))


def _storable(value: Any) -> str:
    """A text of the answer; half a surrogate pair, which JSON can express, could be neither stored nor logged."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def _seconds(retry_after: str) -> float | None:
    try:
        seconds = float(retry_after)
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_S) if 0 <= seconds < float("inf") else None


def _reason(error: Exception) -> str:
    match error:
        case AnswerTooLarge():
            return f"what it sent has more than {MAX_ANSWER_BYTES} bytes"
        case NoConnection():
            return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
        case TimeoutError():
            return "no answer in time"
        case ValueError() | CannotUnpack():
            return type(error).__name__
        case _:
            return "the connection failed or was cut"
