"""The Store port on a Firestore that refuses: what each of the service's statuses becomes."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.errors import AlreadyExists, Conflict, NotStorable, StoreError, StoreUnavailable
from atom_workflows.ports import Create, Query
from contract.backends import firestore_at
from contract.refusing import Refusing

TEXT = "what the service says"

READS: dict[str, Callable[[FirestoreStore], object]] = {
    "get one": lambda store: store.get(["c/d"]),
    "get two": lambda store: store.get(["c/d", "c/e"]),
    "query": lambda store: store.query(Query(collection="c")),
    "count": lambda store: store.count(Query(collection="c")),
}

OUTAGES: dict[str, type[StoreError]] = dict.fromkeys(
    ("PERMISSION_DENIED", "UNAUTHENTICATED", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE"),
    StoreUnavailable,
)

OF_COMMITS: dict[str, type[StoreError]] = {
    "ALREADY_EXISTS": AlreadyExists,
    # It was tried again until there was no time left: nothing of it took effect.
    "ABORTED": StoreUnavailable,
    "FAILED_PRECONDITION": Conflict,
    "NOT_FOUND": Conflict,
    "INVALID_ARGUMENT": NotStorable,
    **OUTAGES,
}

OF_READS: dict[str, type[StoreError]] = {
    # A query without its index.
    "FAILED_PRECONDITION": StoreError,
    "INVALID_ARGUMENT": StoreError,
    **OUTAGES,
}


@pytest.fixture
def store(refusing: Refusing, monkeypatch: pytest.MonkeyPatch) -> FirestoreStore:
    """Return the adapter on the refusing service."""
    return firestore_at(refusing.address, monkeypatch, call_timeout_s=60, total_timeout_s=0.2)


@pytest.mark.parametrize("status", OF_COMMITS)
def test_what_a_refused_commit_raises(refusing: Refusing, store: FirestoreStore, status: str) -> None:
    """Each refusal of a commit has its own error, with the service's text."""
    refusing.code, refusing.text = grpc.StatusCode[status], TEXT
    with pytest.raises(StoreError, match=TEXT) as caught:
        store.commit([Create(path="c/d", fields={"n": 1})])
    assert type(caught.value) is OF_COMMITS[status]


@pytest.mark.parametrize("status", OF_READS)
@pytest.mark.parametrize("read", READS)
def test_what_a_refused_read_raises(refusing: Refusing, store: FirestoreStore, read: str, status: str) -> None:
    """A read never raises Conflict, since nothing was to be written."""
    refusing.code, refusing.text = grpc.StatusCode[status], TEXT
    with pytest.raises(StoreError, match=TEXT) as caught:
        READS[read](store)
    assert type(caught.value) is OF_READS[status]
