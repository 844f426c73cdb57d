"""Ports that kill the handler that uses them, at one chosen call, before or after it took effect."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import FrameType
from typing import Any, Final, Self, TypeVar

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


class Call(str):
    """The name of a port call. `begins` is True if it is the first one of a handler or command."""

    __slots__ = ("begins",)
    begins: bool

    def __new__(cls, name: str, *, begins: bool) -> Self:
        """Return the name with its mark."""
        call = super().__new__(cls, name)
        call.begins = begins
        return call


@dataclass(slots=True)
class Fate:
    """Counts the port calls; the `fatal` one (from 1) kills, `after` or before it took effect. 0 kills no handler."""

    fatal: int = 0
    after: bool = False
    calls: list[str] = field(default_factory=list)
    _caller: FrameType | None = None

    def live(self, name: str, call: Callable[[], T]) -> T:
        """Make the call, or die at it."""
        before, self._caller = self._caller, _find_handler()
        self.calls.append(Call(name, begins=self._caller is not before))
        if len(self.calls) != self.fatal:
            return call()
        if self.after:
            call()
        raise Died(name)


def _find_handler() -> FrameType | None:
    """Return the frame of the handler or command that makes a call: the outermost one of the coordinator."""
    frame: FrameType | None = sys._getframe()
    found = None
    while frame is not None:
        if frame.f_globals["__name__"].startswith("atom_workflows."):
            found = frame
        frame = frame.f_back
    return found


def deaths_at(calls: Sequence[str]) -> list[ParameterSet]:
    """Return the deaths at these calls that differ, as parameters `fatal` and `after` of a test.

    A handler that dies before any call but its first one leaves behind what it leaves if it dies after the previous
    call, and a read leaves nothing behind.
    """
    found = []
    for number, call in enumerate(calls, 1):
        assert isinstance(call, Call)
        if call.begins:
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
