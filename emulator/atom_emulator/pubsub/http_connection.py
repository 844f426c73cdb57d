"""One keep-alive HTTP/1.1 connection that POSTs, as an asyncio protocol.

It reads only the status, which is all that a push needs, and takes a fraction of a general client's time. A response
without a Content-Length counts as complete after its status line, and the connection is then closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

Answered: TypeAlias = Callable[["HttpConnection", int | None], None]
"""Called once for each request: with the status, or None if the connection was lost or the answer was malformed."""

_MAX_HEAD_BYTES: Final = 64 * 1024
_PROCESSING: Final = 102  # interim in HTTP, but Pub/Sub treats it as an acknowledgement, so it is final here
_FIRST_FINAL: Final = 200
_WITHOUT_BODY: Final = frozenset({204, 304})


class HttpConnection(asyncio.Protocol):
    """A connection with at most one request in progress."""

    def __init__(self, on_lost: Callable[[HttpConnection], None]) -> None:
        self.used = False
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._received = b""

    @property
    def reusable(self) -> bool:
        """True if another request may be sent."""
        return self._transport is not None and self._answered is None and not self._transport.is_closing()

    @property
    def has_received(self) -> bool:
        """True if any part of an answer has arrived."""
        return bool(self._received)

    def post(self, request: bytes, answered: Answered) -> None:
        """Send a complete request."""
        self._answered = answered
        self._received = b""
        if self._transport is None or self._transport.is_closing():
            self._finish(None)
        else:
            self._transport.write(request)

    def abort(self) -> None:
        """Close immediately, without calling back."""
        self._answered = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio calls this)."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the transport (asyncio calls this)."""
        self._transport = None
        self._on_lost(self)
        self._finish(None)

    def data_received(self, data: bytes) -> None:
        """Read more of the answer (asyncio calls this)."""
        if self._answered is None:
            self.abort()  # unrequested bytes: the stream cannot be trusted any more
            return
        self._received += data
        self._read()

    def _read(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > _MAX_HEAD_BYTES:
                self._close_and_finish(None)
            return
        head = self._received[:end].lower()
        # The first line is such as `HTTP/1.1 204 No Content`.
        digits = head[9:12]
        status = int(digits) if head.startswith(b"http/1.") and digits.isdigit() else None
        if status is not None and status < _FIRST_FINAL and status != _PROCESSING:
            self._received = self._received[end + 4 :]
            self._read()
            return
        length = _parse_content_length(head, status)
        if status is None or length is None:
            self._close_and_finish(status)
        elif len(self._received) >= end + 4 + length:
            if b"connection: close" in head or head.startswith(b"http/1.0"):
                self._close_and_finish(status)
            else:
                self.used = True
                self._finish(status)

    def _close_and_finish(self, status: int | None) -> None:
        if self._transport is not None:
            self._transport.close()
        self._finish(status)

    def _finish(self, status: int | None) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(self, status)


def _parse_content_length(head: bytes, status: int | None) -> int | None:
    """Return the body's length, or None if it ends with the connection."""
    if status in _WITHOUT_BODY:
        return 0
    start = head.find(b"\r\ncontent-length:")
    if start < 0 or b"\r\ntransfer-encoding:" in head:
        return None
    digits = head[start + 17 :].split(b"\r\n", 1)[0].strip()
    return int(digits) if digits.isdigit() else None
