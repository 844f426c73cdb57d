"""The TaskRunner port over HTTP: pooled connections, bounded in time and in what is read.

Requests are handed to the transport adapter of `requests` itself, without a `Session`: that costs a third less time
a call, and what a session adds must not happen here anyway (following redirects, keeping cookies, proxies and
passwords from the machine's environment).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError as TransportError
from urllib3.exceptions import ProtocolError as ConnectionBroken
from urllib3.exceptions import TimeoutError as TransportTimeout

from atom_workflows.adapters.prompt_transport import AnswerTooLarge, CertificatesMissing, PromptAdapter, read_answer
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
CONNECTIONS: Final = 64

_WORD: Final = r"[\w.~+/=-]*"
_TAG: Final = re.compile(r"<[^<>]*>")
_TOO_MANY_REQUESTS: Final = 429
_NOT_FOUND: Final = 404


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
        self._transport = PromptAdapter(pool_connections=8, pool_maxsize=CONNECTIONS)

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        content = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Idempotency-Key": idempotency_key,
        }
        request = _Request("POST", base_url, "/job", headers=headers, body=content)
        response, text = self._call(request, self._submit_timeout_s)
        if 400 <= response.status_code < 500 and response.status_code != _TOO_MANY_REQUESTS:  # noqa: PLR2004 (HTTP)
            raise JobRefused(response.status_code, text[:MAX_QUOTED_TEXT] or "no reason given")
        return _answer(response, text)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        request = _Request("GET", base_url, f"/jobstatus?job_id={quote(job_id, safe='')}", headers={})
        response, text = self._asked(request)
        if response.status_code == _NOT_FOUND:
            raise JobUnknown(job_id)
        return _answer(response, text)

    def _asked(self, request: _Request) -> tuple[requests.Response, str]:
        """A status call, of which nothing may be read as the end of the job."""
        try:
            return self._call(request, self._status_timeout_s)
        except JobRefused as error:
            problem = str(error)
        raise TaskRunnerUnavailable(problem)

    def _call(self, request: _Request, timeout_s: float) -> tuple[requests.Response, str]:
        """Send it with a token, and with another one if that is refused; all of it in the time of one call."""
        ends_at = time.monotonic() + CONNECT_TIMEOUT_S + timeout_s
        base_url = request.base_url
        token = self._tokens.token_for(base_url)
        response, text = self._exchange(request, token, timeout_s, ends_at)
        refused = response.status_code == requests.codes.unauthorized
        if refused and token and time.monotonic() < ends_at - MIN_RENEWAL_S:
            other = self._tokens.renewed(base_url, token)
            if other is not None and time.monotonic() < ends_at:
                response, text = self._exchange(request, other, timeout_s, ends_at)
        if response.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
            text = f"{self._tokens.refusal(base_url, response.status_code)}. It said: {_plain(text)}"
        return response, text

    def _exchange(
        self, request: _Request, token: str | None, timeout_s: float, ends_at: float
    ) -> tuple[requests.Response, str]:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        try:
            timeouts = (CONNECT_TIMEOUT_S, min(timeout_s, max(ends_at - time.monotonic(), MIN_TIMEOUT_S)))
            with self._transport.send(request.prepared(), stream=True, timeout=timeouts) as response:
                text = _read(response)
        except (requests.RequestException, TransportError, ValueError) as error:
            reason = _reason(error)
        else:
            # A Task Runner that quotes the request in its answer must not get the token into our logs.
            if token and "Location" in response.headers:
                response.headers["Location"] = _masked(response.headers["Location"], token)
            return response, _masked(text, token) if token else text
        # Outside of the handler: the text of an error about a header holds the header's value, which may be the token.
        raise TaskRunnerUnavailable(f"{request.base_url} gave no answer: {reason}")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    base_url: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None

    def prepared(self) -> requests.PreparedRequest:
        """The request in the transport's form; raises `requests.RequestException` if it cannot be sent."""
        prepared = requests.PreparedRequest()
        prepared.method = self.method
        prepared.url = _checked(self.base_url) + self.target
        prepared.prepare_headers(self.headers)
        prepared.body = self.body
        return prepared


@lru_cache(maxsize=64)
def _checked(base_url: str) -> str:
    """The URL in the form in which it is sent; checking it is a tenth of a call's cost."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(base_url, None)
    return str(prepared.url).rstrip("/")


def _read(response: requests.Response) -> str:
    """The answer's text, up to a limit: a Task Runner's answer is a few hundred bytes."""
    try:
        return read_answer(response, most_bytes=MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except AnswerTooLarge:
        too_large = f"the Task Runner answered more than {MAX_ANSWER_BYTES} bytes"
    raise TaskRunnerUnavailable(too_large)


def _masked(text: str, token: str) -> str:
    """The text without the token, of which it may hold no more than the beginning."""
    start = token[:MASKED_START]
    return re.sub(re.escape(start) + _WORD, "(token)", text) if start in text else text


def _plain(text: str) -> str:
    """The words of an answer that may be a web page, as Cloud Run's refusals are."""
    return " ".join(_TAG.sub(" ", text).split()) or "nothing"


def _answer(response: requests.Response, text: str) -> JobAnswer:
    if response.status_code != requests.codes.ok:
        said = _plain(text)[:MAX_QUOTED_TEXT]
        if response.is_redirect:
            said = f"go to {response.headers['Location'][:MAX_QUOTED_TEXT]}, but a redirection is not followed"
        raise TaskRunnerUnavailable(
            f"the Task Runner answered HTTP {response.status_code}: {said}",
            retry_after_s=_retry_after(response),
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


def _retry_after(response: requests.Response) -> float | None:
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_S) if 0 <= seconds < float("inf") else None


def _reason(error: Exception) -> str:
    if isinstance(error, CertificatesMissing):
        return str(error)
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, (requests.Timeout, TransportTimeout)):
        return "no answer in time"
    if isinstance(error, (requests.ConnectionError, ConnectionBroken)):
        return "the connection failed or was cut"
    return type(error).__name__
