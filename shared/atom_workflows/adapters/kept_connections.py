"""HTTP calls over connections that are kept: what every step needs one of.

`requests` and urllib3 take three times the processor time of the standard library's client, on which they stand. What
they add, such as redirects, cookies, and proxies and passwords from the machine's environment, must not happen to
these calls anyway.
"""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPResponse as UnpackingResponse
from urllib3.util import wait_for_read

from atom_workflows.adapters.prompt_transport import AnswerTooLarge, PromptResponse, read_answer

KEPT: Final = 64
"""Idle connections to one server. There are few servers: a deployment allows few Task Runners."""


class NoConnection(TimeoutError):
    """There was no connection in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long it may take to connect, and from the request to its answer's last byte; how large that may be."""

    connect_timeout_s: float
    timeout_s: float
    most_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that was read to its end. The headers' names may be asked for in any case."""

    status: int
    headers: HTTPMessage
    content: bytes


class KeptConnections:
    """Calls of a few servers. Safe to use from several threads: a connection has one call at a time."""

    def __init__(self) -> None:
        self._idle: dict[_Server, list[_Connection]] = {}
        weakref.finalize(self, _close_all, self._idle)

    def call(  # noqa: PLR0913 (what an HTTP request is made of)
        self,
        method: str,
        base_url: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        limits: Limits,
    ) -> Answer:
        """The answer to one request, whose path is that of the base URL and `target`.

        Raises `NoConnection` and TimeoutError when time is up, OSError and HTTPException for what goes wrong on the
        way, `AnswerTooLarge`, urllib3's HTTPError for what cannot be unpacked, ValueError for what cannot be sent.
        """
        server = _server(base_url)
        connection = self._idle_connection(server) or _opened(server, limits.connect_timeout_s)
        try:
            connection.sock.settimeout(limits.timeout_s)
            connection.request(method, server.path + target, body, headers)
            response = connection.getresponse()
            content = _content(response, limits.most_bytes)
        except BaseException:
            connection.close()
            raise
        if response.isclosed():
            self._keep(server, connection)
        else:
            connection.close()
        return Answer(status=response.status, headers=response.headers, content=content)

    def _idle_connection(self, server: _Server) -> _Connection | None:
        idle = self._idle.get(server, [])
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # Another thread was faster.
                break
            # There is nothing to read where nothing was asked for, unless the server has closed it.
            if not wait_for_read(connection.sock, timeout=0):
                return connection
            connection.close()
        return None

    def _keep(self, server: _Server, connection: _Connection) -> None:
        idle = self._idle.setdefault(server, [])
        if connection.sock is not None and len(idle) < KEPT:
            idle.append(connection)
        else:
            connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    is_secure: bool
    host: str
    port: int | None
    path: str


@lru_cache(maxsize=64)
def _server(base_url: str) -> _Server:
    """The server at an address, whose path is quoted as it must be; raises ValueError if it is none."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(base_url, None)
    parts = urlsplit(str(prepared.url))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an address of HTTP")
    return _Server(is_secure=parts.scheme == "https", host=parts.hostname, port=parts.port, path=parts.path.rstrip("/"))


class _Connection(HTTPConnection):
    """Sends a request's head and body at once: in two packets they would cost both sides more."""

    response_class = PromptResponse

    def request(self, *args: Any, **kwargs: Any) -> None:
        """See `HTTPConnection.request`."""
        self._pieces: list[bytes] = []
        super().request(*args, **kwargs)
        # Nothing of it stays with the connection: it holds a token.
        request, self._pieces = b"".join(self._pieces), []
        self.sock.sendall(request)

    def send(self, data: Any) -> None:
        """Gather what `HTTPConnection` sends piece by piece."""
        self._pieces.append(data)


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


def _opened(server: _Server, timeout_s: float) -> _Connection:
    """A new connection; raises `NoConnection` or OSError."""
    if server.is_secure:
        connection: _Connection = _SecureConnection(server.host, server.port, timeout=timeout_s, context=_tls())
    else:
        connection = _Connection(server.host, server.port, timeout=timeout_s)
    try:
        connection.connect()
    except TimeoutError:
        connection.close()
        raise NoConnection from None
    return connection


def _close_all(connections: Mapping[_Server, Sequence[_Connection]]) -> None:
    for of_one_server in connections.values():
        for connection in of_one_server:
            connection.close()


@cache
def _tls() -> ssl.SSLContext:
    """What a server's certificate is checked by: the authorities that `requests` knows, on whatever machine."""
    context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _content(response: HTTPResponse, most_bytes: int) -> bytes:
    if "Content-Encoding" in response.headers:
        # Nobody asked for it, but it can be read.
        packed = UnpackingResponse(response, dict(response.headers), preload_content=False)
        return read_answer(packed, most_bytes=most_bytes)
    if response.length is not None and response.length <= most_bytes:
        return response.read()  # Raises IncompleteRead for less.
    content = response.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise AnswerTooLarge
    return content
