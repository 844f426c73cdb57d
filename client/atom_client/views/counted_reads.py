"""Count the documents that a view reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atom_workflows.ports import Document, Query, Store, Write, WriteResult


@dataclass(slots=True)
class CountedReads:
    """Wraps a `ports.Store` and counts documents read, as Firestore bills them."""

    store: Store
    documents: int = 0

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        self.documents += len(paths)
        return self.store.get(paths, fields=fields)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        found = self.store.query(query)
        self.documents += max(1, len(found))
        return found

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        self.documents += 1
        return self.store.count(query)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.store.commit(writes)
