"""As many jobs in flight as there are in a large installation, at the sizes that are deployed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

from atom_emulator.testing.world import World
from atom_workflows.ports import Document, Query, Store
from support.helpful_clock import HelpfulClock
from unit.coordinator.test_rounds import crowded, tick_each_minute

JOBS = 15_000
READING = timedelta(seconds=1)


class SlowlyRead:
    """A store that takes a second to return a page of a round, as a sixth of a processor does."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        """Everything else."""
        return getattr(self._world.store, name)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        if query.group and query.after is not None:
            self._world.clock.move(READING)
        return self._world.store.query(query)


def test_each_of_fifteen_thousand_jobs_is_asked_about_every_two_minutes() -> None:
    """Each of 15,000 jobs is polled every two minutes."""
    world, asked = crowded(JOBS)
    world.services = replace(world.services, store=cast(Store, SlowlyRead(world)))
    tick_each_minute(world, 4, HelpfulClock(world, "tick"))
    assert len(asked.at) == JOBS
    assert max(after - before for times in asked.at.values() for before, after in pairwise(times)) <= 120
