"""The Clock and Workers ports on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Final, Generic

from atom_workflows.ports import Answer, Item

WAVE_S: Final = 0.05
"""How long a first answer waits for others to join its wave: a commit for many is cheaper than many commits."""


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        time.sleep(seconds)


class ThreadWorkers:
    """Calls on a pool of threads for each lane."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> ThreadCalls[Item, Answer]:
        """See `ports.Workers.calls`."""

        def submit(item: Item) -> Future[Answer]:
            # With the caller's context, so that what a call logs names the event it was made for.
            return self._pool("" if lane is None else lane(item)).submit(copy_context().run, call, item)

        return ThreadCalls(submit)

    def _pool(self, lane: str) -> ThreadPoolExecutor:
        """The lane's threads. There are few lanes: a deployment allows few Task Runners."""
        with self._lock:
            if lane not in self._pools:
                self._pools[lane] = ThreadPoolExecutor(self._threads, thread_name_prefix="call")
            return self._pools[lane]


class ThreadCalls(Generic[Item, Answer]):
    """Implements `ports.Calls`."""

    def __init__(self, submit: Callable[[Item], Future[Answer]]) -> None:
        self._submit = submit
        self._pending: dict[Future[Answer], Item] = {}
        self._failure: BaseException | None = None

    @property
    def pending(self) -> Collection[Item]:
        """See `ports.Calls.pending`."""
        return self._pending.values()

    def begin(self, items: Sequence[Item]) -> None:
        """See `ports.Calls.begin`."""
        self._pending |= {self._submit(item): item for item in items}

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """See `ports.Calls.wave`."""
        if not self._pending and self._failure is not None:
            raise self._failure
        done, others = wait(self._pending, timeout=within_s, return_when=FIRST_COMPLETED)
        if done and others:
            done, _ = wait(self._pending, timeout=WAVE_S, return_when=ALL_COMPLETED)
        ended = [(self._pending.pop(future), future) for future in done]
        self._failure = self._failure or next((error for _, one in ended if (error := one.exception())), None)
        return [(item, future.result()) for item, future in ended if future.exception() is None]
