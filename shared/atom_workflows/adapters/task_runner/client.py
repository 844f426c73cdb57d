"""The TaskRunner port over HTTP, with pooled connections and bounded responses.

Requests go directly to the transport adapter of `requests`, without a `Session`. That makes a call a third faster, and
the features of a session are unwanted here anyway (following redirects, keeping cookies, taking proxies and passwords
from the machine's environment).
"""

from __future__ import annotations

import http.client
import json
import math
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, Protocol
from urllib.parse import quote

import requests
import urllib3.exceptions
from urllib3.exceptions import HTTPError as TransportError

from atom_workflows.adapters.http import (
    CertificatesMissing,
    IdleCloser,
    NotConnected,
    PromptAdapter,
    pieces_of,
)
from atom_workflows.adapters.task_runner.answers import (
    Answer,
    read_lookup,
    read_status,
    read_stop,
    read_submission,
    receive_answer,
)
from atom_workflows.errors import JobRefused, RequestNotAccepted, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer, StopAnswer

CONNECT_TIMEOUT_S: Final = 3.05
SUBMIT_TIMEOUT_S: Final = 60.0
STATUS_TIMEOUT_S: Final = 10.0
"""For calls about a job that was submitted earlier: asking for its status, stopping it, and looking up its key."""

MIN_TIMEOUT_S: Final = 0.001

MIN_RENEWAL_S: Final = 5.0
"""If less time than this is left, no new token is fetched, since a submission must end before its lease does."""

CONNECTIONS: Final = 64

_DENIED: Final = frozenset({401, 403})


class Tokens(Protocol):
    """The source of the bearer token for an address."""

    def token_for(self, base_url: str) -> str | None:
        """Return the token for an address, or None if none is needed.

        Raises `JobRefused` if no token can ever be obtained, and `RequestNotAccepted` if waiting may help.
        """
        ...

    def renew(self, base_url: str, refused: str) -> str | None:
        """Return a new token after one has been refused with HTTP 401.

        Returns None if there is no other token. Raises the same errors as `token_for`.
        """
        ...

    def explain_denial(self, base_url: str, status: int) -> str:
        """Explain an HTTP 401 or 403, and what to do about it."""
        ...


class TaskRunnerClient:
    """Makes the calls defined by the Task Runner's contract. Safe to use from several threads.

    Each timeout covers the time from the request to the end of the response.
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
        self._transport = _Transport(pool_connections=8, pool_maxsize=CONNECTIONS)
        self._idle = IdleCloser(self._transport)

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        content = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Idempotency-Key": idempotency_key,
            "Atom-Job-Timeout": str(max(1, math.ceil(timeout.total_seconds()))),
        }
        request = _Request("POST", base_url, "/job", headers=headers, body=content)
        return read_submission(self._call(request, self._submit_timeout_s))

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        target = f"/jobstatus?job_id={quote(job_id, safe='')}"
        return read_status(self._call_about("GET", target, base_url, job_id), job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return read_stop(self._call_about("DELETE", f"/job?job_id={quote(job_id, safe='')}", base_url, job_id), job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        target = f"/jobstatus?key={quote(idempotency_key, safe='')}"
        return read_lookup(self._call_about("GET", target, base_url), idempotency_key)

    def _call_about(self, method: str, target: str, base_url: str, job_id: str = "") -> Answer:
        """Make a call about a job that was submitted earlier."""
        request = _Request(method, base_url, target, headers={}, job_id=job_id)
        try:
            return self._call(request, self._status_timeout_s)
        except JobRefused as error:
            problem = str(error)
        # Without a usable token, a submission is refused permanently, but that says nothing about a running job.
        raise RequestNotAccepted(problem)

    def _call(self, request: _Request, timeout_s: float) -> Answer:
        """Send a request, repeating it with a new token after HTTP 401.

        Together, both attempts take no longer than a single call is allowed to take.
        """
        ends_at = time.monotonic() + CONNECT_TIMEOUT_S + timeout_s
        base_url = request.base_url
        token = self._tokens.token_for(base_url)
        request.tokens = [] if token is None else [token]
        answer = self._exchange(request, timeout_s, ends_at)
        refused = answer.status == requests.codes.unauthorized
        if refused and token and time.monotonic() < ends_at - MIN_RENEWAL_S:
            other = self._tokens.renew(base_url, token)
            if other is not None and time.monotonic() < ends_at:
                request.tokens.append(other)
                answer = self._exchange(request, timeout_s, ends_at)
        if answer.status in _DENIED:
            explanation = self._tokens.explain_denial(base_url, answer.status)
            answer = replace(answer, said=f"{explanation}. The Task Runner said: {answer.said}")
        return answer

    def _exchange(self, request: _Request, timeout_s: float, ends_at: float) -> Answer:
        kind: type[TaskRunnerUnavailable] = TaskRunnerUnavailable
        try:
            timeouts = (CONNECT_TIMEOUT_S, min(timeout_s, max(ends_at - time.monotonic(), MIN_TIMEOUT_S)))
            with self._transport.send(request.prepare(), stream=True, timeout=timeouts) as response:
                headers, pieces = response.headers, pieces_of(response)
                return receive_answer(
                    response.status_code, headers, pieces, tokens=request.tokens, job_id=request.job_id
                )
        except (
            NotConnected,
            CertificatesMissing,
            _NotSendable,
            requests.exceptions.InvalidURL,
            UnicodeEncodeError,
        ) as problem:
            kind, reason = RequestNotAccepted, _explain(problem)
        except (requests.RequestException, TransportError, ValueError) as problem:
            reason = _explain(problem)
        finally:
            self._idle.watch()
        # Raise outside the handlers: an error about a header quotes the header's value, which may be the token.
        raise kind(f"{request.base_url} did not respond: {reason}")


class _Response(requests.Response):
    """A response without unused, slow-to-build parts such as cookies."""

    def __init__(self, raw: Any) -> None:
        self.status_code = raw.status
        self.headers = raw.headers
        self.raw = raw
        self._content_consumed = False


class _Transport(PromptAdapter):
    """Sends requests directly to their addresses, without any unnecessary work."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # noqa: ARG002 (there are no proxies)
        """See `HTTPAdapter.request_url`."""
        return str(request.path_url)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:  # noqa: ARG002 (not needed)
        """See `HTTPAdapter.build_response`."""
        return _Response(resp)


