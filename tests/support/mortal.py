"""Ports that kill the handler that uses them, at one chosen call, before or after it took effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final, TypeVar

import pytest
from _pytest.mark import ParameterSet

from atom_emulator.testing.world import World
from atom_workflows.ports import (
    Bus,
    Document,
    JobAnswer,
    Message,
    Query,
    StopAnswer,
    Store,
    TaskRunner,
    Write,
    WriteResult,
)

T = TypeVar("T")

READS: Final = frozenset({"get", "query", "count"})
"""The calls that change nothing."""


class Died(BaseException):
    """The process was killed. Not an `Exception`: no handler may survive it."""


@dataclass(slots=True)
class Fate:
    """Counts the port calls; the `fatal` one (from 1) kills, `after` or before it took effect. 0 kills no handler."""

    fatal: int = 0
    after: bool = False
    calls: list[str] = field(default_factory=list)

    def live(self, name: str, call: Callable[[], T]) -> T:
        """Make the call, or die at it."""
        self.calls.append(name)
        if len(self.calls) != self.fatal:
            return call()
        if self.after:
            call()
        raise Died(name)


def deaths_at(calls: Sequence[str]) -> list[ParameterSet]:
    """Return the deaths at these calls that differ, as parameters `fatal` and `after` of a test.

    A handler that dies after a read, or before a further one, leaves behind what it leaves if it dies before the first.
    """
    found = []
    for number, (last, call) in enumerate(pairwise(["", *calls]), 1):
        if call not in READS or last not in READS:
            found.append(pytest.param(number, False, id=f"{number}-before"))
        if call not in READS:
            found.append(pytest.param(number, True, id=f"{number}-after"))
    return found


@dataclass(slots=True)
class MortalStore:
    """A store at whose calls the caller may die."""

    inner: Store
    fate: Fate

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return self.fate.live("get", lambda: self.inner.get(paths, fields=fields))

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.fate.live("commit", lambda: self.inner.commit(writes))

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return self.fate.live("query", lambda: self.inner.query(query))

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.fate.live("count", lambda: self.inner.count(query))


@dataclass(slots=True)
class MortalBus:
    """A bus at whose calls the caller may die."""

    inner: Bus
    fate: Fate

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.fate.live("publish", lambda: self.inner.publish(messages))


@dataclass(slots=True)
class MortalTaskRunner:
    """A Task Runner at whose calls the caller may die."""

    inner: TaskRunner
    fate: Fate

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        return self.fate.live(
            "submit", lambda: self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
        )

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self.fate.live("status", lambda: self.inner.status(base_url, job_id))

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.fate.live("stop", lambda: self.inner.stop(base_url, job_id))

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.fate.live("look up", lambda: self.inner.look_up(base_url, idempotency_key))


def make_mortal(world: World, fate: Fate) -> None:
    """Let the world's handlers die as fated."""
    services = world.services
    world.services = replace(
        services,
        store=MortalStore(services.store, fate),
        bus=MortalBus(services.bus, fate),
        task_runner=MortalTaskRunner(services.task_runner, fate),
    )
