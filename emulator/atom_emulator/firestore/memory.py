"""The coordinator's Store on the embedded database, in process, for unit and simulation tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from atom_emulator.firestore import errors, queries, writes
from atom_emulator.firestore.aggregation import Aggregation, AggregationKind
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.execution import project
from atom_emulator.firestore.paths import parse_field_path
from atom_emulator.firestore.queries import Compare, Cursor, Op, Order
from atom_emulator.firestore.values import Fields, Reference
from atom_emulator.firestore.writes import Precondition, Put, Record, Remove, Transform, TransformKind
from atom_workflows.errors import AlreadyExists, Conflict, NotStorable, StoreError, StoreUnavailable
from atom_workflows.ports import Create, Document, Query, Update, Upsert, Write, WriteResult

_COUNT: Final = Aggregation(kind=AggregationKind.COUNT)

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""The exact types of most values, which need neither copying nor conversion."""


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


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise the port's errors for those of the database."""
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
    """Return a document of the port, which shares nothing with the stored one."""
    return Document(path=record.path, fields=_copy(record.fields), version=record.updated)


def _copy(value: Any) -> Any:
    """Return a copy of a stored value, whose types are exact."""
    if type(value) is dict:
        return {name: item if type(item) in _PLAIN else _copy(item) for name, item in value.items()}
    return list(map(_copy, value)) if type(value) is list else value


def _normalize(value: Any) -> Any:
    """Return a copy made of the exact types that the database holds.

    Google's client does the same when it encodes a value.
    """
    if isinstance(value, Mapping):
        return {str(name): item if type(item) in _PLAIN else _normalize(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normalize(item) for item in value]
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
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
    """Return a query of the port as one of the database."""
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
