"""The documents in an SQLite file, so that they outlive the process.

A running server has all documents in memory (storage.py), and writes each commit to the file before it is answered. A
commit is one transaction in SQLite's write-ahead log: the death of any process at any moment leaves all of it or
nothing. With `synchronous=NORMAL` the disk is flushed only when the log is moved into the file, so the last commits may
be lost if the machine itself loses power.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.stored_fields import decode_stored, encode_stored
from atom_emulator.firestore.values import Fields
from atom_emulator.firestore.writes import Record
from atom_emulator.sqlite_file import FileKind, SqliteFileError, check, explain, explained, open_file, transaction

_IS_RUN: Final = "instr(substr(path, 6), '/') = 0 AND substr(path, 1, 5) = 'runs/'"
_CREATED_AT: Final = """
    coalesce(CAST(substr(fields, nullif(instr(fields, '"created_at":{"":["time",'), 0) + 25, 20) AS INTEGER), 0)
"""
"""When a run was created, in microseconds since 1970; 0 if its stored text does not say (see stored_fields.py).

No other time in a run has that name. SQLite's functions for JSON may not be used in an index.
"""

_RUNS_BY_TIME: Final = "runs_by_time"

HISTORY: Final = FileKind(
    what="history",
    application_id=0x41574648,
    version=1,
    schema=(
        """
        CREATE TABLE documents (
            database TEXT,
            path TEXT,
            created INTEGER NOT NULL,
            updated INTEGER NOT NULL,
            fields TEXT NOT NULL,
            PRIMARY KEY (database, path)
        ) WITHOUT ROWID
        """,
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
    # Lists of runs are read without a server, which would have indexes of its own. Only runs are in it.
    indexes=(
        f"CREATE INDEX IF NOT EXISTS {_RUNS_BY_TIME} ON documents (database, {_CREATED_AT}, path) WHERE {_IS_RUN}",
    ),
)

_TABLES: Final = ("documents", "notes")
_INODE: Final = "inode"
_LAST_COMMIT: Final = "last commit"

_MOST_ROWS: Final = 500
"""Documents in one statement; SQLite limits its values."""

_ROWS_READ: Final = 1_000
"""How many documents of a collection are read at a time; the reader may not need more."""

_DELETE: Final = "DELETE FROM documents WHERE database = ? AND path = ?"
_NOTE: Final = "INSERT INTO notes VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"


class Kept(Protocol):
    """Where a `Database` keeps its documents."""

    def records(self) -> Iterator[Record]:
        """Yield every document that is kept."""

    def last_commit(self) -> int:
        """Return a time, in microseconds since 1970, not before that of any earlier commit."""

    def save(self, staged: Mapping[str, Record | None], time: int) -> None:
        """Replace documents, and delete those that are None: all or none.

        Raises `Unavailable`.
        """


class Span(NamedTuple):
    """The first `limit` runs by time; with `after`, a time and a path, the first ones after it."""

    descending: bool
    after: tuple[int, str] | None
    limit: int


class StoredRecord(Record):
    """A document whose fields are decoded on demand; in a long history, most documents are never decoded."""

    __slots__ = ("_text",)
    _text: str

    def __init__(self, path: str, text: str, created: int, updated: int) -> None:
        for name, value in (
            ("path", path),
            ("segments", tuple(path.split("/"))),
            ("created", created),
            ("updated", updated),
            ("_text", text),
        ):
            object.__setattr__(self, name, value)

    @property
    def fields(self) -> Fields:
        """The fields. They are not remembered: decoded, they take several times the memory."""
        return decode_stored(self.path, self._text)


class History:
    """An open file with the documents of any number of databases. Raises `SqliteFileError` if it cannot be used.

    With `afresh`, a database begins without its documents, and only those of runs are kept: a platform started for a
    single run may see and leave behind nothing else. Safe to use from several threads.
    """

    def __init__(self, file: Path, *, afresh: bool = False, read_only: bool = False) -> None:
        self.file = file
        self.afresh = afresh
        self._lock = threading.Lock()
        self._connection = open_file(file, HISTORY, read_only=read_only)
        if not read_only:
            try:
                self._mark_if_new()
            except sqlite3.Error as error:
                self._connection.close()
                raise SqliteFileError(explain(error, file, HISTORY)) from error

    @property
    def is_own(self) -> bool:
        """True unless the file is a copy, or comes from someone else.

        Whoever made it elsewhere could not know which file it would be here.
        """
        return self.note(_INODE) == str(self.file.stat().st_ino)

    def _mark_if_new(self) -> None:
        if not any(self._connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall() for table in _TABLES):  # noqa: S608 - our own tables
            self._connection.execute(_NOTE, [_INODE, str(self.file.stat().st_ino)])

    def check(self) -> None:
        """Look through the whole file for damage. Raises `SqliteFileError`."""
        check(self._connection, self.file, HISTORY)

    def database(self, name: str) -> KeptDatabase:
        """Return the documents of the database `projects/P/databases/D`."""
        return KeptDatabase(self, name)

    def select(self, condition: str, *values: Any) -> Iterator[Record]:
        """Yield the documents that match an SQL condition.

        Raises `Unavailable`.
        """
        for path, text, created, updated in self.rows("path, fields, created, updated", condition, *values):
            yield StoredRecord(path, text, created, updated)

    def rows(self, columns: str, condition: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return some columns of the documents that match an SQL condition.

        Raises `Unavailable`.
        """
        query = f"SELECT {columns} FROM documents WHERE {condition}"  # noqa: S608 - no one else's words
        with self._lock:
            rows: list[tuple[Any, ...]] = self.call(lambda: self._connection.execute(query, values).fetchall())
        return rows

    def write(self, changes: Callable[[Any], None]) -> None:
        """Call a function with the connection, in a transaction.

        Raises `Unavailable` if nothing was written.
        """
        with self._lock:

            def change() -> None:
                with transaction(self._connection):
                    changes(self._connection)

            self.call(change)

    def execute(self, statement: str, values: Sequence[Any]) -> None:
        """Execute one statement, which is a transaction of its own.

        Raises `Unavailable` if nothing was written.
        """
        with self._lock:
            try:
                self._connection.execute(statement, values)
            except sqlite3.Error as error:
                raise Unavailable(explain(error, self.file, HISTORY)) from error

    def note(self, name: str) -> str:
        """Return a note, or an empty string."""
        with self._lock:
            found = self.call(
                lambda: self._connection.execute("SELECT value FROM notes WHERE name = ?", [name]).fetchone()
            )
        return found[0] if found else ""

    def notes(self, prefix: str) -> dict[str, str]:
        """Return the notes whose names begin with a prefix, by the rest of their names."""
        with self._lock:
            rows = self.call(lambda: self._connection.execute("SELECT name, value FROM notes").fetchall())
        return {name.removeprefix(prefix): value for name, value in rows if name.startswith(prefix)}

    def set_notes(self, notes: Mapping[str, str]) -> None:
        """Add notes, or replace those of the same names."""
        self.write(lambda connection: connection.executemany(_NOTE, notes.items()))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def call(self, action: Callable[[], Any]) -> Any:
        """Call a function, and report its errors as `Unavailable`."""
        try:
            with explained(self.file, HISTORY):
                return action()
        except SqliteFileError as error:
            raise Unavailable(str(error)) from error


