"""Serve the console on loopback."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, ClassVar, Final, Self

import click
from click.globals import pop_context, push_context
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from atom_client.console.actions import actions
from atom_client.console.app import Console, create_app
from atom_client.console.files import files
from atom_client.console.graphs import graphs
from atom_client.console.guard import RESPONSE_HEADERS, refuse
from atom_client.console.histories import histories
from atom_client.console.letters import letters
from atom_client.console.live import live
from atom_client.console.live_steps import live_steps
from atom_client.console.marks import marks
from atom_client.console.runs import runs
from atom_client.console.schedules import schedules
from atom_client.console.starts import starts
from atom_client.console.timelines import timelines
from atom_client.text import mark_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Flask

HOST: Final = "127.0.0.1"
BLUEPRINTS: Final = [
    *(runs, live, live_steps, histories, graphs, timelines),
    *(actions, marks, starts, files, schedules, letters),
]
_ANSWER: Final = "atom_console.answer"


class _Handler(WSGIRequestHandler):
    """Handles requests without logging each one to the terminal.

    They are handled in threads other than the command's, but messages name the command's options.
    """

    of_command: ClassVar[click.Context | None] = None

    def run_wsgi(self) -> None:
        """Handle the request within the command's context."""
        if self.of_command is None:
            return super().run_wsgi()
        push_context(self.of_command)
        try:
            return super().run_wsgi()
        finally:
            pop_context()

    def connection_dropped(
        self,
        error: BaseException,  # noqa: ARG002 (the signature is Werkzeug's)
        environ: WSGIEnvironment | None = None,
    ) -> None:
        """Close the response that a reset connection has interrupted.

        Werkzeug does not close it if reading the rest of the request fails.
        """
        close = getattr((environ or {}).get(_ANSWER), "close", None)
        if close is not None:
            close()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


def _answering(app: WSGIApplication) -> WSGIApplication:
    """Mark times in responses, and pass each response to the handler.

    Each response has its own thread.
    """

    def answered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        mark_times()
        environ[_ANSWER] = answer = app(environ, start_response)
        return answer

    return answered


class ConsoleServer:
    """Serves the console in a thread until it is closed.

    Port 0 means any free port.
    """

    def __init__(self, console: Console, *, port: int = 0) -> None:
        self.app = create_app(console, BLUEPRINTS)
        self._feeds = console.feeds
        self._listen(_answering(self.app), console.token, port)

    def _listen(self, app: WSGIApplication, token: str, port: int) -> None:
        handler = type("Handler", (_Handler,), {"of_command": click.get_current_context(silent=True)})
        # If Werkzeug opened the port itself, it would print its own advice and exit if the port is taken.
        with socket.create_server((HOST, port)) as opened:
            self._server = make_server(HOST, port, app, threaded=True, request_handler=handler, fd=opened.fileno())
        self._thread = threading.Thread(target=self._server.serve_forever, name="console", daemon=True)
        # A fragment is never sent to a server, and so appears in no log.
        self.address = f"http://{HOST}:{self._server.port}/#token={token}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        # A page whose stream ends connects again, which would open other feeds.
        if self._feeds is not None:
            self._feeds.close()


class LaterConsoleServer(ConsoleServer):
    """Serves a console that is created when its page is first opened.

    Until then, it connects to nothing.
    """

    def __init__(self, make: Callable[[], Console], *, token: str) -> None:
        self._make = make
        self._token = token
        self._made: Flask | None = None
        self._making = threading.Lock()
        self._feeds = None
        self._listen(_answering(self._answer), token, 0)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        headers = {name.lower(): value for name, value in request.headers.items()}
        # Any web page can guess the port; nothing is connected for it.
        refused = refuse(request.method, request.path, headers, token=self._token)
        if refused is not None:
            body = json.dumps({"error": refused.sentence})
            refusal = Response(body, refused.status, RESPONSE_HEADERS, mimetype="application/json")
            return refusal(environ, start_response)
        with self._making:
            if self._made is None:
                console = self._make()
                self._feeds, self._made = console.feeds, create_app(console, BLUEPRINTS)
            made = self._made
        return made(environ, start_response)
