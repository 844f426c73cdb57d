"""A proxy for Cloud Storage that refuses web pages, because fake-gcs-server itself would answer every origin.

Clients connect by plain HTTP. The head of a request is checked, and then the connection is forwarded to the server,
which serves only HTTPS, with a certificate that no browser trusts. A connection serves one request.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from atom_emulator.platform.network import HOST
from atom_emulator.web_pages import explain_refusal

_LONGEST_LINE: Final = 65_536
_MOST_LINES: Final = 200
_FOR_THE_DOOR: Final = (b"connection:", b"keep-alive:", b"expect:")
_PIECE: Final = 65_536
_HEAD_END: Final = b"\r\n\r\n"
_OK: Final = b"HTTP/1.1 200 "
_CALL_S: Final = 60.0


class StorageDoor:
    """The proxy that forwards `port` to the server at `https_port`, in threads of this process. Raises `OSError`."""

    def __init__(self, port: int, https_port: int) -> None:
        self._server = _Server(port, https_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="storage door", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening.

        Open connections are closed when the server shuts down.
        """
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, https_port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.https_port = https_port
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE  # The server belongs to this platform and runs on this machine.


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Serve one connection (socketserver calls this)."""
        with suppress(OSError, ValueError):  # The client or the server has closed the connection, or this is not HTTP.
            lines = list(self._lines())
            named = (line.decode("latin-1").partition(":") for line in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in named}
            if reason := explain_refusal(headers, bound_to=HOST):
                body = reason.encode("ascii", "replace")
                head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
                self.wfile.write(head.encode() + b"Connection: close" + _HEAD_END + body)
            elif lines:
                self._relay(lines, headers)

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines of the request's head.

        The lines of the trailer after a chunked body are yielded, too.
        """
        for _ in range(_MOST_LINES):
            line = self.rfile.readline(_LONGEST_LINE)
            if line in {b"", b"\r\n", b"\n"}:
                return
            yield line.rstrip(b"\r\n")

    def _relay(self, lines: list[bytes], headers: dict[str, str]) -> None:
        """Send the whole request, then return the whole answer.

        Two threads cannot use one TLS connection at the same time.
        """
        kept = [line for line in lines if not line.lower().startswith(_FOR_THE_DOOR)]
        with (
            socket.create_connection((HOST, self.server.https_port), timeout=_CALL_S) as plain,
            self.server.tls.wrap_socket(plain) as behind,
        ):
            behind.sendall(b"\r\n".join([*kept, b"Connection: close"]) + _HEAD_END)
            if "expect" in headers:
                self.wfile.write(b"HTTP/1.1 100 Continue" + _HEAD_END)
            for piece in self._body(headers):
                behind.sendall(piece)
            if lines[0].startswith(b"DELETE "):
                # The server sends the body `null`, which gcloud cannot read. Cloud Storage sends none.
                answer = b"".join(iter(lambda: behind.recv(_PIECE), b""))
                done = b"HTTP/1.1 204 No Content\r\nConnection: close" + _HEAD_END
                self.wfile.write(done if answer.startswith(_OK) else answer)
            while piece := behind.recv(_PIECE):
                self.wfile.write(piece)

    def _body(self, headers: dict[str, str]) -> Iterator[bytes]:
        if "transfer-encoding" not in headers:
            yield from self._pieces(int(headers.get("content-length", "0")))
            return
        while size := int((line := self.rfile.readline(_LONGEST_LINE)).partition(b";")[0], 16):
            yield line
            yield from self._pieces(size + len(b"\r\n"))
        yield b"0\r\n\r\n"
        for _ in self._lines():
            pass

    def _pieces(self, length: int) -> Iterator[bytes]:
        while length > 0 and (piece := self.rfile.read(min(length, _PIECE))):
            length -= len(piece)
            yield piece
