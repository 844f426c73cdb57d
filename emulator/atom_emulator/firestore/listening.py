"""Listeners: what they are shown at first, and what has changed each time they look again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeAlias

from atom_emulator.firestore.errors import InvalidArgument, Unavailable
from atom_emulator.firestore.execution import run
from atom_emulator.firestore.matching import match
from atom_emulator.firestore.paths import document_segments
from atom_emulator.firestore.queries import Query, full_order
from atom_emulator.firestore.storage import Storage, in_scope
from atom_emulator.firestore.writes import Record

# How listening works: a commit does no more for a listener than to remember which documents it has changed, and to wake
# the listener. The listener's own thread then looks at all of them at once, so that what it is shown is always the
# database at one moment, with each commit either whole or not there. Changes that follow each other faster than the
# listener looks become one. What waits for a slow listener is therefore a set of paths, never documents.
#
# Nothing is kept for a listener that has gone. One that resumes gets the documents that have changed since, as
# their update times show. Deleted documents have none, so the paths of the last ones are remembered.

MOST_DELETED: Final = 10_000
"""The maximum number of remembered deletions. A listener that resumes from before them starts over."""

MOST_TOUCHED: Final = 100_000
"""The maximum number of changed documents that may be waiting for one listener."""

_MOST_DIGITS: Final = 20


class Changes(NamedTuple):
    """What a listener has not been shown yet.

    `left` are paths of documents that exist but no longer match. With `is_reset`, everything shown before is void.
    """

    shown: Sequence[Record] = ()
    left: Sequence[str] = ()
    deleted: Sequence[str] = ()
    is_reset: bool = False


class Target(Protocol):
    """Documents that a listener can listen to."""

    @property
    def is_window(self) -> bool:
        """True if a document may come or go because others have changed."""

    @property
    def paths(self) -> Collection[str]:
        """The documents that are reported even if they do not exist."""

    def covers(self, record: Record) -> bool:
        """Return True if the document could belong, whatever its contents."""

    def scan(self, storage: Storage) -> Iterable[Record]:
        """Return every document that the target covers."""

    def find(self, storage: Storage, among: Collection[str] | None) -> list[Record]:
        """Return the documents in order; with `among`, only those at these paths."""


class QueryTarget:
    """The matches of a query. Raises `InvalidArgument` if it can never be run, or cannot be listened to."""

    paths: Final[Collection[str]] = ()

    def __init__(self, query: Query) -> None:
        if query.select is not None:
            # Google's emulator accepts it; this is the service's own answer.
            raise InvalidArgument("'select' clauses are not supported for real-time queries.")
        run(Storage(), query, {})  # It finds nothing, but refuses what Firestore refuses.
        self._query = query
        self._orders = full_order(query)
        self.is_window = query.limit is not None or query.offset > 0

    def covers(self, record: Record) -> bool:
        """See `Target.covers`."""
        return in_scope(self._query, record)

    def scan(self, storage: Storage) -> Iterable[Record]:
        """See `Target.scan`."""
        return storage.scan(self._query)

    def find(self, storage: Storage, among: Collection[str] | None) -> list[Record]:
        """See `Target.find`."""
        if among is None or self.is_window:
            return run(storage, self._query, {})
        covered = filter(self.covers, _existing(storage, among))
        return [record for record, _ in match(covered, self._query, self._orders)]


class DocumentsTarget:
    """Some documents by path, each of which may be missing."""

    is_window: Final = False

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths: Collection[str] = dict.fromkeys(paths)
        for path in self.paths:
            document_segments(path)

    def covers(self, record: Record) -> bool:
        """See `Target.covers`."""
        return record.path in self.paths

    def scan(self, storage: Storage) -> Iterable[Record]:
        """See `Target.scan`."""
        return _existing(storage, self.paths)

    def find(self, storage: Storage, among: Collection[str] | None) -> list[Record]:
        """See `Target.find`."""
        paths = self.paths if among is None else [path for path in self.paths if path in among]
        return list(_existing(storage, paths))


def _existing(storage: Storage, paths: Iterable[str]) -> Iterator[Record]:
    return (storage.records[path] for path in paths if path in storage.records)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The moment up to which a listener knows the documents. Only the database that made it can resume from it."""

    instance: str
    time: int

    def encode(self) -> bytes:
        """Return the point as a resume token."""
        return f"{self.instance}.{self.time}".encode()


def decode_token(token: bytes) -> ResumePoint:
    """Return the point in a resume token.

    An invalid token yields a point that no database knows.
    """
    instance, _, time = token.decode("ascii", "replace").rpartition(".")
    is_number = time.isascii() and time.isdecimal() and len(time) < _MOST_DIGITS
    return ResumePoint(instance, int(time)) if is_number else ResumePoint("", 0)


