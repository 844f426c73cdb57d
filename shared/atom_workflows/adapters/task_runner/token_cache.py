"""One audience's ID token: kept until shortly before it expires, and fetched by one thread for all who want it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.adapters.task_runner.id_tokens import IdToken
from atom_workflows.errors import RequestNotAccepted, TaskRunnerError

RENEW_BEFORE: Final = timedelta(minutes=5)
"""How long before its expiry a token is replaced: longer than a call with it may take, or clocks may differ."""

MIN_USE: Final = timedelta(seconds=30)
"""How long a new token is used at least. A metadata server may hand out the one it has until that expires."""

FAILURE_PAUSE: Final = timedelta(seconds=5)
"""How long a failure answers those who ask next, so that they do not wait in turn for a server that is down."""

REFUSAL_PAUSE: Final = timedelta(seconds=60)
"""How often a refused token is replaced: where every token is refused, another one each call would not help."""

FETCH_WAIT_S: Final = 12.0

_SLOW: Final = "the metadata server or the token endpoint does not answer; it is asked again"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    error: TaskRunnerError
    until: datetime


class CachedToken:
    """The token. Safe to use from several threads; while one is being replaced, the old one serves the others."""

    def __init__(
        self,
        audience: str,
        fetch: Callable[[str], IdToken],
        now: Callable[[], datetime],
        *,
        wait_s: float = FETCH_WAIT_S,
    ) -> None:
        self._audience = audience
        self._fetch = fetch
        self._now = now
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._token: IdToken | None = None
        self._renew_at: datetime | None = None
        self._flight: Future[IdToken] | None = None
        self._failure: _Failure | None = None
        self._refused_at: datetime | None = None

    @property
    def identity(self) -> str:
        """Whose token it is, as far as that is known."""
        token = self._token
        return token.identity if token else ""

    def text(self) -> str:
        """Return the token, fetching it if need be.

        Raises as the fetch does, also if that takes too long.
        """
        with self._lock:
            now = self._now()
            old = self._token if self._token and now < self._token.expires_at else None
            if self._token and self._renew_at and now < self._renew_at:
                return self._token.text
            if self._flight is not None and old is not None:
                return old.text
            self._raise_recent_failure(now)
            flight = self._flight or self._take_off()
        return self._awaited(flight, old).text

    def renewed(self, refused: str) -> str | None:
        """Return another token than the refused one.

        Returns None if there is none, or if one was refused a short while ago.
        """
        with self._lock:
            now = self._now()
            if self._token is not None and self._token.text == refused:
                if self._refused_at is not None and now < self._refused_at + REFUSAL_PAUSE:
                    return None
                self._refused_at = now
                self._token = self._renew_at = None
        other = self.text()
        return None if other == refused else other

    def _raise_recent_failure(self, now: datetime) -> None:
        if self._failure is not None and now < self._failure.until:
            raise self._failure.error.with_traceback(None)

    def _take_off(self) -> Future[IdToken]:
        """Start a fetch on a thread of its own.

        google-auth's own waits cannot be bounded; ours for the thread can.
        """
        flight = self._flight = Future()
        threading.Thread(target=self._fly, args=(flight,), name="id-token", daemon=True).start()
        return flight

    def _fly(self, flight: Future[IdToken]) -> None:
        try:
            token = self._fetch(self._audience)
        except TaskRunnerError as error:
            self._failed(flight, error)
            flight.set_exception(error)
        else:
            self._landed(flight, token)
            flight.set_result(token)

    def _landed(self, flight: Future[IdToken], token: IdToken) -> None:
        with self._lock:
            self._forget(flight)
            self._token = token
            self._renew_at = max(token.expires_at - RENEW_BEFORE, self._now() + MIN_USE)
            self._failure = None

    def _failed(self, flight: Future[IdToken], error: TaskRunnerError) -> None:
        with self._lock:
            if self._flight is flight:
                self._failure = _Failure(error=error, until=self._now() + FAILURE_PAUSE)
            self._forget(flight)

    def _forget(self, flight: Future[IdToken]) -> None:
        if self._flight is flight:
            self._flight = None

    def _awaited(self, flight: Future[IdToken], old: IdToken | None) -> IdToken:
        error: TaskRunnerError
        try:
            return flight.result(self._wait_s)
        except TimeoutError:
            error = RequestNotAccepted(f"no ID token for {self._audience} within {self._wait_s:g} s: {_SLOW}")
            self._failed(flight, error)
        except TaskRunnerError as failure:
            error = failure
        if old is None:
            raise error.with_traceback(None)
        self._use_until_failure_is_over()
        return old

    def _use_until_failure_is_over(self) -> None:
        with self._lock:
            if self._token is not None:
                self._renew_at = self._now() + FAILURE_PAUSE
