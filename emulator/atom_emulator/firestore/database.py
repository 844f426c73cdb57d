"""One Firestore database in memory: atomic commits, transactions and queries; a commit may be kept elsewhere first."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from atom_emulator.firestore.aggregation import Aggregation, aggregate
from atom_emulator.firestore.errors import Aborted, InvalidArgument
from atom_emulator.firestore.execution import run
from atom_emulator.firestore.listening import Listener, Listeners, Look, ResumePoint, Target, Watched
from atom_emulator.firestore.paths import document_segments
from atom_emulator.firestore.queries import Query
from atom_emulator.firestore.storage import Storage
from atom_emulator.firestore.transactions import Transaction
from atom_emulator.firestore.values import document_size, identical, to_micros
from atom_emulator.firestore.writes import Outcome, Put, Record, Remove, Write, apply, check

if TYPE_CHECKING:
    from atom_emulator.firestore.history import Kept

MAX_DOCUMENT_BYTES: Final = 1 << 20

# How transactions work: a transaction sees the documents as they were when it began, although nothing is copied at that
# point. A commit saves the old version of each document that it changes in `Transaction.before` of every open
# transaction, unless an older version is already there. A read prefers that version to the current document. A
# transaction remembers what it has read, and its own commit is aborted if any of that has changed. The real service may
# take locks; this database has none.


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit's time, in microseconds since 1970, and the outcome of each write."""

    time: int
    outcomes: tuple[Outcome, ...]


