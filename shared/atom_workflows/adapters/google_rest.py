"""Call Google's REST APIs with the function's own identity.

No client library is needed beyond google-auth. Connections are pooled, each response has an overall time limit, and no
error quotes a token.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests
from urllib3.exceptions import HTTPError as UrllibError

from atom_workflows.adapters.http import (
    BriefRequest,
    CertificatesMissing,
    GaveUp,
    NotConnected,
    PromptAdapter,
    pieces_of,
)
from atom_workflows.adapters.task_runner.masking import mask_tokens
from atom_workflows.bounded_json import read_json
from atom_workflows.errors import GoogleUnavailable
from atom_workflows.runner.cloud.rest import Api, Call, Reply

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
CONNECT_TIMEOUT_S: Final = 3.05
MAX_TRIES: Final = 3
FIRST_PAUSE_S: Final = 0.5
LONGEST_QUOTE: Final = 500

_AGAIN: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_LEAST_S: Final = 0.2
"""With less time than this left, another try would only be cut short."""

_MOST_VALUES: Final = 100_000
"""A page contains up to a hundred jobs, each with up to a few hundred values."""


class _Transport:
    """A google-auth transport: each token gets a new `BriefRequest` with new limits."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return BriefRequest()(*args, **kwargs)


def default_session(connections: int) -> Any:
    """Return a session whose requests carry this process's own credential.

    Raises google-auth's errors.
    """
    credentials, _ = google.auth.default(scopes=SCOPES)
    session = google.auth.transport.requests.AuthorizedSession(  # type: ignore[no-untyped-call]  # google-auth is only partly typed
        credentials, auth_request=_Transport()
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, PromptAdapter(pool_maxsize=connections))
    return session


@dataclass(slots=True)
class GoogleRestClient:
    """Implements `GoogleRest`. `urls` holds the address of each API.

    The session is created on first use, since gunicorn loads a function before it forks.
    """

    urls: Mapping[Api, str]
    connect: Callable[[], Any]
    sleep: Callable[[float], None] = time.sleep
    _session: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, call: Call) -> Reply:
        """See `GoogleRest.send`."""
        ends_at = time.monotonic() + call.total_s
        sent_before = False
        for tries in range(1, MAX_TRIES + 1):
            try:
                reply = self._try(call, ends_at)
            except GoogleUnavailable as error:
                sent_before = sent_before or not error.nothing_sent
                if not self._may_repeat(call, tries, ends_at, pause_s=_pause_s(tries)):
                    raise GoogleUnavailable(error.reason, nothing_sent=not sent_before) from error
                continue
            pause_s = reply.retry_after_s or _pause_s(tries)
            if reply.status not in _AGAIN or not self._may_repeat(call, tries, ends_at, pause_s=pause_s):
                return replace(reply, is_unsure=sent_before)
            sent_before = sent_before or reply.status == HTTPStatus.SERVICE_UNAVAILABLE
        raise AssertionError("the last try returns or raises")

    def _may_repeat(self, call: Call, tries: int, ends_at: float, *, pause_s: float) -> bool:
        """Return True, after a pause, if another try is allowed."""
        if not call.is_repeatable or tries >= MAX_TRIES or time.monotonic() + pause_s + _LEAST_S > ends_at:
            return False
        self.sleep(pause_s)
        return True

    def _try(self, call: Call, ends_at: float) -> Reply:
        left_s = max(ends_at - time.monotonic(), _LEAST_S)
        options: dict[str, Any] = {
            "params": dict(call.query),
            "timeout": (min(CONNECT_TIMEOUT_S, left_s), left_s),
            "stream": True,
            "allow_redirects": False,
            # A password in `.netrc` would replace the token.
            "auth": lambda request: request,
        }
        if call.body is not None:
            options["json"] = call.body
        try:
            with self._lock:
                if self._session is None:
                    self._session = self.connect()
                session = self._session
            with session.request(call.method, f"{self.urls[call.api]}{call.path}", **options) as response:
                return _read(response, call, str(session.credentials.token or ""))
        except (GaveUp, google.auth.exceptions.GoogleAuthError) as error:
            reason = f"{call.api}: no token for this API ({type(error).__name__})"
            raise GoogleUnavailable(reason, nothing_sent=True) from error
        except (requests.RequestException, UrllibError) as error:
            raise _unavailable(call.api, error) from error


def _read(response: requests.Response, call: Call, token: str) -> Reply:
    content = bytearray()
    is_cut = False
    for piece in pieces_of(response):
        content += piece
        if len(content) > call.most_bytes:
            is_cut = True
            break
    raw = bytes(content[: call.most_bytes])
    document = _object_in(raw) if "json" in response.headers.get("Content-Type", "") and not is_cut else {}
    error = document.get("error")
    message = error.get("message") if isinstance(error, Mapping) else error
    said = " ".join(message.split())[:LONGEST_QUOTE] if isinstance(message, str) else ""
    # Google's APIs do not use dates here.
    wait = response.headers.get("Retry-After", "")
    is_wait = wait.isascii() and wait.isdecimal() and len(wait) < 6  # noqa: PLR2004 (digits of seconds)
    return Reply(
        status=response.status_code,
        document=document,
        content=raw,
        message=mask_tokens(said, [token] if token else []),
        retry_after_s=min(int(wait), 3_600) if is_wait else 0,
        is_cut=is_cut,
    )


def _object_in(raw: bytes) -> Mapping[str, Any]:
    try:
        found = read_json(raw, most_values=_MOST_VALUES)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pause_s(tries: int) -> float:
    return FIRST_PAUSE_S * (1 << (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 (spreads the load; no secret)


def _unavailable(api: Api, error: Exception) -> GoogleUnavailable:
    """Explain why there was no response.

    Only our own errors are quoted, since others may contain URLs and headers.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NotConnected | CertificatesMissing):
            return GoogleUnavailable(f"{api}: {cause}", nothing_sent=True)
        reason = next((one for one in cause.args if isinstance(one, Exception)), None)
        inner = getattr(reason, "reason", reason)
        cause = inner if isinstance(inner, Exception) else cause.__cause__ or cause.__context__
    return GoogleUnavailable(f"{api}: no response in time ({type(error).__name__})")
