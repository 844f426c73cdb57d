"""HTTP requests with limits on the whole response's time and size.

The timeout of `requests` limits each wait for bytes, so a server that sends a byte now and then can hold up a caller
indefinitely. Here, the timeout limits the response as a whole, from the request to the last byte.

A failure to connect raises a separate error, since nothing was sent. A connection is reused only within a second of its
last use: a single-threaded server serves no one else while the connection is open, and a server that closes idle
connections might close it just as the next request is sent.

google-auth is given `BriefRequest`, because its own transport waits for minutes, retries often, follows redirects and
logs whole headers at debug level.
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
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

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
"""How long an idle connection stays open."""

CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that may name a file of trusted certificates. The first one that is set is used."""

_PIECE: Final = 64 * 1024


class _DropAll(logging.Filter):
    """Drops every log record: urllib3 logs whole URLs and unparsable headers."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 (every record is dropped)
        return False


for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_DropAll())


class AnswerTooLarge(requests.RequestException):
    """The response is larger than allowed."""


class NotConnected(HTTPError):
    """The connection failed, so nothing was sent. The message explains why."""


class CertificatesMissing(requests.RequestException):
    """An environment variable names a certificate file that does not exist."""


class PromptAdapter(HTTPAdapter):
    """A transport adapter for `requests` whose read timeout limits the whole response.

    Like other clients, it trusts the certificates that the environment names; `requests` leaves that to a session.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """See `HTTPAdapter.send`. Also raises `CertificatesMissing`."""
        if kwargs.get("verify", True) is True and str(request.url).startswith("https"):
            name = next(filter(os.environ.get, CERTIFICATES), "")
            path = os.environ.get(name, "")
            if path and not Path(path).exists():
                raise CertificatesMissing(f"{name} names {path}, which does not exist")
            kwargs["verify"] = path or True
        return super().send(request, *args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See `HTTPAdapter.init_poolmanager`."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def close_idle(self) -> int:
        """Close connections that have been idle for a while.

        Returns how many idle connections are still open.
        """
        pools = [self.poolmanager.pools.get(key) for key in self.poolmanager.pools.keys()]  # noqa: SIM118 (`pools` cannot be iterated over)
        return sum(pool.close_idle() for pool in pools if isinstance(pool, _BriefKeepAlive))


class IdleCloser:
    """Closes an adapter's idle connections on a thread that then ends.

    A cloud function gets no CPU time between events, so its idle connections may stay open until the next event.
    """

    def __init__(self, adapter: PromptAdapter) -> None:
        self._adapter = adapter
        self._lock = threading.Lock()
        self._is_running = False

    def watch(self) -> None:
        """Arrange for recently used connections to be closed once they are idle."""
        if self._is_running:
            return
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="idle-connections", daemon=True).start()
        except RuntimeError:  # the process is ending or out of threads; no call should fail because of that
            self._is_running = False

    def _run(self) -> None:
        while True:
            time.sleep(KEEP_ALIVE_S)
            with self._lock:
                # Clear this first, so that a caller that uses a connection after this check starts another thread.
                self._is_running = False
                if not self._adapter.close_idle():
                    return
                self._is_running = True


def pieces_of(response: requests.Response) -> Iterator[bytes]:
    """Yield the decompressed body of a response as it arrives.

    May raise any error of `requests` or urllib3.
    """
    while chunk := response.raw.read1(_PIECE, decode_content=True):
        yield chunk


def read_answer(response: requests.Response, *, most_bytes: int) -> bytes:
    """Read the whole body of a response.

    Raises `AnswerTooLarge`, or any error of `requests` or urllib3.
    """
    content = bytearray()
    for chunk in pieces_of(response):
        content += chunk
        if len(content) > most_bytes:
            raise AnswerTooLarge
    return bytes(content)


class _DeadlineStream(io.RawIOBase):
    """Reads a connection's bytes until the deadline for the whole response."""

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
            # Each wait may take all of the remaining time.
            self._connection.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # http.client reads the whole response from this file, including the headers.
        self.fp = io.BufferedReader(_DeadlineStream(self.fp.detach(), sock))


class _ReportsConnectErrors:
    """A mixin for connections that distinguishes connection failures from later ones."""

    idle_since: float = 0.0

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]  # defined by the connection class
        except (OSError, HTTPError) as error:
            reason = _explain_no_connection(error, cast("HTTPConnection", self))
        else:
            return
        raise NotConnected(reason)


