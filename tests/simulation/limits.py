"""The coordinator's sizes made small, so that small graphs meet what only huge ones would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from atom_workflows.coordinator import batches, close, commits, loading, preparation, seed
from atom_workflows.coordinator.checker import due_steps
from atom_workflows.core import expansion, graph, places
from atom_workflows.settings import MAX_DELIVERIES

PLAIN_SCHEMAS: Final = (1, 2)
"""The schemas of runs that use nothing that earlier versions do not know. All others have one schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes of batches, pages, commits and fans, calls that an instance makes at a time, deliveries of an event.

    `schema` is that of new runs that are plain. `burst_s` is how long the checker looks after a tick, `query_s` how
    long a page of due steps is read, `status_s` how long the Task Runner of the first run takes to say how a job is
    doing. `shard` is the number of places for which a step has a further shard.
    """

    batch: int = batches.BATCH_DOCUMENTS
    page: int = close.PAGE
    sweep_page: int = due_steps.PAGE
    fan_in: int = graph.FAN_IN_LIMIT
    fan_out: int = graph.FAN_OUT_LIMIT
    writes: int = commits.MAX_WRITES
    workers: int = 32
    deliveries: int = MAX_DELIVERIES
    schema: int = 1
    burst_s: float = 50.0
    query_s: float = 0.0
    status_s: float = 0.0
    shard: int = places.PLACES_OF_SHARD

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use these sizes instead of the deployed ones."""
        sizes = (
            (batches, "BATCH_DOCUMENTS", self.batch),
            (seed, "PAGE", self.page),
            (close, "PAGE", self.page),
            (loading, "PAGE", self.page),
            (due_steps, "PAGE", self.sweep_page),
            (due_steps, "CAPACITY", self.sweep_page),
            (graph, "FAN_IN_LIMIT", self.fan_in),
            (graph, "FAN_OUT_LIMIT", self.fan_out),
            (expansion, "FAN_IN_LIMIT", self.fan_in),
            (expansion, "FAN_OUT_LIMIT", self.fan_out),
            (commits, "MAX_WRITES", self.writes),
            (places, "PLACES_OF_SHARD", self.shard),
            (preparation, "SCHEMA_OF_NEW_RUNS", self.schema),
        )
        before = [(module, name, getattr(module, name)) for module, name, _ in sizes]
        for module, name, value in sizes:
            setattr(module, name, value)
        try:
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)


def draw_limits(chance: Random) -> Limits:
    """Draw the limits of a seed.

    Now and then each is as deployed.
    """
    return Limits(
        batch=chance.choice([3, 8, 200, 200]),
        page=chance.choice([2, 5, 200]),
        sweep_page=chance.choice([2, 5, 500]),
        fan_in=chance.choice([2, 3, 32]),
        fan_out=chance.choice([2, 3, 200]),
        writes=chance.choice([3, 6, 250]),
        workers=chance.choice([1, 2, 4, 32]),
        deliveries=chance.choice([5, 5, MAX_DELIVERIES]),
        schema=chance.choice(PLAIN_SCHEMAS),
        shard=chance.choice([1, 1, 2, 10]),
    )


def crowd_limits(limits: Limits, chance: Random) -> Limits:
    """Return limits under which one burst cannot poll a crowd."""
    return replace(
        limits,
        sweep_page=1,
        workers=4,
        burst_s=20.0,
        query_s=chance.choice([1.0, 3.0]),
        status_s=chance.choice([0.0, 2.0, 4.0]),
    )
