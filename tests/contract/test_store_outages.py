"""The Store port on a server that is not there: bounded in time, and in the port's own errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.errors import StoreUnavailable
from atom_workflows.ports import Create, Query
from contract.backends import firestore_at

CALLS: dict[str, Callable[[FirestoreStore], object]] = {
    "get": lambda store: store.get(["c/d"]),
    "commit": lambda store: store.commit([Create(path="c/d", fields={})]),
    "query": lambda store: store.query(Query(collection="c")),
    "count": lambda store: store.count(Query(collection="c")),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("server", ["refusing_address", "silent_address"])
def test_an_unreachable_server_is_an_outage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str, call: str
) -> None:
    """A call raises StoreUnavailable if no one listens or no one answers."""
    address = request.getfixturevalue(server)
    store = firestore_at(address, monkeypatch, call_timeout_s=0.3, total_timeout_s=0.5)
    with pytest.raises(StoreUnavailable):
        CALLS[call](store)
