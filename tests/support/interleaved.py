"""Handlers that run at the same time: each hands over at every call to the store, and chance decides who goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from atom_emulator.testing.world import World
from atom_workflows.core.groups import place_at_work
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.ports import Document, Query, Store, Write, WriteResult

T = TypeVar("T")


@dataclass(slots=True)
class Crowd:
    """What a crowd of handlers did: the places of all runs at any time, and the commits that were refused.

    `most` is the highest number of runs at work in each group after any commit.
    """

    places: dict[str, str | None] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    commits: int = 0
    asleep: dict[Any, float] = field(default_factory=dict)

    def on_commit(self, writes: Sequence[Write]) -> None:
        """Count the runs at work after a commit."""
        self.commits += 1
        changed = {write.path: write.fields["place"] for write in writes if "place" in write.fields}
        self.places |= changed
        for group in {place.partition("/")[0] for place in changed.values() if place}:
            at_work = sum(place == place_at_work(group) for place in self.places.values())
            self.most[group] = max(self.most.get(group, 0), at_work)


@dataclass(frozen=True, slots=True)
class _HandingOver:
    """A store and a clock whose callers hand over to others."""

    inner: Store
    world: World
    crowd: Crowd
    main: Any

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        return self._hand_over(lambda: self.inner.get(paths, fields=fields))

    def query(self, query: Query) -> list[Document]:
        return self._hand_over(lambda: self.inner.query(query))

    def count(self, query: Query) -> int:
        return self._hand_over(lambda: self.inner.count(query))

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        return self._hand_over(lambda: self._commit(writes))

    def now(self) -> Any:
        return self.world.clock.now()

    def sleep(self, seconds: float) -> None:
        self.crowd.asleep[getcurrent()] = self.now().timestamp() + seconds
        self.main.switch()

    def _commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        try:
            results = self.inner.commit(writes)
        except (AlreadyExists, Conflict):
            self.crowd.refused += 1
            raise
        self.crowd.on_commit(writes)
        return results

    def _hand_over(self, call: Callable[[], T]) -> T:
        self.main.switch()
        return call()


def dice(seed: int) -> Random:
    """Return chance that is the same every time."""
    return Random(seed)  # noqa: S311 (chance that can be repeated, not a secret)


def interleave(world: World, handlers: Iterable[Callable[[], object]], chance: Random) -> Crowd:
    """Run the handlers at the same time until all have ended.

    Time passes only while all of them sleep.
    """
    crowd, plain, main = Crowd(), world.services, getcurrent()
    shared = _HandingOver(plain.store, world, crowd, main)
    world.services = replace(plain, store=shared, clock=shared)
    try:
        going_on = [greenlet(handler) for handler in handlers]
        while going_on:
            now = world.clock.now().timestamp()
            ready = [one for one in going_on if crowd.asleep.get(one, 0) <= now]
            if not ready:
                world.clock.move(timedelta(seconds=min(crowd.asleep.values()) - now + 1e-6))
                continue
            # A hundred choices at once, as finding out who can go on takes long in a large crowd.
            for one in chance.choices(ready, k=min(100, len(ready))):
                if not one.dead and crowd.asleep.get(one, 0) <= now:
                    crowd.asleep.pop(one, None)
                    one.switch()
            crowd.asleep = {one: until for one, until in crowd.asleep.items() if not one.dead}
            going_on = [one for one in going_on if not one.dead]
    finally:
        world.services = plain
    return crowd
