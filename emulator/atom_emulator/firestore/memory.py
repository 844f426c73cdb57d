"""The coordinator's Store and Listener on the embedded database, in process, for unit and simulation tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from atom_emulator.firestore import errors, queries, writes
from atom_emulator.firestore.aggregation import Aggregation, AggregationKind
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.execution import project
from atom_emulator.firestore.listening import Changes, DocumentsTarget, Listener, QueryTarget, Target, decode_token
from atom_emulator.firestore.paths import parse_field_path
from atom_emulator.firestore.queries import Compare, Cursor, Op, Order
from atom_emulator.firestore.values import Fields, Reference, from_micros
from atom_emulator.firestore.writes import Precondition, Put, Record, Remove, Transform, TransformKind
from atom_workflows.errors import AlreadyExists, Conflict, NotStorable, StoreError, StoreUnavailable
from atom_workflows.listening import Batch, Bookmark
from atom_workflows.ports import Create, Document, Query, Update, Upsert, Write, WriteResult

_COUNT: Final = Aggregation(kind=AggregationKind.COUNT)

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""The exact types of most values, which need neither copying nor conversion."""

_UNCHANGEABLE: Final = _PLAIN | {datetime}
"""The exact types of most stored values that need no copying."""


class MemoryStore:
    """Implements `atom_workflows.ports.Store`. Stored data is never shared with the caller.

    A request that Firestore answers with INVALID_ARGUMENT raises `StoreError` itself. Raises `StoreUnavailable` only if
    the `database` is kept in a file.
    """

    def __init__(
        self, now: Callable[[], datetime] = lambda: datetime.now(UTC), database: Database | None = None
    ) -> None:
        self.database = database or Database(now)

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """Return the documents in the requested order.

        A missing document is None. The documents have all their fields unless some are named.
        """
        with translate_errors():
            records, _ = self.database.get(paths)
        if fields is not None:
            selected = tuple((name,) for name in fields)
            records = [record and project(record, selected) for record in records]
        return [to_document(record) if record else None for record in records]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Apply all the writes or none, and return results in their order."""
        if len({write.path for write in writes}) != len(writes):
            raise NotStorable("a commit names a document twice")
        with translate_errors():
            done = self.database.commit([_to_core(write) for write in writes])
        return [
            WriteResult(
                version=outcome.updated,
                increments=dict(zip(write.increments, outcome.transformed, strict=True))
                if isinstance(write, Update | Upsert)
                else {},
            )
            for write, outcome in zip(writes, done.outcomes, strict=True)
        ]

    def delete(self, *paths: str) -> None:
        """Delete documents, as people and TTL policies do; the coordinator deletes none. Documents below them stay."""
        self.database.commit([Remove(path=path) for path in paths])

    def query(self, query: Query) -> list[Document]:
        """Return the matching documents.

        They have all their fields unless the query selects some.
        """
        with translate_errors():
            records, _ = self.database.query(to_core_query(query))
        return [to_document(record) for record in records]

    def count(self, query: Query) -> int:
        """Return how many documents match."""
        with translate_errors():
            values, _, _ = self.database.aggregate(to_core_query(query), [_COUNT])
        return int(values[0] or 0)


class MemoryListener:
    """Implements `atom_workflows.listening.Listener` on the documents of an in-process store."""

    def __init__(self, store: MemoryStore) -> None:
        self._database = store.database

    def listen(self, query: Query, *, since: Bookmark | None = None) -> MemoryListening:
        """See `listening.Listener.listen`."""
        # Firestore refuses to listen to some fields, so what is shown is cut.
        whole = replace(query, fields=None)
        return MemoryListening(self._database, lambda: QueryTarget(to_core_query(whole)), since, query.fields)

    def listen_to(self, paths: Sequence[str], *, since: Bookmark | None = None) -> MemoryListening:
        """See `listening.Listener.listen_to`."""
        if not paths:
            raise ValueError("there is no document to listen to")
        return MemoryListening(self._database, lambda: DocumentsTarget(paths), since)


_TARGET: Final = 1


class MemoryListening:
    """Looks at the database when it is asked for a batch, so it needs no thread. Other threads may only call `close`.

    Waiting times are in real time, so pass 0 where time is virtual.
    """

    def __init__(
        self,
        database: Database,
        make_target: Callable[[], Target],
        since: Bookmark | None,
        fields: Sequence[str] | None = None,
    ) -> None:
        self.documents_read = 0
        self._fields = None if fields is None else tuple((name,) for name in fields)
        self._database = database
        self._changed = threading.Condition()
        self._is_woken = self._is_first = True
        self._is_closed = False
        self._refusal: StoreError | None = None
        self._token = since.token if since else b""
        self._versions: dict[str, int] = dict(since.versions) if since else {}
        self._listener = Listener(self._wake)
        try:
            database.listen(self._listener, _TARGET, make_target(), decode_token(self._token) if since else None)
        except errors.FirestoreError as error:
            self._refusal = StoreError(f"Firestore refused to listen: {error}")

    def take(self, within_s: float) -> Batch | None:
        """See `listening.Listening.take`."""
        until = time.monotonic() + within_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_woken or self._is_closed, max(0.0, until - time.monotonic()))
                if self._is_closed or not self._is_woken:
                    return None
                if self._refusal is not None:
                    raise self._refusal
                self._is_woken = False
            batch = self._look()
            if self._is_first or any(batch[:3]):
                self._is_first = False
                return batch

    def _look(self) -> Batch:
        looked, point = self._database.look(self._listener)
        changes = looked.get(_TARGET, Changes())
        self.documents_read += len(changes.shown)
        self._token = point.encode()
        shown = [one for one in changes.shown if self._versions.get(one.path) != one.updated]
        news = [to_document(one if self._fields is None else project(one, self._fields)) for one in shown]
        there = {one.path for one in changes.shown}
        gone = self._versions.keys() - there if changes.is_reset else {*changes.left, *changes.deleted}
        batch = Batch(
            added=[one for one in news if one.path not in self._versions],
            changed=[one for one in news if one.path in self._versions],
            removed=[path for path in gone if path in self._versions],
            read_time=from_micros(point.time),
        )
        for path in batch.removed:
            del self._versions[path]
        self._versions |= {one.path: one.updated for one in changes.shown}
        return batch

    def bookmark(self) -> Bookmark | None:
        """See `listening.Listening.bookmark`."""
        return Bookmark(self._token, dict(self._versions)) if self._token else None

    def close(self) -> None:
        """See `listening.Listening.close`."""
        self._database.stop_listening(self._listener)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate the database's errors into those of the port."""
    try:
        yield
    except errors.AlreadyExists as error:
        raise AlreadyExists(str(error)) from error
    except (errors.NotFound, errors.FailedPrecondition, errors.Aborted) as error:
        raise Conflict(str(error)) from error
    except errors.Unavailable as error:
        raise StoreUnavailable(str(error)) from error
    except errors.FirestoreError as error:
        raise NotStorable(str(error)) from error


