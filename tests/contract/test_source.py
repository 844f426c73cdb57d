"""The Source port on Cloud Storage's JSON API, against a server that answers as the API does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from atom_workflows.adapters.storage import source
from atom_workflows.adapters.storage.source import MAX_BYTES, StorageSource
from atom_workflows.errors import SourceError, SourceForbidden, SourceNotFound, SourceTooLarge, SourceUnavailable
from contract.canned import Asked, Canned, answer, canned

CONTENT = "name: flow # Grüße\n".encode()
REFUSALS: dict[str, type[SourceError]] = {
    "404 Not Found": SourceNotFound,
    "403 Forbidden": SourceForbidden,
    "429 Too Many Requests": SourceUnavailable,
    "500 Internal Server Error": SourceUnavailable,
    "503 Service Unavailable": SourceUnavailable,
    "400 Bad Request": SourceNotFound,
}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    """Yield a storage that holds CONTENT under every name, at generation 12."""
    with canned(lambda _asked, _connection: answer(CONTENT, x_goog_generation="12")) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.mark.parametrize("name", ["a.yaml", "workflows/a b.yaml", "ü/世界.yaml", "a%2Fb.yaml", "?x=1#y", "a/../b", "/"])
def test_an_object_is_read_whatever_its_name(storage: Canned, name: str) -> None:
    """An object's name is one part of the path, whatever it holds."""
    assert StorageSource().read(f"gs://my-bucket.x/{name}", None) == (CONTENT, "12")
    address = urlsplit(storage.asked[0].target)
    *front, bucket, o, quoted = address.path.split("/")
    assert (front, bucket, o) == (["", "storage", "v1", "b"], "my-bucket.x", "o")
    assert unquote(quoted) == name
    assert parse_qs(address.query) == {"alt": ["media"]}


def test_a_generation_is_asked_for(storage: Canned) -> None:
    """A requested generation is the one that is read."""
    StorageSource().read("gs://bucket/a.yaml", "1700000000000001")
    query = parse_qs(urlsplit(storage.asked[0].target).query)
    assert query == {"alt": ["media"], "generation": ["1700000000000001"]}


def test_a_host_without_a_scheme_is_taken(storage: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    """STORAGE_EMULATOR_HOST may be host:port, as other clients take it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url.removeprefix("http://"))
    assert StorageSource().read("gs://bucket/a.yaml", None) == (CONTENT, "12")


@pytest.mark.parametrize("status", REFUSALS)
def test_each_refusal_has_its_error(storage: Canned, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """Only a refusal that may pass is SourceUnavailable.

    400 is the answer to a name or generation that no object can have.
    """
    with canned(lambda _asked, _connection: answer(b"reason", status)) as refusing:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", refusing.url)
        with pytest.raises(REFUSALS[status], match=r"gs://bucket/a\.yaml"):
            StorageSource().read("gs://bucket/a.yaml", None)


@pytest.mark.parametrize(
    "path", ["", "a.yaml", "/a.yaml", "http://x/y", "gs://", "gs://bucket", "gs://bucket/", "gs://B/x"]
)
def test_what_is_no_path_of_an_object_is_not_found(storage: Canned, path: str) -> None:
    """A path that is no object's is not found, and nothing is requested."""
    with pytest.raises(SourceNotFound, match="gs://bucket/object"):
        StorageSource().read(path, None)
    assert storage.asked == []


@pytest.mark.parametrize(("size", "fits"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_a_file_has_a_largest_size(monkeypatch: pytest.MonkeyPatch, size: int, *, fits: bool) -> None:
    """A file of the largest size is read, and a larger one refused."""
    with canned(lambda _asked, _connection: answer(b"x" * size)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        if fits:
            assert len(StorageSource().read("gs://bucket/a.yaml", None)[0]) == size
        else:
            with pytest.raises(SourceTooLarge, match=r"gs://bucket/a\.yaml"):
                StorageSource().read("gs://bucket/a.yaml", None)


@pytest.mark.parametrize("server", ["refusing_address", "silent_address"])
def test_an_unreachable_storage_is_unavailable(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """SourceUnavailable is raised if no one listens or no one answers."""
    monkeypatch.setattr(source, "TIMEOUT_S", (0.3, 0.3))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue(server))
    with pytest.raises(SourceUnavailable, match=r"gs://bucket/a\.yaml"):
        StorageSource().read("gs://bucket/a.yaml", None)


def test_half_an_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection cut in the middle never gives half a workflow."""
    cut = answer(CONTENT)[:-5]

    def respond(_asked: Asked, connection: socket.socket) -> bytes:
        connection.sendall(cut)
        return b""

    with canned(respond) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(SourceUnavailable):
            StorageSource().read("gs://bucket/a.yaml", None)
