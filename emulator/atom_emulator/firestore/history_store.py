"""The coordinator's Store on a read-only history: it loads only what is requested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.execution import choose, project
from atom_emulator.firestore.history import History, KeptDatabase, Span
from atom_emulator.firestore.memory import to_core_query, to_document, translate_errors
from atom_emulator.firestore.paths import document_segments
from atom_emulator.firestore.values import to_micros
from atom_emulator.firestore.writes import Record
from atom_emulator.sqlite_file import SqliteFileError
from atom_workflows.documents import RUNS
from atom_workflows.errors import StoreError, StoreUnavailable
from atom_workflows.ports import Document, Query, Write, WriteResult


class HistoryStore:
    """Implements `atom_workflows.ports.Store` for reading only.

    `refuse` is called, and raises, on any attempt to write. A platform may write to the file at the same time.
    Raises `StoreError` if the file cannot be read.
    """

    def __init__(self, file: Path, *, database: str, refuse: Callable[[], NoReturn]) -> None:
        self._refuse = refuse
        with _explained():
            self._kept: KeptDatabase = History(file, read_only=True).database(database)

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        with _explained():
            for path in paths:
                document_segments(path)
            found = {record.path: record for record in self._kept.get(dict.fromkeys(paths))}
            if fields is not None:
                selected = tuple((name,) for name in fields)
                found = {path: project(record, selected) for path, record in found.items()}
            return [to_document(found[path]) if path in found else None for path in paths]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Refuse any write."""
        if writes:
            self._refuse()
        return []

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        with _explained():
            return [to_document(record) for record in self._choose(query)]

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        with _explained():
            if query == Query(collection=query.collection):
                return self._kept.size(query.collection)
            return len(self._choose(query))

    def _choose(self, query: Query) -> list[Record]:
        wanted = to_core_query(query)
        newest = _span_of_runs(query)
        if query.group:
            return choose(self._kept.group(query.collection), wanted)
        if newest is not None:
            return choose(self._kept.runs(newest), wanted)
        if query.order_by or any(operator not in {"==", "in"} for _, operator, _ in query.where):
            return choose(self._kept.collection(query.collection), wanted)
        after = query.after[-1] if query.after else ""
        return choose(self._kept.collection(query.collection, after), wanted, in_order=True)


def _span_of_runs(query: Query) -> Span | None:
    """Return the span of a query for the first runs by time.

    Returns None for any other query.
    """
    if query.collection != RUNS or query.limit is None or [name for name, _ in query.order_by] != ["created_at"]:
        return None
    descending = query.order_by[0][1] == "descending"
    # Among the newest runs, those since some time come first.
    if query.where and not (descending and all(one[:2] == ("created_at", ">=") for one in query.where)):
        return None
    after: Sequence[Any] = query.after or ()
    if after and not isinstance(after[0], datetime):
        return None
    place = (to_micros(after[0]), after[1]) if after else None
    return Span(descending=descending, after=place, limit=query.limit)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        with translate_errors():
            yield
    except (SqliteFileError, Unavailable, StoreUnavailable) as error:
        raise StoreError(str(error)) from error