class Database:
    """The documents of one database. Every method is atomic and may be called from any thread.

    `now` returns the time; commit times increase strictly even if the clock stands still. Paths are relative:
    `runs/r1`. Callers must not modify the records that they receive or the values that they pass in.

    With `kept`, the database is loaded from the documents stored there, and a commit succeeds only once it is stored
    there as well. The methods may then also raise `Unavailable`.
    """

    def __init__(self, now: Callable[[], datetime], kept: Kept | None = None) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._last = 0
        self._storage = Storage()
        self._kept = kept
        if kept is not None:
            self._last = max([kept.last_commit(), *(self._load(record) for record in kept.records())])
        self._open: dict[bytes, Transaction] = {}
        self._prefix = secrets.token_hex(4)
        self._listeners = Listeners(self._prefix, self._read_time())
        self._numbers = itertools.count(1)

    def _load(self, record: Record) -> int:
        """Add a document that was kept, and return the time of its last change."""
        self._storage.install(record.path, record.segments, record)
        return record.updated

    # -- reading -----------------------------------------------------------------------------------

    def get(self, paths: Sequence[str], transaction: bytes | None = None) -> tuple[list[Record | None], int]:
        """Return the documents in the requested order, and the read's time.

        A missing document is None.
        """
        for path in paths:
            document_segments(path)
        with self._lock:
            if transaction:
                one = self._transaction(transaction)
                return [one.get(self._storage, path) for path in paths], self._last
            return [self._storage.records.get(path) for path in paths], self._read_time()

    def query(self, query: Query, transaction: bytes | None = None) -> tuple[list[Record], int]:
        """Return the matching documents in order, and the read's time, from which a listener can go on."""
        with self._lock:
            found = self._query(query, transaction)
            # As in `look`: the next commit is later than what has been read.
            self._last = self._read_time()
            return found, self._last

    def aggregate(
        self, query: Query, wanted: Sequence[Aggregation], transaction: bytes | None = None
    ) -> tuple[list[int | float | None], int, int]:
        """Return the aggregates, the number of matches, and the read's time."""
        with self._lock:
            found = self._query(query, transaction)
            return [aggregate(one, found) for one in wanted], len(found), self._read_time()

    def collection_ids(self, parent: str) -> list[str]:
        """Return the collections directly below a document or the root, sorted."""
        depth = len(parent.split("/")) if parent else 0
        with self._lock:
            return sorted({path.split("/")[depth] for path in self._storage.collection_paths(parent)})

    def missing_documents(self, collection: str) -> list[str]:
        """Return the paths of a collection's missing documents, sorted.

        A missing document does not exist but has documents below it.
        """
        depth = collection.count("/") + 2
        with self._lock:
            paths = (path.split("/") for path in self._storage.collection_paths(collection))
            below = {"/".join(parts[:depth]) for parts in paths if len(parts) > depth}
            return sorted(below - self._storage.records.keys())

    def _query(self, query: Query, transaction: bytes | None) -> list[Record]:
        if transaction:
            return self._transaction(transaction).query(self._storage, query)
        return run(self._storage, query, {})

    # -- writing -----------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write], transaction: bytes | None = None) -> Committed:
        """Apply all the writes in order, or none.

        Raises `NotFound`, `AlreadyExists` or `FailedPrecondition` if a precondition does not hold, `Aborted` if a
        document that the transaction read has changed since, `InvalidArgument` for data that can never be written, and
        `Unavailable`, after which nothing has changed, if the commit could not be kept.
        """
        with self._lock:
            if transaction:
                self._close(transaction, bool(writes))
            time = self._tick()
            staged: dict[str, Record | None] = {}
            outcomes = tuple(self._stage(write, staged, time) for write in writes)
            if self._kept is not None and staged:
                self._kept.save(staged, time)
            for path, record in staged.items():
                old = self._storage.install(path, document_segments(path), record)
                for other in self._open.values():
                    other.before.setdefault(path, old)
                self._listeners.note(old, record, time)
            return Committed(time, outcomes)

    def _stage(self, write: Write, staged: dict[str, Record | None], time: int) -> Outcome:
        path = write.path
        segments = document_segments(path)
        old = staged[path] if path in staged else self._storage.records.get(path)
        check(write.precondition, path, old)
        if isinstance(write, Put):
            record, results = _write_record(write, old, segments, time)
            if record is not old:
                staged[path] = record
            return Outcome(record.updated, results)
        if isinstance(write, Remove):
            if old is not None:
                staged[path] = None
            return Outcome(None)
        return Outcome(old.updated if old else None)

    # -- transactions ------------------------------------------------------------------------------

    def begin(self, *, read_only: bool = False) -> bytes:
        """Open a transaction.

        Until it ends, the transaction sees the documents as they are now.
        """
        with self._lock:
            now = self._read_time()
            self._forget_expired(now)
            identity = f"{self._prefix}-{next(self._numbers)}".encode()
            self._open[identity] = Transaction(read_only=read_only, began=now, used=now)
            return identity

    def rollback(self, transaction: bytes) -> None:
        """Close a transaction without writing."""
        with self._lock:
            self._transaction(transaction)
            del self._open[transaction]

    def _close(self, identity: bytes, writes: bool) -> None:  # noqa: FBT001 - private, and passed by position once
        transaction = self._transaction(identity)
        del self._open[identity]
        if transaction.read_only and writes:
            raise InvalidArgument("Cannot modify entities in a read-only transaction.")
        if transaction.is_outdated(self._storage):
            raise Aborted("Too much contention on these documents. Please try again.")

    def _transaction(self, identity: bytes) -> Transaction:
        now = self._read_time()
        self._forget_expired(now)
        try:
            transaction = self._open[identity]
        except KeyError:
            raise InvalidArgument("Transaction is invalid or closed.") from None
        transaction.used = now
        return transaction

    def _forget_expired(self, now: int) -> None:
        for identity in [name for name, one in self._open.items() if one.is_expired(now)]:
            del self._open[identity]

    # -- listening ---------------------------------------------------------------------------------

    def listen(self, listener: Listener, number: int, target: Target, since: ResumePoint | int | None = None) -> None:
        """Add a target to a listener.

        `number` must not be in use by the listener. `since` is what to resume from: a point that `look`
        returned, or a time in microseconds since 1970.
        """
        point = ResumePoint(self._listeners.instance, since) if isinstance(since, int) else since
        with self._lock:
            listener.targets[number] = Watched(target, point)
            self._listeners.open(listener)

    def look(self, listener: Listener) -> tuple[Look, ResumePoint]:
        """Return what has changed for a listener since its last look.

        Also returns the point from which to resume. A new target is shown everything, or what has changed since the
        point from which it resumes. Raises `Unavailable` if the listener is too slow.
        """
        with self._lock:
            # The next commit is later than what the listener has seen, even if the clock stands still.
            self._last = self._read_time()
            return self._listeners.look(listener, self._storage, self._last)

    def stop_listening(self, listener: Listener, number: int | None = None) -> None:
        """Remove a target, or the whole listener.

        Does nothing if it has already been removed.
        """
        with self._lock:
            if number is None:
                self._listeners.close(listener)
            else:
                listener.targets.pop(number, None)

    # -- time --------------------------------------------------------------------------------------

    def _read_time(self) -> int:
        return max(to_micros(self._now()), self._last)

    def _tick(self) -> int:
        self._last = max(to_micros(self._now()), self._last + 1)
        if self._open:
            self._forget_expired(self._last)
        return self._last


def _write_record(
    write: Put, old: Record | None, segments: tuple[str, ...], time: int
) -> tuple[Record, tuple[object, ...]]:
    """Return the document after a write, or the old one if unchanged."""
    fields, results = apply(write, old, time)
    if old is not None and identical(fields, old.fields):
        return old, results
    size = document_size(write.path, fields)
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(
            f"Document '{write.path}' cannot be written because its size ({size:,} bytes) exceeds "
            f"the maximum allowed size of {MAX_DOCUMENT_BYTES:,} bytes."
        )
    created = time if old is None else old.created
    return Record(write.path, segments, fields, created, time), results
