"""Uploads to Cloud Storage's JSON API, against a server that answers as the API does."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from atom_workflows.adapters.storage import upload
from atom_workflows.adapters.storage.upload import StorageUpload
from atom_workflows.errors import SourceError, SourceForbidden, SourceNotFound, SourceUnavailable
from contract.canned import answer, canned

CONTENT = "name: flow # Grüße\n".encode()
DONE = json.dumps({"generation": "12"}).encode()
REFUSALS: dict[str, tuple[type[SourceError], str]] = {
    "404 Not Found": (SourceNotFound, "there is no bucket flows"),
    "400 Bad Request": (SourceNotFound, "not a valid name for an object"),
    "403 Forbidden": (SourceForbidden, "roles/storage.objectUser"),
    "429 Too Many Requests": (SourceUnavailable, "HTTP 429"),
    "503 Service Unavailable": (SourceUnavailable, "HTTP 503"),
}


@pytest.mark.parametrize("name", ["workflows/a b.yaml", "ü/世界.yaml", "a%2Fb.yaml", "?x=1#y&z"])
def test_an_object_is_written_whatever_its_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An object's name is one value of the query, whatever it holds."""
    with canned(lambda _asked, _connection: answer(DONE)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        assert StorageUpload().upload(f"gs://flows/{name}", CONTENT) == "12"
    [asked] = server.asked
    address = urlsplit(asked.target)
    assert (asked.method, asked.body, address.path) == ("POST", CONTENT, "/upload/storage/v1/b/flows/o")
    assert parse_qs(address.query) == {"uploadType": ["media"], "name": [name]}


@pytest.mark.parametrize("status", REFUSALS)
def test_each_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """A refusal is reported with the service's words and what to do."""
    said = json.dumps({"error": {"message": "the service's\nown words"}}).encode()
    with canned(lambda _asked, _connection: answer(said, status)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        kind, sentence = REFUSALS[status]
        with pytest.raises(kind, match=sentence) as caught:
            StorageUpload().upload("gs://flows/workflows/a.yaml", CONTENT)
    assert "(the service's own words)" in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"generation": "x"}', b"x" * 200_000])
def test_an_answer_without_a_generation_is_unavailable(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """An answer without a generation is SourceUnavailable."""
    with canned(lambda _asked, _connection: answer(body)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(SourceUnavailable, match="has no generation"):
            StorageUpload().upload("gs://flows/workflows/a.yaml", CONTENT)


def test_an_upload_without_an_answer_may_have_failed(
    monkeypatch: pytest.MonkeyPatch, refusing_address: str, silent_address: str
) -> None:
    """An upload without an answer may not have been written."""
    monkeypatch.setattr(upload, "TIMEOUT_S", (0.3, 0.3))
    for address in (refusing_address, silent_address):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        with pytest.raises(SourceUnavailable, match="may not have been written"):
            StorageUpload().upload("gs://flows/workflows/a.yaml", CONTENT)


@pytest.mark.parametrize("path", ["", "a.yaml", "gs://flows", "gs://flows/..", "gs://B/x"])
def test_what_is_no_path_of_an_object_is_not_found(path: str) -> None:
    """A path that is no object's is not found, and nothing is requested."""
    with pytest.raises(SourceNotFound, match="gs://bucket/object"):
        StorageUpload().upload(path, CONTENT)