def to_document(record: Record) -> Document:
    """Convert a stored document into the port's form, sharing nothing."""
    return Document(path=record.path, fields=_copy(record.fields), version=record.updated)


def _copy(value: Any) -> Any:
    """Return a copy of a stored value, whose types are exact."""
    if type(value) is dict:
        return {name: item if type(item) in _UNCHANGEABLE else _copy(item) for name, item in value.items()}
    if type(value) is list:
        return [item if type(item) in _UNCHANGEABLE else _copy(item) for item in value]
    return value


def _normalize(value: Any) -> Any:
    """Return a copy made of the exact types that the database holds.

    Google's client does the same when it encodes a value.
    """
    # The check for a mapping comes last of these, as it takes longest.
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else _normalize(item) for item in value]
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    if isinstance(value, Mapping):
        return {str(name): item if type(item) in _PLAIN else _normalize(item) for name, item in value.items()}
    for kind in (str, int, float):
        if isinstance(value, kind) and not isinstance(value, bool):
            return value if type(value) is kind else kind(value)
    return value


def _to_core(write: Write) -> writes.Write:
    fields: Fields = _normalize(write.fields)
    if isinstance(write, Create):
        return Put(path=write.path, fields=fields, precondition=writes.ABSENT)
    return Put(
        path=write.path,
        fields=fields,
        mask=tuple((name,) for name in fields),
        transforms=tuple(
            Transform((name,), TransformKind.INCREMENT, amount) for name, amount in write.increments.items()
        ),
        precondition=_guard(write),
    )


def _guard(write: Update | Upsert) -> Precondition:
    if isinstance(write, Upsert):
        return writes.ANY
    if write.guard is None:
        return writes.PRESENT
    if not isinstance(write.guard, int):
        raise StoreError(f"{write.guard!r} is not a version of this store")
    return Precondition(updated=write.guard)


def to_core_query(query: Query) -> queries.Query:
    """Convert the port's query into the database's form."""
    parent, _, collection = query.collection.rpartition("/")
    conditions = tuple(
        Compare(parse_field_path(name), Op(operator), _normalize(value)) for name, operator, value in query.where
    )
    start = None
    if query.after is not None:
        *values, path = query.after
        start = Cursor((*map(_normalize, values), Reference("", path)), before=False)
    return queries.Query(
        collection=collection,
        parent=parent,
        group=query.group,
        where=queries.All(conditions) if conditions else None,
        order_by=tuple(Order(parse_field_path(name), direction == "descending") for name, direction in query.order_by),
        start=start,
        limit=query.limit,
        select=None if query.fields is None else tuple(map(parse_field_path, query.fields)),
    )
