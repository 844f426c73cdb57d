"""The network that fails: what it carries is whole and in order, or the connection is gone."""

from __future__ import annotations

import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from chaos.proxy import Network, Odds, Weather
from chaos.submissions import SubmissionWatch
from chaos.tally import Fault, Tally
from support.deadline import eventually

CALM = {"refused": 0.0, "cut": 0.0, "stalled": 0.0, "delayed": 0.0}
PIECES = [f"piece {place};".encode() for place in range(40)]


class Echoing(socketserver.BaseRequestHandler):
    """Answers with what it was sent."""

    def handle(self) -> None:
        """Echo until the other side hangs up."""
        with suppress(ConnectionError):
            while data := self.request.recv(1000):
                self.request.sendall(data)


@pytest.fixture
def address() -> Iterator[str]:
    """Yield the address of an echoing server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echoing) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def connected(
    address: str, tally: Tally, *, watch: SubmissionWatch | None = None, **odds: float
) -> Iterator[socket.socket]:
    """Yield a connection through a network with these odds."""
    dice = random.Random(7)  # noqa: S311 - nothing secret
    weather = Weather(where="there", odds=Odds(**{**CALM, **odds}), dice=dice, tally=tally, stormy=True)
    with Network() as network:
        proxy = network.proxy("there", lambda: address, weather, listener=watch)
        host, port = proxy.address.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection


def received(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes, fewer if the connection ends before."""
    found = b""
    while len(found) < size and (data := connection.recv(1000)):
        found += data
    return found


def test_what_is_late_is_whole_and_in_order(address: str) -> None:
    """Delays never change what a connection carries."""
    tally = Tally()
    with connected(address, tally, delayed=0.3) as connection:
        for piece in PIECES:
            connection.sendall(piece)
            assert received(connection, len(piece)) == piece
        connection.sendall(b"".join(PIECES))
        assert received(connection, len(b"".join(PIECES))) == b"".join(PIECES)
    assert tally.counts()[Fault.DELAYED, "there"] > 3


def test_a_refused_connection_carries_nothing(address: str) -> None:
    """A refused client sees a reset."""
    tally = Tally()
    with pytest.raises(ConnectionResetError), connected(address, tally, refused=1.0) as connection:
        connection.recv(1)
    assert tally.counts() == {(Fault.REFUSED, "there"): 1}


def test_a_cut_connection_ends(address: str) -> None:
    """After a cut nothing more comes, and it is counted once."""
    tally = Tally()
    with connected(address, tally, cut=1.0) as connection:
        connection.sendall(b"question")
        with suppress(ConnectionResetError):
            assert connection.recv(100) in {b"", b"question"}
    assert tally.counts() == {(Fault.CUT, "there"): 1}


def test_a_server_that_is_not_there_is_noticed() -> None:
    """A client of a dead server is not left waiting."""
    with pytest.raises(ConnectionResetError), connected("127.0.0.1:1", Tally()) as connection:
        connection.recv(1)


def test_an_answer_that_does_not_arrive_is_remembered(address: str) -> None:
    """A lost answer is recorded, unlike one that arrived."""
    watch = SubmissionWatch()
    heard, lost = (b"HTTP/1.1 200 OK\r\nIdempotency-Key: r/%s/1\r\n\r\n" % step for step in (b"heard", b"lost"))
    with connected(address, Tally(), watch=watch) as connection:
        connection.sendall(heard)
        assert received(connection, len(heard)) == heard
    with connected(address, Tally(), watch=watch, cut=1.0) as connection:
        connection.sendall(lost)
        eventually(lambda: watch.unheard_between("r/lost/1", 0, 1e12), within_s=60, what="the lost answer")
    assert not watch.unheard_between("r/heard/1", 0, 1e12)