class KeptDatabase:
    """The documents of one database in a history; see `Kept`."""

    def __init__(self, history: History, name: str) -> None:
        self._history = history
        self._name = name
        self._last = f"{_LAST_COMMIT} {name}"

    def records(self) -> Iterator[Record]:
        """See `Kept.records`."""
        return iter(()) if self._history.afresh else self._history.select("database = ?", self._name)

    def last_commit(self) -> int:
        """See `Kept.last_commit`."""
        return int(self._history.note(self._last) or 0)

    def get(self, paths: Iterable[str]) -> Iterator[Record]:
        """Yield the documents at these paths that exist."""
        for path in paths:
            yield from self._history.select("database = ? AND path = ?", self._name, path)

    def collection(self, path: str, after: str = "") -> Iterator[Record]:
        """Yield the documents directly in a collection, ordered by name.

        With `after`, a path, only those after it are yielded.
        """
        condition, values = self._directly_in(path)
        while True:
            page = list(
                self._history.select(f"{condition} AND path > ? ORDER BY path LIMIT ?", *values, after, _ROWS_READ)
            )
            yield from page
            if len(page) < _ROWS_READ:
                return
            after = page[-1].path

    def size(self, path: str) -> int:
        """Return how many documents are directly in a collection."""
        condition, values = self._directly_in(path)
        if path == "runs":
            condition, values = f"{_IS_RUN} AND database = ?", [self._name]
        return int(self._history.rows("count(*)", condition, *values)[0][0])

    def runs(self, span: Span) -> Iterator[Record]:
        """Yield all runs whose time is unknown, then those of a span."""
        yield from self._history.select(f"{_IS_RUN} AND database = ? AND {_CREATED_AT} <= 0", self._name)
        direction, beyond = ("DESC", "<") if span.descending else ("ASC", ">")
        begin = "" if span.after is None else f"AND ({_CREATED_AT}, path) {beyond} (?, ?)"
        yield from self._history.select(
            f"{_IS_RUN} AND database = ? AND {_CREATED_AT} > 0 {begin} "
            f"ORDER BY {_CREATED_AT} {direction}, path {direction} LIMIT ?",
            *(self._name, *(span.after or ()), span.limit),
        )

    def _directly_in(self, path: str) -> tuple[str, list[Any]]:
        """Return the condition for a collection's own documents, and its values."""
        prefix = f"{path}/"
        # A slash is followed by a zero in ASCII.
        condition = "database = ? AND path > ? AND path < ? AND instr(substr(path, ?), '/') = 0"
        return condition, [self._name, prefix, f"{path}0", len(prefix) + 1]

    def below(self, path: str) -> Iterator[Record]:
        """Yield the documents below a document, at any depth."""
        return self._history.select("database = ? AND path > ? AND path < ?", self._name, f"{path}/", f"{path}0")

    def group(self, name: str) -> Iterator[Record]:
        """Yield the documents in collections of this name, at any depth."""
        return self._history.select("database = ? AND instr('/' || path, ?) > 0", self._name, f"/{name}/")

    def save(self, staged: Mapping[str, Record | None], time: int) -> None:
        """See `Kept.save`."""
        kept = {path: record for path, record in staged.items() if not self._history.afresh or path[:5] == "runs/"}
        if not kept:
            return
        rows = [
            (self._name, path, record.created, record.updated, encode_stored(record.fields))
            for path, record in kept.items()
            if record is not None
        ]
        deleted = [(self._name, path) for path, record in kept.items() if record is None]
        if not deleted and len(rows) <= _MOST_ROWS:
            self._history.execute(*_save(rows))
            return

        def write(connection: Any) -> None:
            for start in range(0, len(rows), _MOST_ROWS):
                connection.execute(*_save(rows[start : start + _MOST_ROWS]))
            if deleted:
                connection.executemany(_DELETE, deleted)
                # Nothing else says when this commit was.
                connection.execute(_NOTE, (self._last, str(time)))

        self._history.write(write)


def _save(rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Return one statement that saves documents, and its values.

    Each statement makes Python's threads take turns, which costs more than SQLite's own work.
    """
    return _save_statement(len(rows)), [value for row in rows for value in row]


@lru_cache(maxsize=_MOST_ROWS)
def _save_statement(count: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    replaced = ", ".join(f"{name} = excluded.{name}" for name in ("created", "updated", "fields"))
    return f"INSERT INTO documents VALUES {values} ON CONFLICT DO UPDATE SET {replaced}"  # noqa: S608 - no one else's words
