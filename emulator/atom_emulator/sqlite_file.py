"""SQLite files that keep what a server knows: how they are opened, and what their errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BUSY_S: Final = 5.0
"""How long to wait for another process that is writing to the file."""

_LOG_PAGES: Final = 4_000
"""Pages of 4 KiB in the write-ahead log when it is moved into the file, which flushes the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """A kind of file: its name in messages, the marks in its header, and the statements that create its tables."""

    what: str
    application_id: int
    version: int
    schema: Sequence[str]


class SqliteFileError(Exception):
    """A file that cannot be used; the message is a sentence that says why."""


def open_file(file: Path, kind: FileKind, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a file of this kind, which is created if it does not exist, readable only by its owner.

    A commit survives the death of any process. The connection may be used from several threads, one at a time. Raises
    `SqliteFileError`.
    """
    with explained(file, kind):
        if not read_only:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _prepare(connection, file, kind, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, file: Path, kind: FileKind, *, read_only: bool) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")  # The file may be someone else's.
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        with transaction(connection):  # Another process may be creating the tables, too.
            if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                for statement in kind.schema:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {kind.application_id}")
                connection.execute(f"PRAGMA user_version = {kind.version}")
    application_id, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application_id != kind.application_id:
        raise SqliteFileError(f"{file} is not a {kind.what} of atom-workflows, but another SQLite file")
    if version != kind.version:
        raise SqliteFileError(
            f"the {kind.what} in {file} has format {version}, but this version of atom-workflows reads only format "
            f"{kind.version}"
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or nothing if it fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # After some errors, SQLite has rolled back by itself.
            connection.execute("ROLLBACK")
        raise


def explain(error: sqlite3.Error, file: Path, kind: FileKind) -> str:
    """Return a sentence about an error of SQLite."""
    name = getattr(error, "sqlite_errorname", "")
    reason = next((text for sign, text in _REASONS.items() if name.startswith(sign)), str(error))
    return f"the {kind.what} in {file} cannot be used: {reason}"


@contextmanager
def explained(file: Path, kind: FileKind) -> Iterator[None]:
    """Raise `SqliteFileError` for errors of SQLite and of the file system."""
    try:
        yield
    except sqlite3.Error as error:
        raise SqliteFileError(explain(error, file, kind)) from error
    except OSError as error:
        raise SqliteFileError(f"the {kind.what} in {file} cannot be used: {error.strerror or error}") from error


_REASONS: Final[Mapping[str, str]] = {
    "SQLITE_FULL": "its disk is full",
    "SQLITE_NOTADB": "it is damaged, or not an SQLite file",
    "SQLITE_CORRUPT": "it is damaged",
    "SQLITE_BUSY": "another process has locked it",
    "SQLITE_READONLY": "it cannot be written to",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_IOERR": "its disk reports an error, or is full",
}
"""What SQLite's errors mean, by the beginning of their names."""


def check(connection: sqlite3.Connection, file: Path, kind: FileKind) -> None:
    """Look through the whole file for damage. Raises `SqliteFileError`."""
    with explained(file, kind), closing(connection.execute("PRAGMA quick_check(1)")) as found:
        result = found.fetchone()[0]
    if result != "ok":
        raise SqliteFileError(f"the {kind.what} in {file} cannot be used: it is damaged ({result})")
