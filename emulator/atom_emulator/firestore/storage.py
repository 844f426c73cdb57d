"""The documents in memory, by path, by collection and by group, with sorted indexes built on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from atom_emulator.firestore.indexes import FieldIndex
from atom_emulator.firestore.paths import FieldPath
from atom_emulator.firestore.queries import Query
from atom_emulator.firestore.writes import Record

SMALL: Final = 32
"""Scopes up to this size are scanned, since an index would not pay off."""

_NO_RECORDS: Final[Mapping[str, Record]] = {}


class Storage:
    """The current documents. Not thread-safe: `Database` holds the lock."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._scopes: dict[str, dict[str, Record]] = {}
        self._indexes: dict[str, dict[FieldPath, FieldIndex]] = {}

    def install(self, path: str, segments: tuple[str, ...], new: Record | None) -> Record | None:
        """Replace a document, and return the old one.

        Without a new document the old one is removed.
        """
        old = self.records.pop(path, None)
        if new is not None:
            self.records[path] = new
        for scope in ("/".join(segments[:-1]), _group(segments[-2])):
            self._install_in(scope, path, new)
            for index in self._indexes.get(scope, _NO_INDEXES).values():
                index.replace(old, new)
        return old

    def _install_in(self, scope: str, path: str, new: Record | None) -> None:
        if new is not None:
            self._scopes.setdefault(scope, {})[path] = new
            return
        members = self._scopes.get(scope)
        if members is not None:
            members.pop(path, None)
            if not members:
                del self._scopes[scope]
                self._indexes.pop(scope, None)

    def scan(self, query: Query) -> Iterable[Record]:
        """Return every document that a query ranges over, in no particular order."""
        members = self._members(query)
        if members is None:
            return (record for record in self.records.values() if in_scope(query, record))
        if query.group and query.parent:
            return (record for record in members.values() if in_scope(query, record))
        return members.values()

    def index(self, query: Query, field: FieldPath) -> FieldIndex | None:
        """Return the index of a field over a query's scope.

        The index is built when it is first needed. Returns None if a scan is good enough.
        """
        members = self._members(query)
        if members is None or len(members) <= SMALL:
            return None
        indexes = self._indexes.setdefault(_scope(query), {})
        if field not in indexes:
            indexes[field] = FieldIndex(field, members.values())
        return indexes[field]

    def _members(self, query: Query) -> Mapping[str, Record] | None:
        return None if query.collection is None else self._scopes.get(_scope(query), _NO_RECORDS)

    def collection_paths(self, parent: str) -> Iterator[str]:
        """Iterate over the collections at any depth below a document.

        An empty `parent` is the root.
        """
        prefix = parent and parent + "/"
        return (scope for scope in self._scopes if not scope.startswith("/") and scope.startswith(prefix))


_NO_INDEXES: Final[Mapping[FieldPath, FieldIndex]] = {}


def _group(collection_id: str) -> str:
    """Return the scope of a collection group.

    No collection's path begins with a slash.
    """
    return "/" + collection_id


def _scope(query: Query) -> str:
    collection = query.collection or ""
    if query.group:
        return _group(collection)
    return f"{query.parent}/{collection}" if query.parent else collection


def in_scope(query: Query, record: Record) -> bool:
    """Return True if a query ranges over a document, before filters."""
    if query.parent and not record.path.startswith(query.parent + "/"):
        return False
    if query.collection is not None and record.segments[-2] != query.collection:
        return False
    parent_depth = query.parent.count("/") + 1 if query.parent else 0
    return query.group or len(record.segments) == parent_depth + 2