class Watched:
    """A target of one listener, and the versions of the documents that the listener has been shown."""

    def __init__(self, target: Target, resumes_from: ResumePoint | None = None) -> None:
        self.target = target
        self.resumes_from = resumes_from
        self.is_new = True
        self._versions: dict[str, int] = {}

    def begin(self, storage: Storage, deleted: Iterable[Record] | None) -> Changes:
        """Return what to show the listener first.

        `deleted` are the documents deleted since the point from which to resume, or None if they are unknown.
        """
        self.is_new = False
        found = self.target.find(storage, None)
        self._versions = {record.path: record.updated for record in found}
        if self.resumes_from is not None and deleted is not None:
            since = self.resumes_from.time
            touched = {record.path for record in self.target.scan(storage) if record.updated > since}
            touched.update(record.path for record in deleted if self.target.covers(record))
            if not touched:
                return Changes()
            if not self.target.is_window:
                # Any of them may have been shown before, in another version.
                self._versions |= dict.fromkeys(touched, 0)
                return self.follow(storage, touched)
        missing = [path for path in self.target.paths if path not in self._versions]
        return Changes(shown=found, deleted=missing, is_reset=self.resumes_from is not None)

    def follow(self, storage: Storage, touched: Collection[str]) -> Changes:
        """Return what has changed, given the documents touched by commits since."""
        found = self.target.find(storage, touched)
        now = {record.path: record.updated for record in found}
        shown = [record for record in found if self._versions.get(record.path) != record.updated]
        known = self._versions if self.target.is_window else [path for path in touched if path in self._versions]
        gone = [path for path in known if path not in now]
        self._versions |= now
        for path in gone:
            del self._versions[path]
        return Changes(
            shown=shown,
            left=[path for path in gone if path in storage.records],
            deleted=[path for path in gone if path not in storage.records],
        )


class Listener:
    """A listener to some targets, by number; `wake` is called, from any thread, when the listener should look."""

    def __init__(self, wake: Callable[[], None], *, most_touched: int = MOST_TOUCHED) -> None:
        self.targets: dict[int, Watched] = {}
        self._wake = wake
        self._most_touched = most_touched
        self._touched: set[str] = set()
        self._is_behind = False

    def note(self, record: Record) -> None:
        """Remember that a document has changed, if a target covers it."""
        if self._is_behind or not any(watched.target.covers(record) for watched in self.targets.values()):
            return
        self._touched.add(record.path)
        if len(self._touched) > self._most_touched:
            self._is_behind = True
            self._touched.clear()
        self._wake()

    def take_touched(self) -> set[str]:
        """Return the documents that have changed since the last call.

        Raises `Unavailable` if there were too many to remember.
        """
        if self._is_behind:
            raise Unavailable(
                f"this listener is too slow: more than {self._most_touched:,} changed documents are waiting. Connect "
                "again and resume."
            )
        touched, self._touched = self._touched, set()
        return touched


Look: TypeAlias = Mapping[int, Changes]
"""What has changed, for each target that is new or has changes."""


@dataclass(slots=True)
class Listeners:
    """The listeners of one database. Not thread-safe: `Database` holds the lock.

    `instance` is a name that no other database has, and `since` the time at which it began.
    """

    instance: str
    since: int
    _open: list[Listener] = field(default_factory=list)
    _deleted: deque[Record] = field(default_factory=lambda: deque(maxlen=MOST_DELETED))

    def note(self, old: Record | None, new: Record | None, time: int) -> None:
        """Note that a commit has replaced, created or deleted a document."""
        record = new or old
        if record is None:
            return
        if new is None:
            if len(self._deleted) == MOST_DELETED:
                self.since = self._deleted[0].updated
            self._deleted.append(Record(record.path, record.segments, {}, record.created, time))
        for listener in self._open:
            listener.note(record)

    def open(self, listener: Listener) -> None:
        """Start noting changes for a listener, unless that has already begun."""
        if listener not in self._open:
            self._open.append(listener)

    def look(self, listener: Listener, storage: Storage, time: int) -> tuple[Look, ResumePoint]:
        """Return what a listener has not been shown yet.

        Also returns the point from which to resume later. New targets are started. `time` is now; it is later than
        all commits.
        """
        touched = listener.take_touched()
        looked = {}
        for number, watched in listener.targets.items():
            if watched.is_new:
                looked[number] = watched.begin(storage, self._deleted_since(watched.resumes_from, time))
            elif touched:
                looked[number] = watched.follow(storage, touched)
        return looked, ResumePoint(self.instance, time)

    def close(self, listener: Listener) -> None:
        """Forget a listener."""
        if listener in self._open:
            self._open.remove(listener)

    def _deleted_since(self, point: ResumePoint | None, now: int) -> list[Record] | None:
        """Return the documents deleted since a point, or None if unknown."""
        if point is None or point.instance != self.instance or not self.since <= point.time <= now:
            return None
        return [record for record in self._deleted if record.updated > point.time]
