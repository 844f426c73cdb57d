"""Listeners on the server: who is refused, who is told that it ends, and what is left of those who go."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.history import History
from atom_emulator.firestore.server import FirestoreServer
from atom_emulator.firestore.writes import Put
from atom_workflows.adapters.firestore.listener import FirestoreListener
from atom_workflows.ports import Query
from support.deadline import eventually

NAME: Final = "projects/p/databases/d"
LISTEN: Final = "/google.firestore.v1.Firestore/Listen"
WAIT_S: Final = 60


@pytest.fixture
def server() -> Iterator[FirestoreServer]:
    """Give a server that serves few listeners."""
    server = FirestoreServer(most_listeners=2)
    yield server
    server.stop()


@pytest.fixture
def listen(server: FirestoreServer) -> Iterator[Callable[[], Stream]]:
    """Give what opens a stream that listens to the collection `c`."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield lambda: Stream(channel)


class Stream:
    """A stream of a listener, by the bare protocol."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stub = channel.stream_stream(
            LISTEN,
            request_serializer=pb.ListenRequest.SerializeToString,
            response_deserializer=pb.ListenResponse.FromString,
        )
        self.call = stub(iter(self.requests.get, None), timeout=WAIT_S)
        request = pb.ListenRequest(database=NAME)
        request.add_target.target_id = 1
        request.add_target.query.parent = f"{NAME}/documents"
        request.add_target.query.structured_query.from_.add(collection_id="c")
        self.requests.put(request)

    def read(self, count: int) -> list[Any]:
        """Return that many responses."""
        return [next(self.call) for _ in range(count)]


def write(server: FirestoreServer, path: str, **fields: Any) -> None:
    """Write a document."""
    server.service.database(NAME).commit([Put(path=path, fields=fields)])


def test_a_commit_reaches_a_listener(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """A stream stays open and brings what is written later."""
    stream = listen()
    stream.read(3)
    write(server, "c/a", n=1)
    change, _ = stream.read(2)
    assert change.document_change.document.fields["n"].integer_value == 1


def test_listeners_do_not_hold_up_other_calls(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """While streams wait, the one worker thread answers others."""
    streams = [listen() for _ in range(2)]
    for stream in streams:
        stream.read(3)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        counters: Any = channel.unary_unary("/atom.emulator/Counters")
        assert b'"Listen": 2' in counters(b"", timeout=WAIT_S)


def test_listeners_beyond_the_limit_are_refused(listen: Callable[[], Stream]) -> None:
    """One listener too many gets a sentence, and the others go on."""
    streams = [listen() for _ in range(2)]
    for stream in streams:
        stream.read(3)
    refused = listen()
    with pytest.raises(grpc.RpcError, match="this Firestore serves up to 2 listeners"):
        refused.read(1)
    assert refused.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_whoever_cancels_is_forgotten(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """A cancelled stream makes room for another one."""
    stream = listen()
    stream.read(3)
    assert server.listeners == 1
    stream.call.cancel()
    eventually(lambda: server.listeners == 0, within_s=WAIT_S, what="the listener is forgotten")


def test_a_stream_without_further_requests_ends(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """A client that says that it has no more requests gets a proper end."""
    stream = listen()
    stream.read(3)
    stream.requests.put(None)
    assert list(stream.call) == []
    assert stream.call.code() is grpc.StatusCode.OK
    eventually(lambda: server.listeners == 0, within_s=WAIT_S, what="the listener is forgotten")


def test_a_server_that_stops_tells_its_listeners(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """At shutdown a stream ends with a status that makes clients connect again."""
    stream = listen()
    stream.read(3)
    server.stop()
    with pytest.raises(grpc.RpcError, match="shutting down"):
        stream.read(1)
    assert stream.call.code() is grpc.StatusCode.UNAVAILABLE


def test_whoever_does_not_read_is_not_sent_more(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """A listener that does not read gets the newest version of each document later, and not every one."""
    stream = listen()
    stream.read(3)
    large = "x" * 500_000
    for number in range(200):
        write(server, "c/a", n=number, text=large)
    numbers = []
    while 199 not in numbers:
        (response,) = stream.read(1)
        if response.WhichOneof("response_type") == "document_change":
            numbers.append(response.document_change.document.fields["n"].integer_value)
    assert len(numbers) < 100


def test_a_server_can_stop_while_someone_does_not_read(server: FirestoreServer, listen: Callable[[], Stream]) -> None:
    """A listener that is stuck does not keep the server from ending."""
    stream = listen()
    stream.read(3)
    for number in range(40):
        write(server, f"c/{number}", text="x" * 500_000)
    server.stop()
    eventually(lambda: server.listeners == 0, within_s=WAIT_S, what="the listener has gone")


def test_a_listener_outlives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart on the same history, a listener connects again and is told only what differs."""
    file = tmp_path / "history.db"
    with closing(History(file)) as history:
        first = FirestoreServer(history=history)
        for name in "abc":
            write(first, f"c/{name}", n=1)
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{first.port}")
        listening = FirestoreListener(project="p", database="d").listen(Query(collection="c"))
        batch = listening.take(WAIT_S)
        assert batch is not None
        assert len(batch.added) == 3
        first.stop()
    lost = listening.take(WAIT_S)
    assert lost is not None
    assert not lost.is_current
    with closing(History(file)) as history:
        # As another platform might have done in between.
        history.database(NAME).save({"c/b": None}, 0)
        second = FirestoreServer(first.port, history=history)
        back = listening.take(WAIT_S)
        assert back is not None
        assert (back.is_current, back.added, back.changed, back.removed) == (True, [], [], ["c/b"])
        listening.close()
        second.stop()


def test_other_users_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server for one user refuses listeners of others."""
    monkeypatch.setattr("atom_emulator.firestore.server.is_same_user", lambda *_, **__: False)
    server = FirestoreServer(same_user=True)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stream = Stream(channel)
        with pytest.raises(grpc.RpcError, match="only the user who started it"):
            stream.read(1)
        assert stream.call.code() is grpc.StatusCode.PERMISSION_DENIED
    server.stop()
