"""Open transactions: what each has read, and the documents as they were when it began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from atom_emulator.firestore.execution import concerns, run
from atom_emulator.firestore.queries import Query
from atom_emulator.firestore.storage import Storage
from atom_emulator.firestore.writes import Record

IDLE_LIMIT: Final = 60 * 1_000_000
TOTAL_LIMIT: Final = 270 * 1_000_000
"""Limits in microseconds: Firestore ends a transaction after 60 s without a request, and after 270 s in any case."""

Fingerprint: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Transaction:
    """A snapshot, kept as the old versions of documents that changed later, and the reads to check at the commit."""

    read_only: bool
    began: int
    used: int
    before: dict[str, Record | None] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    queries: list[tuple[Query, Fingerprint]] = field(default_factory=list)

    def is_expired(self, now: int) -> bool:
        """Return True if Firestore would have closed the transaction by now."""
        return now - self.used > IDLE_LIMIT or now - self.began > TOTAL_LIMIT

    def get(self, storage: Storage, path: str) -> Record | None:
        """Read a document at the snapshot, and remember having read it."""
        self.paths.add(path)
        return self.before[path] if path in self.before else storage.records.get(path)

    def query(self, storage: Storage, query: Query) -> list[Record]:
        """Run a query at the snapshot, and remember what it found."""
        found = run(storage, query, self.before)
        self.queries.append((query, fingerprint(found)))
        return found

    def is_outdated(self, storage: Storage) -> bool:
        """Return True if anything that the transaction read has changed.

        This includes documents that one of its queries would now find.
        """
        if not self.before or self.read_only:
            return False
        if not self.paths.isdisjoint(self.before):
            return True
        return any(
            concerns(storage, query, self.before) and fingerprint(run(storage, query, {})) != found
            for query, found in self.queries
        )


def fingerprint(found: list[Record]) -> Fingerprint:
    """Return the documents in a result and their versions."""
    return tuple((record.path, record.updated) for record in found)
