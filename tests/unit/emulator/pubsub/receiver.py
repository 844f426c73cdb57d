"""A push endpoint for tests: keeps what it was sent, and answers as a test decides."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[[dict[str, Any]], int]
"""The status for a push body; it may block as long as it likes. 0 closes the connection without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One request as it arrived; `at` is monotonic seconds."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    at: float
    connection: tuple[str, int]


class Receiver:
    """An HTTP/1.1 server on loopback with a queue of what it received."""

    def __init__(self, answer: Answer) -> None:
        self.received: queue.Queue[Push] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer, self.received))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to push to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/projects/p/topics/t?x=1"

    def next(self, timeout_s: float = 10) -> Push:
        """Return the next request in order of arrival.

        Raises `queue.Empty` if none comes.
        """
        return self.received.get(timeout=timeout_s)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(answer: Answer, received: queue.Queue[Push]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.put(
                Push(
                    body=body,
                    headers=dict(self.headers.items()),
                    path=self.path,
                    at=time.monotonic(),
                    connection=self.client_address,
                )
            )
            status = answer(body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler
