"""The small part of HTTP/1.1 that small servers need, as an asyncio protocol: keep-alive, bodies with Content-Length.

A general server takes several times the CPU time of this one, and every benchmark that runs against it would count that
time as the coordinator's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeAlias, cast

from atom_emulator.web_pages import explain_refusal

MAX_HEAD_BYTES: Final = 65_536
MAX_BODY_BYTES: Final = 10_000_000

_LONGEST_LENGTH: Final = 20

_HEAD_END: Final = b"\r\n\r\n"
_REASONS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One response, sent after `delay_s`; `drop` closes the connection without an answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False

    def encode(self) -> bytes:
        """Return the bytes on the wire.

        The result is one buffer, so that a small answer is sent in one packet.
        """
        start = _REASONS.get(self.status) or f"HTTP/1.1 {self.status} \r\n".encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n{extra}\r\n"
        return start + head.encode("latin-1") + self.body


Handler: TypeAlias = Callable[[Request], Response]


def refuse_web_pages(handler: Handler, *, bound_to: str) -> Handler:
    """Wrap a handler so that requests from web pages get 403.

    `bound_to` is the address that the server listens on.
    """

    def handle(request: Request) -> Response:
        reason = explain_refusal(request.headers, bound_to=bound_to)
        return Response(HTTPStatus.FORBIDDEN, reason.encode(), "text/plain") if reason else handler(request)

    return handle


class BadRequest(ValueError):
    """Bytes that are not a valid request; the connection is closed after the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.response = Response(status, reason.encode(), "text/plain", {"Connection": "close"})


class HttpProtocol(asyncio.Protocol):
    """One connection. Requests are answered in order; while an answer is delayed, the next request waits."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._received = b""
        self._delayed: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, on which asyncio has set TCP_NODELAY."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Discard the answers not yet sent."""
        if self._delayed is not None:
            self._delayed.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received = self._received + data if self._received else data
        self._answer_received()

    def _answer_received(self) -> None:
        while self._transport is not None and self._delayed is None and self._received:
            try:
                request = self._next_request()
            except BadRequest as error:
                self._send(error.response, close=True)
                return
            if request is None:
                return
            self._answer(request)

    def _next_request(self) -> Request | None:
        head_end = self._received.find(_HEAD_END)
        if head_end < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                raise BadRequest(431, "the request's head is too long")
            return None
        method, target, headers = _parse_head(self._received[:head_end])
        body_start = head_end + len(_HEAD_END)
        body_end = body_start + _parse_body_length(headers)
        if len(self._received) < body_end:
            if self._transport is not None and headers.get("expect", "").lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body = self._received[body_start:body_end]
        self._received = self._received[body_end:]
        return Request(method, target, headers, body)

    def _answer(self, request: Request) -> None:
        response = self._handler(request)
        close = response.drop or request.headers.get("connection", "").lower() == "close"
        if response.delay_s <= 0:
            self._send(response, close=close)
            return
        loop = asyncio.get_running_loop()
        self._delayed = loop.call_later(response.delay_s, self._send_delayed, response, close)

    def _send_delayed(self, response: Response, close: bool) -> None:  # noqa: FBT001 - call_later passes by position
        self._delayed = None
        self._send(response, close=close)
        self._answer_received()

    def _send(self, response: Response, *, close: bool) -> None:
        if self._transport is None:
            return
        if not response.drop:
            self._transport.write(response.encode())
        if close:
            self._transport.close()
            self._transport = None


class Connections:
    """The open connections of a server, of which there are at most `most`.

    A connection that sends no complete request within `idle_s` is closed, and so is the longest-idle one if another
    arrives: strangers cannot keep others out by holding connections.
    """

    def __init__(self, *, most: int, idle_s: float) -> None:
        self._most = most
        self._idle_s = idle_s
        # In the order of their last requests.
        self._timers: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def note(self, connection: asyncio.Transport) -> None:
        """Note that a connection was made, or has sent a request."""
        self.forget(connection)
        if len(self._timers) >= self._most:
            oldest = next(iter(self._timers))
            self.forget(oldest)
            oldest.abort()
        loop = asyncio.get_running_loop()
        self._timers[connection] = loop.call_later(self._idle_s, connection.abort)

    def forget(self, connection: asyncio.Transport) -> None:
        """Note that a connection was closed."""
        if (timer := self._timers.pop(connection, None)) is not None:
            timer.cancel()


class BoundedProtocol(HttpProtocol):
    """A connection that counts toward a limit."""

    def __init__(self, handler: Handler, connections: Connections) -> None:
        self._connection: asyncio.Transport | None = None
        self._connections = connections
        super().__init__(self._note_request(handler))

    def _note_request(self, handler: Handler) -> Handler:
        def handle(request: Request) -> Response:
            if self._connection is not None:
                self._connections.note(self._connection)
            return handler(request)

        return handle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self._connection = cast("asyncio.Transport", transport)
        self._connections.note(self._connection)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        super().connection_lost(exc)
        if self._connection is not None:
            self._connections.forget(self._connection)
            self._connection = None


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    parts = start.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        raise BadRequest(400, "not an HTTP/1.1 request")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return parts[0], parts[1], headers


def _parse_body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(411, "send the body with Content-Length")
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequest(400, "Content-Length must be a number")
    # Python refuses to convert a number of thousands of digits.
    if len(length) > _LONGEST_LENGTH or int(length) > MAX_BODY_BYTES:
        raise BadRequest(413, f"a body may have at most {MAX_BODY_BYTES} bytes")
    return int(length)
