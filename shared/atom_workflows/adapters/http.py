"""HTTP requests whose whole answer is bounded in time and size, however it comes.

A timeout of `requests` bounds each wait for bytes, so that a server that sends one now and then holds a caller for as
long as it likes: in the head, in the body or behind it. Here it bounds the answer, from its request to its last byte.

A connection that failed to come about is an error of its own, as nothing was sent. One that came about is used again
only within a second: a server that has one thread serves no one else as long as it is open, and one that closes idle
connections might do so just as a request is under way.

For google-auth there is `BriefRequest`, which is brief and silent: its own transport waits for minutes, tries often,
follows redirects, and at debug level logs whole headers.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final, cast

import google.auth.exceptions
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.exceptions import HTTPError as UrllibError
from urllib3.exceptions import TimeoutError as UrllibTimeout

from atom_workflows.errors import TaskRunnerUnavailable

KEEP_ALIVE_S: Final = 1.0
"""How long an idle connection is kept."""

CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of trusted certificates, the first that is set: those of `requests`, and OpenSSL's."""

_PIECE: Final = 64 * 1024


class _DropAll(logging.Filter):
    """Drops every line: urllib3 logs whole addresses, and headers that it could not read."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 (whatever it says)
        return False


for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_DropAll())


class AnswerTooLarge(requests.RequestException):
    """The answer is larger than any that is expected."""


class NotConnected(HTTPError):
    """There was no connection, so nothing was sent. The text says why, for people."""


class CertificatesMissing(requests.RequestException):
    """The certificates that the environment names are not there."""


class PromptAdapter(HTTPAdapter):
    """The transport adapter of `requests`, whose read timeout bounds the whole answer.

    It trusts the certificates that the environment names, as other clients do; `requests` leaves that to a session.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """See `HTTPAdapter.send`. Raises `CertificatesMissing`, too."""
        if kwargs.get("verify", True) is True and str(request.url).startswith("https"):
            kwargs["verify"] = _find_certificates() or True
        return super().send(request, *args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See `HTTPAdapter.init_poolmanager`."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def close_idle(self) -> int:
        """Close connections that have been idle for a while.

        Returns how many idle ones are left open.
        """
        pools = [self.poolmanager.pools.get(key) for key in self.poolmanager.pools.keys()]  # noqa: SIM118 (no mapping's)
        return sum(pool.close_idle() for pool in pools if isinstance(pool, _BriefKeepAlive))


class IdleCloser:
    """Closes an adapter's connections when they have been idle for a while, on a thread that ends with the last.

    A function has no processor between two events, so there it may take until the next one.
    """

    def __init__(self, adapter: PromptAdapter) -> None:
        self._adapter = adapter
        self._lock = threading.Lock()
        self._is_running = False

    def watch(self) -> None:
        """Close the connections that were just used, once they are idle."""
        if self._is_running:
            return
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="idle-connections", daemon=True).start()
        except RuntimeError:  # the process is ending, or has no room for threads: no call is to fail for that
            self._is_running = False

    def _run(self) -> None:
        while True:
            time.sleep(KEEP_ALIVE_S)
            with self._lock:
                # First, so that who uses a connection after this look has another one begun.
                self._is_running = False
                if not self._adapter.close_idle():
                    return
                self._is_running = True


def pieces_of(response: requests.Response) -> Iterator[bytes]:
    """Yield the body of an answer as it arrives, unpacked.

    Raises as `requests` and urllib3 do.
    """
    while chunk := response.raw.read1(_PIECE, decode_content=True):
        yield chunk


def read_answer(response: requests.Response, *, most_bytes: int) -> bytes:
    """Read the body of an answer as it arrives.

    Raises `AnswerTooLarge`, or as `requests` and urllib3 do.
    """
    content = bytearray()
    for chunk in pieces_of(response):
        content += chunk
        if len(content) > most_bytes:
            raise AnswerTooLarge
    return bytes(content)


def _find_certificates() -> str:
    """Return the path of the certificates that the environment names, or "".

    Raises `CertificatesMissing` if nothing is there.
    """
    name = next(filter(os.environ.get, CERTIFICATES), "")
    path = os.environ.get(name, "")
    if path and not Path(path).exists():
        raise CertificatesMissing(f"{name} names {path}, which does not exist")
    return path


