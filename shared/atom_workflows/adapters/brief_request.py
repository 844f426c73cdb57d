"""google-auth's HTTP transport, kept brief: its own patience (minutes, many tries) would outlast a function."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import google.auth.exceptions
import google.auth.transport.requests
import requests

CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 5.0
BUDGET_S: Final = 10.0
MAX_FAILURES: Final = 2

# google-auth is partly typed.
_Request: Final[Any] = google.auth.transport.requests.Request
_TransportError: Final[Any] = google.auth.exceptions.TransportError


class GaveUp(Exception):
    """A server failed twice or too much time went by. Not an error that google-auth retries."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BriefRequest:
    """A `google.auth.transport.Request` for the few requests that one token takes. Follows no redirect."""

    def __init__(self) -> None:
        self._request = _Request()
        self._ends_at = time.monotonic() + BUDGET_S
        self._failures = 0

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 (google-auth's own is longer than we can wait)
    ) -> Any:
        """Send one request; raises `GaveUp`, or google-auth's `TransportError`, which google-auth may retry."""
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise GaveUp("no answer in time")
        timeouts = (min(CONNECT_TIMEOUT_S, left_s), min(READ_TIMEOUT_S, left_s))
        try:
            response = self._request(
                url, method=method, body=body, headers=headers, timeout=timeouts, allow_redirects=False
            )
        except _TransportError as error:
            self._failed(_reason(error.__cause__))
            raise
        if response.status == requests.codes.too_many_requests or response.status >= requests.codes.server_error:
            self._failed(f"HTTP {response.status}")
        return response

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise GaveUp(reason)


def _reason(error: BaseException | None) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
