"""The server as a process, its counters, and what it does with a broken request."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore

from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.server import FirestoreServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = "projects/p/databases/d"
SERVICE = "/google.firestore.v1.Firestore/"


@pytest.fixture
def server() -> Iterator[FirestoreServer]:
    """Give a server of the test's own."""
    server = FirestoreServer()
    yield server
    server.stop()


@pytest.fixture
def channel(server: FirestoreServer) -> Iterator[grpc.Channel]:
    """Give a bare connection to it."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def call(channel: grpc.Channel, method: str, request: Any, answer: Any) -> Any:
    """Make one unary call of the service."""
    stub = channel.unary_unary(
        SERVICE + method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
    )
    return stub(request, timeout=60)


def counted(channel: grpc.Channel, method: str = "Counters") -> Any:
    """Call a method of the service `atom.emulator`."""
    stub = channel.unary_unary(f"/atom.emulator/{method}", request_serializer=bytes, response_deserializer=bytes)
    return json.loads(stub(b"", timeout=60))


def document(name: str = "", **texts: str) -> Any:
    """Build a document message of text fields."""
    message = pb.Document(name=name)
    for field, text in texts.items():
        message.fields[field].string_value = text
    return message


def test_single_document_calls(channel: grpc.Channel) -> None:
    """Single documents are created, read, updated and deleted, as over REST."""
    parent = f"{ROOT}/documents"
    created = call(
        channel,
        "CreateDocument",
        pb.CreateDocumentRequest(parent=parent, collection_id="c", document=document(a="1", b="2")),
        pb.Document,
    )
    assert created.name.startswith(f"{parent}/c/")
    request = pb.UpdateDocumentRequest(document=document(created.name, a="3"))
    request.update_mask.field_paths.append("a")
    request.mask.field_paths.append("a")
    updated = call(channel, "UpdateDocument", request, pb.Document)
    assert {name: value.string_value for name, value in updated.fields.items()} == {"a": "3"}
    read = call(channel, "GetDocument", pb.GetDocumentRequest(name=created.name), pb.Document)
    assert {name: value.string_value for name, value in read.fields.items()} == {"a": "3", "b": "2"}
    call(channel, "DeleteDocument", pb.DeleteDocumentRequest(name=created.name), pb.Empty)
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, "GetDocument", pb.GetDocumentRequest(name=created.name), pb.Document)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_transaction_may_begin_with_a_read(channel: grpc.Channel) -> None:
    """A read can begin a transaction, whose id is in the first answer."""
    request = pb.BatchGetDocumentsRequest(database=ROOT, documents=[f"{ROOT}/documents/a/b"])
    request.new_transaction.read_write.SetInParent()
    stub = channel.unary_stream(
        SERVICE + "BatchGetDocuments",
        request_serializer=pb.BatchGetDocumentsRequest.SerializeToString,
        response_deserializer=pb.BatchGetDocumentsResponse.FromString,
    )
    first, second = stub(request, timeout=60)
    assert first.transaction
    assert second.missing.endswith("/a/b")
    call(channel, "Commit", pb.CommitRequest(database=ROOT, transaction=first.transaction), pb.CommitResponse)


@pytest.mark.parametrize(
    "request_message",
    [
        pb.CommitRequest(database="nonsense"),
        pb.CommitRequest(database=ROOT, writes=[{"delete": "projects/q/databases/d/documents/a/b"}]),
        pb.CommitRequest(database=ROOT, writes=[{"update": {"name": f"{ROOT}/documents/a"}}]),
        pb.CommitRequest(database=ROOT, writes=[{"update": {"name": f"{ROOT}/documents/a/b", "fields": {"x": {}}}}]),
        pb.CommitRequest(database=ROOT, transaction=b"made-up"),
    ],
    ids=["database", "foreign", "collection", "no value", "transaction"],
)
def test_a_broken_commit_is_an_invalid_argument(channel: grpc.Channel, request_message: Any) -> None:
    """Names, values and transactions that make no sense are the caller's fault."""
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, "Commit", request_message, pb.CommitResponse)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_it_counts_as_firestore_bills(
    server: FirestoreServer, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads, writes, deletes and empty queries are counted as Firestore bills them."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{server.port}")
    client: Any = firestore.Client(
        project="p",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # it has no types
    )
    batch = client.batch()
    for path in ("c/a", "c/b", "c/b/sub/c"):
        batch.set(client.document(path), {"n": 1})
    batch.delete(client.document("c/d"))
    batch.commit()
    client.document("c/missing").get()
    client.collection("c").get()
    client.collection("empty").get()
    client.collection("c").count().get()
    assert counted(channel) == {
        "reads": 1 + 2 + 1 + 1,
        "writes": 3,
        "deletes": 1,
        "written": {"c": 2, "sub": 1},
        "calls": {"Commit": 1, "BatchGetDocuments": 1, "RunQuery": 2, "RunAggregationQuery": 1},
        "refused": {},
    }
    assert counted(channel, "Reset") == {
        "reads": 0,
        "writes": 0,
        "deletes": 0,
        "written": {},
        "calls": {},
        "refused": {},
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_starts_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    """A signal ends the server with code 0, after it reported its address."""
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "atom_emulator.firestore", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = json.loads(process.stdout.readline())
            with grpc.insecure_channel(said["host"]) as channel:
                assert counted(channel)["calls"] == {}
            assert said["pid"] == process.pid
            process.send_signal(number)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert json.loads(ready.read_text()) == said