class _SendsAtOnce:
    """A mixin for connections that sends a request's headers and body together.

    Otherwise, they would be sent in two packets, and the server would have to wait for the second.
    """

    _held: list[bytes] | None = None

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        inherited: Any = super()
        if not isinstance(body, bytes) or len(body) > _PIECE:
            inherited.request(method, url, body, headers, **options)
            return
        held = self._held = []
        try:
            inherited.request(method, url, body, headers, **options)
        finally:
            self._held = None
        inherited.send(b"".join(held))

    def send(self, data: Any) -> None:
        if self._held is not None:
            self._held.append(data)
        else:
            super().send(data)  # type: ignore[misc]  # defined by the connection class


class _Connection(_ReportsConnectErrors, _SendsAtOnce, HTTPConnection):
    response_class = _Response


class _SecureConnection(_ReportsConnectErrors, _SendsAtOnce, HTTPSConnection):
    response_class = _Response


def _explain_no_connection(error: Exception, connection: HTTPConnection) -> str:
    """Explain why a connection failed, since each cause needs its own fix."""
    where = f"{connection.host}:{connection.port}"
    cause = error.__cause__ if isinstance(error, HTTPError) else error
    if isinstance(error, NameResolutionError):
        is_temporary = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
        did = "did not respond to a query for" if is_temporary else "has no entry for"
        return f"no connection: DNS {did} the name {connection.host}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"no connection: the certificate of {where} was rejected ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return f"no connection: {where} does not speak TLS ({cause.reason or 'cut short'}); should the URL be http://?"
    if isinstance(error, TimeoutError | ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"no connection to {where} within {connection.timeout or 0:.0f} s"
    if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
        return f"no connection: nothing is listening at {where} (connection refused)"
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause or error).__name__
    return f"no connection to {where}: {detail}"


class _BriefKeepAlive:
    """A mixin for connection pools that never reuses connections idle too long."""

    pool: queue.LifoQueue[Any] | None

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]  # defined by the pool class
        _close_if_stale(connection)
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]  # defined by the pool class

    def close_idle(self) -> int:
        """See `PromptAdapter.close_idle`."""
        pool, left = self.pool, 0
        if pool is None:
            return 0
        taken: list[Any] = []
        with suppress(queue.Empty):
            while True:
                taken.append(pool.get(block=False))
        # Put the most recently used connection back last, so that it is used next.
        for connection in reversed(taken):
            if connection is not None:
                _close_if_stale(connection)
                left += connection.sock is not None
            try:
                pool.put(connection, block=False)
            except queue.Full:  # other threads have returned their connections in the meantime
                if connection is not None:
                    connection.close()
        return left


class _Pool(_BriefKeepAlive, HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(_BriefKeepAlive, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _close_if_stale(connection: Any) -> None:
    """Close a connection that has been idle too long.

    It is reopened when it is next used.
    """
    if connection.sock is not None and time.monotonic() - connection.idle_since >= KEEP_ALIVE_S:
        connection.close()


# -- single requests, for google-auth and for checks -----------------------------------------------------------------

CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 5.0
BUDGET_S: Final = 10.0
MAX_FAILURES: Final = 2
MAX_ANSWER_BYTES: Final = 64 * 1024
"""A token is a few thousand bytes long."""

# google-auth is only partly typed.
_TransportError: Final[Any] = google.auth.exceptions.TransportError


class GaveUp(Exception):
    """A server failed twice or took too long; google-auth does not retry."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Response(NamedTuple):
    """A response as google-auth expects it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class BriefRequest:
    """A `google.auth.transport.Request` for the few requests needed to fetch a token."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + BUDGET_S
        self._failures = 0

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 (google-auth's timeout is longer than we can wait)
    ) -> Response:
        """Send one request.

        Raises `GaveUp`, or google-auth's `TransportError`, after which google-auth may retry.
        """
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise GaveUp("no response in time")
        options: dict[str, Any] = {
            "timeout": (min(CONNECT_TIMEOUT_S, left_s), min(READ_TIMEOUT_S, left_s)),
            "stream": True,
            "allow_redirects": False,
            # Keeps the request's own credential, which would otherwise be replaced by a password from `.netrc`.
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
        return "no response in time"
    if isinstance(error, requests.ConnectionError | UrllibError):
        return "no connection"
    return type(error).__name__


def fetch_status(url: str) -> int:
    """Send a GET request and return the status of the response.

    Raises `TaskRunnerUnavailable` with the reason if there is no response.
    """
    try:
        return BriefRequest()(url).status
    except GaveUp as error:
        reason = error.reason
    except _TransportError as error:
        reason = str(error)
    raise TaskRunnerUnavailable(reason)
