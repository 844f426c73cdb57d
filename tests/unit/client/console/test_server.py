"""The console's server: what its requests know about the command, which port it gets, and what it connects to."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Final

import click
import pytest
from flask import Response

from atom_client.cli.console import console_of_platform
from atom_client.cli.platform import LOCAL_PATIENCE_S
from atom_client.console.app import Console
from atom_client.console.feeds import Feeds
from atom_client.console.server import ConsoleServer
from atom_client.deployment import place_meant, place_options
from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from support.workflows import chain

TOKEN: Final = "token"  # noqa: S105 (of consoles in this test)


@pytest.fixture
def command() -> Iterator[None]:
    """Run within a command that was given a project, a database and a prefix."""

    @click.command()
    @place_options
    def some_command() -> None:
        """Do nothing."""

    options = ["--project=my-project", "--database=other", "--topic-prefix=dev-"]
    with some_command.make_context("console", options):
        yield


def get(server: ConsoleServer, path: str) -> http.client.HTTPResponse:
    """Ask the server as its page would."""
    host = server.address.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=30)
    token = server.address.partition("#token=")[2]
    connection.request("GET", f"/api{path}", headers={"X-Atom-Token": token})
    return connection.getresponse()


@pytest.mark.usefixtures("command")
def test_commands_on_the_page_name_the_project() -> None:
    """Requests are answered by other threads than the command's, and still name its options."""
    world = World()
    run_id = world.start(chain(1))
    console = Console(services=world.services, token=TOKEN, place="a test")
    with ConsoleServer(console) as server:
        answered: dict[str, Any] = json.load(get(server, f"/runs/{run_id}/steps/none"))
    options = "--project=my-project --database=other --topic-prefix=dev-"
    assert f"`atom-workflows runs show {run_id} {options}`" in answered["error"]


@pytest.mark.usefixtures("command")
def test_the_place_names_all_that_was_chosen() -> None:
    """Two databases of one project look different in two tabs."""
    assert place_meant() == "my-project (database other, prefix dev-)"


def test_a_port_that_is_taken_is_an_error_without_output(capfd: pytest.CaptureFixture[str]) -> None:
    """The command says it in a sentence of its own, so nothing else is printed."""
    console = Console(services=World().services, token=TOKEN, place="a test")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        ConsoleServer(console, port=taken.getsockname()[1])
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("command")
def test_a_local_console_waits_no_longer_than_other_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local platform that does not answer within seconds will not do so later: it passes on their constant."""
    patience: list[float | None] = []

    def connect(_: object, *, patience_s: float | None = None) -> Any:
        patience.append(patience_s)
        raise OSError("not there")

    monkeypatch.setattr("atom_workflows.bootstrap.connect", connect)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "")
    variables = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    with console_of_platform(variables) as server:
        get(server, "/console").close()
    assert patience == [LOCAL_PATIENCE_S]


class LateFeeds(Feeds):
    """Feeds that ask the server for a page while they are closed."""

    def __init__(self, world: World) -> None:
        super().__init__(MemoryListener(world.store.inner))
        self.host = ""
        self.errors: list[type[Exception]] = []

    def close(self) -> None:
        """Ask, and remember the refusal."""
        host, _, port = self.host.partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=30).close()
        except OSError as error:
            self.errors.append(type(error))
        super().close()


def test_feeds_are_closed_once_no_page_can_open_another_one() -> None:
    """A page that reconnects while Ctrl-C ends its stream finds no server."""
    world = World()
    feeds = LateFeeds(world)
    with ConsoleServer(Console(services=world.services, token=TOKEN, place="a test", feeds=feeds)) as server:
        feeds.host = server.address.removeprefix("http://").partition("/")[0]
    assert feeds.errors == [ConnectionRefusedError]


class Answer:
    """An answer of known length that ends once its page has been left, and that knows whether it was closed."""

    def __init__(self) -> None:
        self.page_left = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield b"all of it"
        assert self.page_left.wait(30)

    def close(self) -> None:
        """Remember it."""
        self.closed.set()


def test_an_answer_is_closed_when_its_page_is_left() -> None:
    """A browser that resets the connection leaves no file or stream open."""
    answer = Answer()
    server = ConsoleServer(Console(services=World().services, token=TOKEN, place="a test"))
    # Werkzeug reads from the connection after such an answer, and does not close the answer if that fails.
    sent = Response(answer, headers={"Content-Length": "9"})
    server.app.add_url_rule("/api/slow", view_func=lambda: sent)
    with server:
        host, _, port = server.address.removeprefix("http://").partition("/")[0].partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as page:
            page.sendall(f"GET /api/slow HTTP/1.0\r\nHost: {host}:{port}\r\nX-Atom-Token: {TOKEN}\r\n\r\n".encode())
            while b"all of it" not in page.recv(1024):
                pass
            # Closed in this way, a connection is reset.
            page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        answer.page_left.set()
        assert answer.closed.wait(10)
