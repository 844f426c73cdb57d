"""A console whose Firestore can be made silent, or slow to answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from atom_workflows.errors import StoreUnavailable
from atom_workflows.listening import Batch, Bookmark, Listening
from atom_workflows.ports import Document, Query, Store, Write, WriteResult
from support.watched import WatchedConsole

DOWN: Final = "Firestore did not answer: 503"


@dataclass
class Flaky:
    """Implements `ports.Store` with another store, which does not answer while there is a problem."""

    store: Store
    problem: str = ""

    def _ask(self, call: Callable[[], Any]) -> Any:
        if self.problem:
            raise StoreUnavailable(self.problem)
        return call()

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        found: list[Document | None] = self._ask(lambda: self.store.get(paths, fields=fields))
        return found

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        found: list[Document] = self._ask(lambda: self.store.query(query))
        return found

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        found: int = self._ask(lambda: self.store.count(query))
        return found

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        done: list[WriteResult] = self._ask(lambda: self.store.commit(writes))
        return done


class Wrapped:
    """A listening that says nothing before `answers` is set, or reports a loss."""

    def __init__(self, inner: Listening, answers: threading.Event, problem: Callable[[], str]) -> None:
        self._inner = inner
        self._problem = problem
        self._answers = answers
        self._is_lost = False
        self._closed = threading.Event()

    @property
    def documents_read(self) -> int:
        """See `listening.Listening.documents_read`."""
        return self._inner.documents_read

    def take(self, within_s: float) -> Batch | None:
        """Report a loss once, and its end."""
        if not self._answers.wait(within_s):
            return None
        problem = self._problem()
        is_lost, self._is_lost = self._is_lost, bool(problem)
        if problem and is_lost:
            # As a real one, it does not answer at once that there is nothing.
            self._closed.wait(min(within_s, 0.05))
            return None
        if problem:
            return Batch(problem=problem)
        return self._inner.take(min(within_s, 0.05)) or (Batch() if is_lost else None)

    def bookmark(self) -> Bookmark | None:
        """See `listening.Listening.bookmark`."""
        return self._inner.bookmark()

    def close(self) -> None:
        """See `listening.Listening.close`."""
        self._closed.set()
        self._inner.close()


class FlakyListener:
    """Listens to a world's documents; nothing arrives while there is a problem.

    Steps arrive only after `steps_answer` is set, as it is once those of `answers_after` runs are listened to, and
    all else only after `answers` is.
    """

    def __init__(self, world: World) -> None:
        self._inner = MemoryListener(world.store.inner)
        self.answers = threading.Event()
        self.answers.set()
        self.steps_answer = threading.Event()
        self.steps_answer.set()
        self.answers_after = 0
        self._runs = 0
        self.problem = ""
        self.problem_of_items = ""

    def listen(self, query: Query, *, since: Bookmark | None = None) -> Listening:
        """See `listening.Listener.listen`."""
        if not query.collection.endswith("/steps"):
            return Wrapped(self._inner.listen(query, since=since), self.answers, lambda: self.problem)
        self._runs += 1
        if self._runs == self.answers_after:
            self.steps_answer.set()
        return Wrapped(self._inner.listen(query, since=since), self.steps_answer, lambda: self.problem)

    def listen_to(self, paths: Sequence[str], *, since: Bookmark | None = None) -> Listening:
        """See `listening.Listener.listen_to`."""
        is_of_items = any("[" in path for path in paths)
        problem = (lambda: self.problem_of_items) if is_of_items else (lambda: self.problem)
        return Wrapped(self._inner.listen_to(paths, since=since), self.answers, problem)


class Outages:
    """A console on a world whose Firestore can be made silent."""

    def __init__(self, world: World) -> None:
        self.store = Flaky(world.services.store)
        self.listener = FlakyListener(world)
        services = replace(world.services, store=self.store)
        self.console = WatchedConsole(world, services=services, listener=self.listener)

    def begin(self, problem: str = DOWN) -> None:
        """Let neither reads nor listeners be answered."""
        self.store.problem = self.listener.problem = problem

    def end(self) -> None:
        """Answer again."""
        self.store.problem = self.listener.problem = ""
