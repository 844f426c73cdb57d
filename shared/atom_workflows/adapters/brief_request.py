"""An HTTP transport for google-auth that is brief and silent.

google-auth's own transport waits for minutes, tries often, follows redirects, and at debug level logs whole headers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import google.auth.exceptions
import requests
from urllib3.exceptions import HTTPError as UrllibError
from urllib3.exceptions import TimeoutError as UrllibTimeout

from atom_workflows.adapters.http import CertificatesMissing, NotConnected, PromptAdapter, read_answer

CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 5.0
BUDGET_S: Final = 10.0
MAX_FAILURES: Final = 2
MAX_ANSWER_BYTES: Final = 64 * 1024
"""A token is a few thousand bytes."""

# google-auth is partly typed.
_TransportError: Final[Any] = google.auth.exceptions.TransportError


class GaveUp(Exception):
    """A server failed twice or too much time went by. Not an error that google-auth retries."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response in the form that google-auth reads."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class BriefRequest:
    """A `google.auth.transport.Request` for the few requests that one token takes."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + BUDGET_S
        self._failures = 0

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 (google-auth's own is longer than we can wait)
    ) -> Answer:
        """Send one request; raises `GaveUp`, or google-auth's `TransportError`, after which google-auth may retry."""
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise GaveUp("no answer in time")
        timeouts = (min(CONNECT_TIMEOUT_S, left_s), min(READ_TIMEOUT_S, left_s))
        try:
            answer = _answer(method, url, data=body, headers=headers, timeout=timeouts)
        except (requests.RequestException, UrllibError) as error:
            self._failed(_reason(error))
            raise _TransportError(_reason(error)) from error
        if answer.status == requests.codes.too_many_requests or answer.status >= requests.codes.server_error:
            self._failed(f"HTTP {answer.status}")
        return answer

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise GaveUp(reason)


def _answer(method: str, url: str, **request: Any) -> Answer:
    """What the server answers, bounded in time and size."""
    with requests.Session() as session:
        session.mount("http://", PromptAdapter())
        session.mount("https://", PromptAdapter())
        request |= {"stream": True, "allow_redirects": False, "auth": _as_it_is}
        with session.request(method, url, **request) as response:
            content = read_answer(response, most_bytes=MAX_ANSWER_BYTES)
            return Answer(status=response.status_code, headers=response.headers, data=content)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No password of the machine's own (`.netrc`) takes the place of the request's credential."""
    return request


def _reason(error: Exception) -> str:
    if isinstance(error, NotConnected | CertificatesMissing):
        return str(error)
    if isinstance(error, requests.Timeout | UrllibTimeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError | UrllibError):
        return "no connection"
    return type(error).__name__
