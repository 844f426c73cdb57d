"""What one invocation takes of the store: calls, documents read and written, and the most that one call reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from atom_emulator.testing.world import World
from atom_workflows.ports import Document, Query, Store, Write, WriteResult


@dataclass(slots=True)
class Gauge:
    """A store that counts what is asked of it; `at_once` is the most documents that a call read."""

    inner: Store
    calls: int = 0
    read: int = 0
    written: int = 0
    at_once: int = 0

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        self._count_read(len(paths))
        return self.inner.get(paths, fields=fields)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self.calls += 1
        self.written += len(writes)
        return self.inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        found = self.inner.query(query)
        self._count_read(len(found))
        return found

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        self.calls += 1
        return self.inner.count(query)

    def _count_read(self, documents: int) -> None:
        self.calls += 1
        self.read += documents
        self.at_once = max(self.at_once, documents)


def gauged(world: World, invocation: Callable[[], object]) -> Gauge:
    """Measure one invocation."""
    plain = world.services
    gauge = Gauge(plain.store)
    world.services = replace(plain, store=gauge)
    try:
        invocation()
    finally:
        world.services = plain
    return gauge


def gauge_events(world: World, *topics: str) -> list[Gauge]:
    """Deliver every event until none is left. Return what each took."""
    gauges: list[Gauge] = []
    while taken := [message for topic in topics or ("start", "steps") for message in world.bus.take_all(topic)]:
        gauges += [gauged(world, partial(world.deliver, message)) for message in taken]
    return gauges


def lose(world: World, topic: str) -> int:
    """Lose every event of a topic. Return how many."""
    taken = world.bus.take_all(topic)
    for message in taken:
        world.bus.ack(message)
    return len(taken)
