"""What stands in a bucket, and the servers that give it or a token, cost a function no more than they should."""

from __future__ import annotations

import gzip
import socket
import tracemalloc

import google.auth.exceptions
import pytest

from atom_workflows.adapters.http import MAX_ANSWER_BYTES, BriefRequest
from atom_workflows.adapters.storage import source
from atom_workflows.adapters.storage.source import StorageSource
from atom_workflows.errors import SourceNotFound, SourceTooLarge, SourceUnavailable
from contract.canned import Asked, answer, canned


@pytest.mark.parametrize("name", [".", ".."])
def test_no_name_is_a_way_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The names `.` and `..` are no objects, and nothing is requested."""
    with canned(lambda _asked, _connection: answer(b"{}")) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(SourceNotFound):
            StorageSource().read(f"gs://bucket/{name}", None)
    assert server.asked == []


def test_a_compressed_object_is_measured_as_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that unpacks to too much is refused after 4 MB."""
    bomb = gzip.compress(b" " * 400_000_000, compresslevel=1)
    with canned(lambda _asked, _connection: answer(bomb, Content_Encoding="gzip")) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        tracemalloc.start()
        try:
            with pytest.raises(SourceTooLarge):
                StorageSource().read("gs://bucket/a.yaml", None)
            assert tracemalloc.get_traced_memory()[1] < 24_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"])
def test_a_slow_storage_holds_no_one(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """A file that comes slowly is given up."""

    def respond(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(head)
        server.drip(connection, b"x")
        return b""

    monkeypatch.setattr(source, "TIMEOUT_S", (0.3, 0.4))
    with canned(respond) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(SourceUnavailable):
            StorageSource().read("gs://bucket/a.yaml", None)
    assert not server.is_exhausted


def test_a_token_server_cannot_send_too_much() -> None:
    """A token server's answer is limited, and its redirect is not followed."""
    with (
        canned(lambda _asked, _connection: answer(b"x" * (MAX_ANSWER_BYTES + 1))) as server,
        pytest.raises(google.auth.exceptions.TransportError),
    ):
        BriefRequest()(server.url)
    with (
        canned(lambda _asked, _connection: answer(b"{}")) as elsewhere,
        canned(lambda _asked, _connection: answer(b"", "302 Found", Location=elsewhere.url)) as server,
    ):
        assert BriefRequest()(server.url).status == 302
    assert elsewhere.asked == []


def test_a_slow_token_server_holds_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that comes slowly is given up."""

    def respond(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        server.drip(connection, b"x")
        return b""

    monkeypatch.setattr("atom_workflows.adapters.http.READ_TIMEOUT_S", 0.3)
    with canned(respond) as server, pytest.raises(google.auth.exceptions.TransportError):
        BriefRequest()(server.url)
    assert not server.is_exhausted
