"""The ID token for one audience, cached for all callers.

One thread fetches it, and it is kept until shortly before it expires.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.adapters.task_runner.id_tokens import IdToken
from atom_workflows.errors import RequestNotAccepted, TaskRunnerError

# A token is fresh until `_renew_at`. After that, the first caller waits for a new token, while the others keep using
# the old token until it expires. If there is no valid token, all callers wait for the same fetch. A failed fetch is not
# repeated immediately: for a few seconds, callers get its error, or the old token if that is still valid.

RENEW_BEFORE: Final = timedelta(minutes=5)
"""A token is replaced this long before it expires, to allow for the longest call and for clocks that differ."""

MIN_USE: Final = timedelta(seconds=30)
"""A new token is used for at least this long, since a metadata server may return the same token until it expires."""

FAILURE_PAUSE: Final = timedelta(seconds=5)
"""How long callers get the last error without a new fetch, so that they do not all wait for a server that is down."""

REFUSAL_PAUSE: Final = timedelta(seconds=60)
"""How long to wait before replacing another refused token.

If all tokens are refused, fetching a new one for each call does not help.
"""

FETCH_WAIT_S: Final = 12.0

_SLOW: Final = "the metadata server or the token endpoint is not responding; this is usually temporary"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    error: TaskRunnerError
    until: datetime


class CachedToken:
    """Holds a token and renews it. Safe to use from several threads."""

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
        self._fetching: Future[IdToken] | None = None
        self._failure: _Failure | None = None
        self._refused_at: datetime | None = None

    @property
    def identity(self) -> str:
        """The account that the token identifies, or "" if that is not known."""
        token = self._token
        return token.identity if token else ""

    def get(self) -> str:
        """Return the token, fetching it if necessary.

        Raises the errors from fetching it, and `RequestNotAccepted` if fetching takes too long.
        """
        with self._lock:
            now = self._now()
            old = self._token if self._token and now < self._token.expires_at else None
            if self._token and self._renew_at and now < self._renew_at:
                return self._token.text
            if self._fetching is not None and old is not None:
                return old.text
            if self._failure is not None and now < self._failure.until:
                raise self._failure.error.with_traceback(None)
            fetching = self._fetching
            if fetching is None:
                # Fetch on a separate thread: the waits inside google-auth cannot be limited, but ours can.
                fetching = self._fetching = Future()
                threading.Thread(target=self._run_fetch, args=(fetching,), name="id-token", daemon=True).start()
        return self._wait_for(fetching, old).text

    def renew(self, refused: str) -> str | None:
        """Return a token other than the refused one.

        Returns None if there is no other token, or if a different token was refused only a short time ago.
        """
        with self._lock:
            now = self._now()
            if self._token is not None and self._token.text == refused:
                if self._refused_at is not None and now < self._refused_at + REFUSAL_PAUSE:
                    return None
                self._refused_at = now
                self._token = self._renew_at = None
        other = self.get()
        return None if other == refused else other

    def _run_fetch(self, fetching: Future[IdToken]) -> None:
        try:
            token = self._fetch(self._audience)
        except TaskRunnerError as error:
            self._record_failure(fetching, error)
            fetching.set_exception(error)
            return
        with self._lock:
            self._end_fetch(fetching)
            self._token = token
            self._renew_at = max(token.expires_at - RENEW_BEFORE, self._now() + MIN_USE)
            self._failure = None
        fetching.set_result(token)

    def _record_failure(self, fetching: Future[IdToken], error: TaskRunnerError) -> None:
        with self._lock:
            # An abandoned fetch may fail long after a newer fetch began; its failure says nothing about the newer one.
            if self._fetching is fetching:
                self._failure = _Failure(error=error, until=self._now() + FAILURE_PAUSE)
            self._end_fetch(fetching)

    def _end_fetch(self, fetching: Future[IdToken]) -> None:
        if self._fetching is fetching:
            self._fetching = None

    def _wait_for(self, fetching: Future[IdToken], old: IdToken | None) -> IdToken:
        error: TaskRunnerError
        try:
            return fetching.result(self._wait_s)
        except TimeoutError:
            error = RequestNotAccepted(f"no ID token for {self._audience} within {self._wait_s:g} s: {_SLOW}")
            self._record_failure(fetching, error)
        except TaskRunnerError as failure:
            error = failure
        if old is None:
            raise error.with_traceback(None)
        # The old token is still valid: use it until the fetch may be tried again.
        with self._lock:
            if self._token is not None:
                self._renew_at = self._now() + FAILURE_PAUSE
        return old