class _NotSendable(Exception):
    """The request cannot be built, so there is nothing to send."""


@dataclass(slots=True)
class _Request:
    """A call to make. `tokens` holds all the tokens tried for it so far; the last one is sent."""

    method: str
    base_url: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None
    job_id: str = ""
    tokens: list[str] = field(default_factory=list, repr=False)

    def prepare(self) -> requests.PreparedRequest:
        """Return the request in the form that the transport expects.

        Raises `_NotSendable`.
        """
        headers = self.headers | ({"Authorization": f"Bearer {self.tokens[-1]}"} if self.tokens else {})
        prepared = requests.PreparedRequest()
        prepared.method = self.method
        prepared.body = self.body
        try:
            prepared.url = _normalize_url(self.base_url) + self.target
            prepared.prepare_headers(headers)
        except (requests.RequestException, TransportError, ValueError) as error:
            reason = f"the request cannot be sent ({type(error).__name__})"
        else:
            return prepared
        raise _NotSendable(reason)


@lru_cache(maxsize=64)
def _normalize_url(base_url: str) -> str:
    """Return the URL as it will be sent.

    Checking a URL takes a tenth as long as a call, so the result is cached.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare_url(base_url, None)
    return str(prepared.url).rstrip("/")


def _explain(error: Exception) -> str:
    """Explain a failure without quoting anything that the server sent."""
    if isinstance(error, NotConnected | _NotSendable | CertificatesMissing):
        return str(error)
    causes = list(_causes(error))
    for kinds, reason in _REASONS:
        if any(isinstance(cause, kinds) for cause in causes):
            return reason
    return type(error).__name__


_REASONS: Final[Sequence[tuple[tuple[type[Exception], ...], str]]] = (
    ((requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError), "no response in time"),
    ((urllib3.exceptions.DecodeError, requests.exceptions.ContentDecodingError), "its response cannot be decompressed"),
    ((ssl.SSLError, urllib3.exceptions.SSLError, requests.exceptions.SSLError), "the TLS connection broke"),
    ((ConnectionError, http.client.IncompleteRead), "the connection was lost before the response was complete"),
    ((http.client.HTTPException, urllib3.exceptions.HTTPError, requests.RequestException), "its response is not HTTP"),
)
"""Explanations by kind of error. The first row that matches any of an error's causes is used."""


def _causes(error: BaseException, depth: int = 4) -> Iterator[BaseException]:
    yield error
    inner = (*error.args, error.__cause__)
    for one in inner if depth else ():
        if isinstance(one, BaseException):
            yield from _causes(one, depth - 1)
