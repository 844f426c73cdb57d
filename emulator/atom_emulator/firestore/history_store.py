"""The coordinator's Store on a history that is only read: it looks up what is asked for, and loads nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.history import History, KeptDatabase
from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.firestore.writes import Record
from atom_emulator.sqlite_file import SqliteFileError
from atom_workflows.errors import StoreError, StoreUnavailable
from atom_workflows.ports import Document, Query, Write, WriteResult


class HistoryStore:
    """Implements `atom_workflows.ports.Store` for reading only.

    `refuse` is called, and raises, if anything is to be written. A platform may write to the file at the same time.
    Raises `StoreError` if the file cannot be read.
    """

    def __init__(self, file: Path, *, database: str, refuse: Callable[[], NoReturn]) -> None:
        self._refuse = refuse
        with _explained():
            self._kept: KeptDatabase = History(file, read_only=True).database(database)

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        with _explained():
            return _store_of(self._kept.get(paths)).get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Refuse any write."""
        if writes:
            self._refuse()
        return []

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        with _explained():
            return _store_of(self._found(query)).query(query)

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        with _explained():
            return _store_of(self._found(query)).count(query)

    def _found(self, query: Query) -> Iterator[Record]:
        return self._kept.group(query.collection) if query.group else self._kept.collection(query.collection)


class _Some:
    """Some documents of a history, as a database begins with them; see `history.Kept`."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records

    def records(self) -> Iterator[Record]:
        return iter(self._records)

    def last_commit(self) -> int:
        return 0

    def save(self, staged: Mapping[str, Record | None], time: int) -> None:  # noqa: ARG002 - no one commits
        raise Unavailable("a history that is only read cannot be changed")


def _store_of(records: Iterable[Record]) -> MemoryStore:
    return MemoryStore(database=Database(lambda: datetime.now(UTC), _Some(records)))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (SqliteFileError, Unavailable, StoreUnavailable) as error:
        raise StoreError(str(error)) from error
