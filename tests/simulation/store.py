"""The store that handlers see: the embedded one, behind a network that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.errors import AlreadyExists, Conflict, StoreError, StoreUnavailable
from atom_workflows.ports import Create, Document, Query, Write, WriteResult
from simulation.calls import Calls
from simulation.faults import Fault

T = TypeVar("T")

SLOW_S: Final = 8.0
"""The most seconds that a slow call takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyStore:
    """Implements `ports.Store`. `on_commit` gets every commit that took effect, whatever its caller is answered.

    `on_false_conflict` gets commits that are answered with a conflict that there was not, `on_due` the pages that are
    read across all runs, each of which takes `query_s`.
    """

    memory: MemoryStore
    calls: Calls
    on_commit: Callable[[Sequence[Write]], None]
    on_false_conflict: Callable[[Sequence[Write]], None]
    on_due: Callable[[Sequence[str]], None]
    query_s: float

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self._read("get", lambda: self.memory.get(paths, fields=fields))

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        found = self._read("query", lambda: self.memory.query(query))
        if query.group:
            self.on_due([document.path for document in found])
            if self.query_s:
                self.calls.scheduler.sleep(self.query_s)
        return found

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self._read("count", lambda: self.memory.count(query))

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.calls.make("commit", lambda: self._commit(tuple(writes)))

    def _read(self, name: str, call: Callable[[], T]) -> T:
        def read() -> T:
            self._before()
            return call()

        return self.calls.make(name, read)

    def _before(self) -> None:
        if self.calls.strikes(Fault.STORE_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.uniform(0, SLOW_S))
        if self.calls.strikes(Fault.STORE_UNAVAILABLE):
            raise StoreUnavailable("no answer in time")

    def _commit(self, writes: tuple[Write, ...]) -> list[WriteResult]:
        self._before()
        if self.calls.strikes(Fault.STORE_CONFLICT):
            self.on_false_conflict(writes)
            raise Conflict("aborted again and again")
        try:
            results = self.memory.commit(writes)
        except StoreError as error:
            self.calls.trace.note("refused", type(error).__name__, writes)
            raise
        self.calls.trace.note("commit", writes)
        self.on_commit(writes)
        if self.calls.strikes(Fault.STORE_UNAVAILABLE_AFTER):
            raise StoreUnavailable("no answer in time")
        if self.calls.strikes(Fault.STORE_CONFLICT_AFTER):
            # The client repeats a commit that got no answer, and the second one finds what the first one did.
            self.on_false_conflict(writes)
            creates = any(isinstance(write, Create) for write in writes)
            raise (AlreadyExists if creates else Conflict)("it had taken effect")
        return results
