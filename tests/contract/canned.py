"""A loopback HTTP server that gives the answers of a test, byte by byte, and counts its connections."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPMessage, parse_headers
from io import BufferedIOBase
from typing import Final, TypeAlias

HOUR: Final = timedelta(hours=1)
"""The time that the attempts of the tests have left."""

_BETWEEN_DROPS_S: Final = 0.05
_DROPS: Final = 400
"""Twenty seconds of them: the clients under test give up after less than one, and on a busy machine a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: HTTPMessage
    body: bytes


Respond: TypeAlias = Callable[[Asked, socket.socket], bytes]
"""Gives the bytes to answer with (none closes the connection), or writes to the connection itself."""


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole HTTP response.

    Header names are given with _ for -.
    """
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@dataclass(slots=True)
class Canned:
    """The server's side of the story."""

    respond: Respond
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    is_exhausted: bool = False

    def drip(self, connection: socket.socket, drop: bytes) -> None:
        """Send pieces slowly until the client goes or the block ends.

        `is_exhausted` if the client took more pieces than any that bounds its time would.
        """
        for _ in range(_DROPS):
            if self.over.wait(_BETWEEN_DROPS_S):
                return
            connection.sendall(drop)
        self.is_exhausted = True


class _OneThread(socketserver.TCPServer):
    def __init__(self, canned: Canned) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.canned = canned


class _Server(socketserver.ThreadingMixIn, _OneThread):
    daemon_threads = True
    block_on_close = False


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _OneThread)
        canned = self.server.canned
        canned.connections += 1
        # A client may go away at any time.
        with suppress(OSError):
            while (asked := _read(self.rfile)) is not None:
                canned.asked.append(asked)
                response = canned.respond(asked, self.connection)
                if not response:
                    return
                self.wfile.write(response)


def _read(stream: BufferedIOBase) -> Asked | None:
    line = stream.readline().decode()
    if not line:
        return None
    method, target, _ = line.split()
    headers = parse_headers(stream)
    return Asked(
        method=method, target=target, headers=headers, body=stream.read(int(headers.get("Content-Length") or 0))
    )


@contextmanager
def canned(respond: Respond, *, one_thread: bool = False) -> Iterator[Canned]:
    """Serve until the block ends, then set `over` for a `respond` that waits.

    A server of one thread stays with a connection until the client closes it.
    """
    story = Canned(respond)
    with (_OneThread if one_thread else _Server)(story) as server:
        story.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield story
        story.over.set()
        server.shutdown()
        thread.join()