class _DeadlineStream(io.RawIOBase):
    """The bytes of a connection, up to the time at which the whole answer must be there."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw = raw
        self._connection = connection
        timeout_s = connection.gettimeout()
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            # Each wait for bytes may take what is left of the whole time.
            self._connection.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # http.client reads all of an answer from this file, its head included.
        self.fp = io.BufferedReader(_DeadlineStream(self.fp.detach(), sock))


class _ReportsConnectErrors:
    """Mixin of a connection that distinguishes a failure to connect from any later one."""

    idle_since: float = 0.0

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]  # of the connection that this is mixed into
        except (OSError, HTTPError) as error:
            reason = _explain_no_connection(error, cast("HTTPConnection", self))
        else:
            return
        raise NotConnected(reason)


class _Connection(_ReportsConnectErrors, HTTPConnection):
    response_class = _Response


class _SecureConnection(_ReportsConnectErrors, HTTPSConnection):
    response_class = _Response


def _explain_no_connection(error: Exception, connection: HTTPConnection) -> str:
    """Explain why there is no connection, as each cause has another cure."""
    where = f"{connection.host}:{connection.port}"
    cause = error.__cause__ if isinstance(error, HTTPError) else error
    if isinstance(error, NameResolutionError):
        is_temporary = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
        did = "gave no answer for" if is_temporary else "does not know"
        return f"no connection: DNS {did} the name {connection.host}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"no connection: the certificate of {where} is not accepted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return f"no connection: {where} does not speak TLS as expected ({cause.reason or 'cut short'}); is it http://?"
    if isinstance(error, TimeoutError | ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"no connection to {where} within {connection.timeout or 0:.0f} s"
    if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
        return f"no connection: {where} refused it; nothing listens there"
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause or error).__name__
    return f"no connection to {where}: {detail}"


class _BriefKeepAlive:
    """Mixin of a pool that reuses no connection that was idle for long."""

    pool: queue.LifoQueue[Any] | None

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]  # of the pool that this is mixed into
        _close_if_stale(connection)
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]  # likewise

    def close_idle(self) -> int:
        """See `PromptAdapter.close_idle`."""
        pool, left = self.pool, 0
        if pool is None:
            return 0
        taken: list[Any] = []
        with suppress(queue.Empty):
            while True:
                taken.append(pool.get(block=False))
        # The one that was used last is put back last, and so it is the next one to be used.
        for connection in reversed(taken):
            if connection is not None:
                _close_if_stale(connection)
                left += connection.sock is not None
            try:
                pool.put(connection, block=False)
            except queue.Full:  # others have put theirs back meanwhile
                if connection is not None:
                    connection.close()
        return left


class _Pool(_BriefKeepAlive, HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(_BriefKeepAlive, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _close_if_stale(connection: Any) -> None:
    """Close a connection that was idle for long.

    It opens again when it is used.
    """
    if connection.sock is not None and time.monotonic() - connection.idle_since >= KEEP_ALIVE_S:
        connection.close()


# -- one request, for google-auth or to see who answers --------------------------------------------------------------

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
class Response:
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
    ) -> Response:
        """Send one request.

        Raises `GaveUp`, or google-auth's `TransportError`, after which google-auth may retry.
        """
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise GaveUp("no answer in time")
        options: dict[str, Any] = {
            "timeout": (min(CONNECT_TIMEOUT_S, left_s), min(READ_TIMEOUT_S, left_s)),
            "stream": True,
            "allow_redirects": False,
            # The request's own credential is kept; else a password of the machine's (`.netrc`) would replace it.
            "auth": lambda request: request,
        }
        try:
            with requests.Session() as session:
                session.mount("http://", PromptAdapter())
                session.mount("https://", PromptAdapter())
                with session.request(method, url, data=body, headers=headers, **options) as response:
                    content = read_answer(response, most_bytes=MAX_ANSWER_BYTES)
                    answer = Response(status=response.status_code, headers=response.headers, data=content)
        except (requests.RequestException, UrllibError) as error:
            self._count_failure(_explain_briefly(error))
            raise _TransportError(_explain_briefly(error)) from error
        if answer.status == requests.codes.too_many_requests or answer.status >= requests.codes.server_error:
            self._count_failure(f"HTTP {answer.status}")
        return answer

    def _count_failure(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise GaveUp(reason)


def _explain_briefly(error: Exception) -> str:
    if isinstance(error, NotConnected | CertificatesMissing):
        return str(error)
    if isinstance(error, requests.Timeout | UrllibTimeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError | UrllibError):
        return "no connection"
    return type(error).__name__


def fetch_status(url: str) -> int:
    """Return the status of a GET.

    Raises `TaskRunnerUnavailable` with the reason if there is no answer.
    """
    try:
        return BriefRequest()(url).status
    except GaveUp as error:
        reason = error.reason
    except _TransportError as error:
        reason = str(error)
    raise TaskRunnerUnavailable(reason)
