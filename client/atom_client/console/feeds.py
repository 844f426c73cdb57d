"""Share one listener among all viewers of a run, list or step.

A feed starts with its first viewer. It stops listening a while after the last one has left, so that nothing is read
without a viewer. It keeps its state and its position: when a viewer comes back, only the changes are read.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from atom_client.errors import explain
from atom_workflows.errors import StoreUnavailable
from atom_workflows.listening import Batch, Bookmark, Listener, Listening

KEPT_S: Final = 1_800.0
"""Firestore can resume a listener within 30 minutes without rereading everything."""

MOST_KEPT: Final = 50_000
"""The maximum number of documents kept for feeds without viewers."""

FIRST_S: Final = 30.0
"""The time limit for the first documents."""

LOSS_PATIENCE_S: Final = 3.0
"""How long to wait for a lost connection to be restored.

After that, viewers waiting for the first documents get the error.
"""

LINGERS_S: Final = 10.0
_CHECK_S: Final = 2.0
"""How often to check whether anyone still watches."""


class Watched(Protocol):
    """The newest state of documents.

    Its methods are called by one thread at a time.
    """

    @property
    def size(self) -> int:
        """The number of documents kept."""
        ...

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> Sequence[Listening]:
        """Start listening, or resume from bookmarks, given in the same order."""
        ...

    def apply(self, number: int, batch: Batch) -> Iterable[str]:
        """Apply a batch from listener `number`, and return the changed keys."""
        ...


State = TypeVar("State", bound=Watched)


class News(NamedTuple):
    """The keys that have changed since a version.

    `problem` says why the state may be out of date, and is empty if it is not.
    """

    version: int
    keys: Sequence[str]
    problem: str


class Feed(Generic[State]):
    """Listens on behalf of its viewers.

    Each viewer asks for what has changed since the version that it last showed, so a slow viewer gets the newest state,
    and no changes wait in a queue. Read `state` only within `locked`.
    """

    def __init__(self, state: State, listener: Listener, *, lingers_s: float = LINGERS_S) -> None:
        self.name = secrets.token_hex(6)
        self.state = state
        self._viewers = 0
        self.left_at = time.monotonic()
        self._listener = listener
        self._lingers_s = lingers_s
        self._changed = threading.Condition()
        # Held while listeners begin, which may take seconds; never together with other feeds' locks.
        self._beginning = threading.Lock()
        self._version = 0
        self._changed_at: dict[str, int] = {}
        self._listenings: list[Listening] = []
        self._threads: list[threading.Thread] = []
        self._marks: list[Bookmark | None] = []
        self._unknown: set[int] = set()
        self._problems: dict[int, str] = {}
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._read_before = 0

    @property
    def version(self) -> int:
        """The number of batches applied to the state."""
        return self._version

    @property
    def documents_read(self) -> int:
        """The documents received so far, each billed as a read."""
        return self._read_before + sum(one.documents_read for one in self._listenings)

    @property
    def is_listening(self) -> bool:
        """True while someone is watching, and for a while longer."""
        return bool(self._threads) and not self._stopping.is_set()

    @property
    def is_known(self) -> bool:
        """True if everything has been up to date since the feed began to listen."""
        with self._changed:
            return not self._unknown

    @property
    def has_failed(self) -> bool:
        """True if listening to the documents has failed."""
        return self._failure is not None

    @property
    def is_idle(self) -> bool:
        """True if no one is watching and the feed no longer listens."""
        return not self._viewers and not self.is_listening

    def begin(self) -> None:
        """Start listening where the last listener stopped, unless already listening."""
        with self._beginning:
            if not self.is_listening:
                self._listen()

    def _listen(self) -> None:
        for listening in self._listenings:
            listening.close()
        for thread in self._threads:
            thread.join()
        self._stopping.clear()
        # A connection lost before the pause may work again.
        self._problems.clear()
        self._read_before = self.documents_read
        self._listenings = list(self.state.listen(self._listener, self._marks))
        self._marks = self._marks or [None] * len(self._listenings)
        self._unknown = set(range(len(self._listenings)))
        self._threads = [
            threading.Thread(target=self._follow, args=(number, one), name="feed", daemon=True)
            for number, one in enumerate(self._listenings)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Sequence[Listening]:
        """Stop taking changes, and return the listeners to close.

        Each one remembers where to resume.
        """
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        return self._listenings

    def _follow(self, number: int, listening: Listening) -> None:
        try:
            # If one of the listeners fails, no one needs the others.
            while not self._has_ended:
                batch = listening.take(_CHECK_S)
                if batch is not None:
                    with self._changed:
                        self._apply(number, batch)
                else:
                    self._stop_if_abandoned()
        except Exception as error:  # noqa: BLE001 (each viewer raises it)
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            listening.close()
        self._marks[number] = listening.bookmark()

    def _apply(self, number: int, batch: Batch) -> None:
        self._version += 1
        self._changed_at |= dict.fromkeys(self.state.apply(number, batch), self._version)
        self._problems[number] = batch.problem
        if batch.is_current:
            self._unknown.discard(number)
        self._changed.notify_all()

    def _stop_if_abandoned(self) -> None:
        """Stop if no one has watched for a while.

        Listening resumes with the next viewer.
        """
        with self._changed:
            if not self._viewers and time.monotonic() - self.left_at > self._lingers_s:
                self._stopping.set()
                self._changed.notify_all()

    def enter(self) -> None:
        """Add a viewer."""
        with self._changed:
            self._viewers += 1

    def leave(self) -> None:
        """Remove a viewer."""
        with self._changed:
            self._viewers -= 1
            self.left_at = time.monotonic()

    @contextmanager
    def locked(self) -> Iterator[State]:
        """Yield the state, protected from changes."""
        with self._changed:
            yield self.state

    def wait_until_known(self, within_s: float = FIRST_S, *, patience_s: float = LOSS_PATIENCE_S) -> int:
        """Wait until everything is up to date, and return the version.

        Raises `StoreUnavailable` if that takes too long or a connection is lost for `patience_s`. If an error has ended
        the listener, raises that error.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._unknown or self._problem or self._has_ended, within_s)
            if self._problem:
                self._changed.wait_for(lambda: not self._unknown or self._has_ended, patience_s)
            self._raise_failure()
            if self._unknown:
                raise StoreUnavailable(self._problem or f"Firestore has sent nothing within {within_s:.0f} seconds")
            return self._version

    def wait(self, since: int, within_s: float) -> News:
        """Return what has changed since a version, waiting up to `within_s`.

        If an error has ended the listener, raises that error.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._version > since or self._has_ended, within_s)
            self._raise_failure()
            keys = (
                [key for key, version in self._changed_at.items() if version > since] if self._version > since else []
            )
            problem = self._problem
            sentence = explain(StoreUnavailable(problem)) if problem else ""
            return News(version=self._version, keys=keys, problem=sentence or "")

    @property
    def is_stopping(self) -> bool:
        """True once the console is closing or the feed has been abandoned."""
        return self._stopping.is_set()

    @property
    def _has_ended(self) -> bool:
        return self._failure is not None or self._stopping.is_set()

    @property
    def _problem(self) -> str:
        return next(filter(None, self._problems.values()), "")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class Feeds:
    """The feeds of one console, by what they watch. Thread-safe."""

    def __init__(self, listener: Listener, *, lingers_s: float = LINGERS_S, most_kept: int = MOST_KEPT) -> None:
        self._listener = listener
        self._lingers_s = lingers_s
        self._most_kept = most_kept
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Feed[Any]] = {}

    @contextmanager
    def watch(self, key: Hashable, make: Callable[[], State]) -> Iterator[Feed[State]]:
        """Watch the feed with this key, and start it if necessary.

        `make` creates the feed's state if there is none. It may read documents; other viewers do not wait for it.
        """
        feed = self._find(key) or self._add(key, Feed(make(), self._listener, lingers_s=self._lingers_s))
        try:
            feed.begin()
            yield feed
        finally:
            feed.leave()

    def _find(self, key: Hashable) -> Feed[Any] | None:
        """Return the feed with this key after adding a viewer, or None."""
        with self._lock:
            self._forget(key)
            feed = self._kept.pop(key, None)
            if feed is not None:
                # The latest is the last one.
                self._kept[key] = feed
                feed.enter()
            return feed

    def _add(self, key: Hashable, made: Feed[Any]) -> Feed[Any]:
        """Keep a feed unless its key already has one.

        Returns the feed that is kept, after adding a viewer.
        """
        with self._lock:
            feed = self._kept.setdefault(key, made)
            feed.enter()
            return feed

    def _forget(self, wanted: Hashable) -> None:
        """Forget feeds that have failed or are too old.

        If they hold too many documents, the oldest feeds are forgotten as well.
        """
        idle = {key: feed for key, feed in self._kept.items() if feed.has_failed or feed.is_idle}
        too_many = sum(feed.state.size for feed in idle.values()) - self._most_kept
        for key, feed in idle.items():
            is_old = time.monotonic() - feed.left_at > KEPT_S
            if feed.has_failed or is_old or (too_many > 0 and key != wanted):
                too_many -= feed.state.size
                del self._kept[key]

    def knows(self, key: Hashable) -> bool:
        """Return True if a feed with this key is kept."""
        with self._lock:
            return key in self._kept

    @property
    def listening(self) -> int:
        """The number of feeds now listening."""
        with self._lock:
            return sum(feed.is_listening for feed in self._kept.values())

    @property
    def documents_read(self) -> int:
        """The documents that all feeds received, each billed as a read."""
        with self._lock:
            return sum(feed.documents_read for feed in self._kept.values())

    def close(self) -> None:
        """Stop all feeds; may be called more than once."""
        with self._lock:
            listenings = [one for feed in self._kept.values() for one in feed.stop()]
        # While Firestore is silent, each takes seconds to close.
        with ThreadPoolExecutor(max(1, len(listenings))) as pool:
            list(pool.map(lambda one: one.close(), listenings))
