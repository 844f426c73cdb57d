"""The Clock and Workers ports, implemented with the machine's clock and threads."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import UTC, datetime
from itertools import chain
from typing import Final, Generic

from atom_workflows.ports import Answer, Item

WAVE_S: Final = 0.05
"""How long a wave's first result waits for others, since one commit for many results is cheaper than many commits."""


AHEAD: Final = 4
"""How many items are handed to each thread of a lane: enough to keep it busy while a wave is saved."""


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        time.sleep(seconds)


class ThreadWorkers:
    """Makes calls on one thread pool per lane."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> ThreadCalls[Item, Answer]:
        """See `ports.Workers.calls`."""

        def submit(item: Item, lane: str) -> Future[Answer]:
            # A deployment allows only a few Task Runners, so there are few lanes.
            with self._lock:
                if lane not in self._pools:
                    self._pools[lane] = ThreadPoolExecutor(self._threads, thread_name_prefix="call")
                pool = self._pools[lane]
            # Run in the caller's context, so that the call's log lines name the event that caused it.
            return pool.submit(copy_context().run, call, item)

        return ThreadCalls(submit, lane=lane or (lambda _: ""), most=self._threads * AHEAD)


class ThreadCalls(Generic[Item, Answer]):
    """Implements `ports.Calls`.

    At most `most` items per lane are handed to threads at a time, since each then uses a kilobyte of memory.
    """

    def __init__(
        self, submit: Callable[[Item, str], Future[Answer]], *, lane: Callable[[Item], str], most: int
    ) -> None:
        self._submit = submit
        self._lane = lane
        self._most = most
        self._queued: dict[str, deque[Item]] = defaultdict(deque)
        self._submitted: dict[Future[Answer], tuple[str, Item]] = {}
        self._failure: BaseException | None = None

    @property
    def pending(self) -> Collection[Item]:
        """See `ports.Calls.pending`."""
        submitted = [item for _, item in self._submitted.values()]
        return [*submitted, *chain.from_iterable(self._queued.values())]

    def begin(self, items: Sequence[Item]) -> None:
        """See `ports.Calls.begin`."""
        for item in items:
            self._queued[self._lane(item)].append(item)
        self._fill()

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """See `ports.Calls.wave`."""
        # A failure is raised last, so that no other call's answer is lost.
        if not self._submitted and self._failure is not None:
            raise self._failure
        done, others = wait(self._submitted, timeout=within_s, return_when=FIRST_COMPLETED)
        if done and others:
            done, _ = wait(self._submitted, timeout=WAVE_S, return_when=ALL_COMPLETED)
        ended = [(self._submitted.pop(future)[1], future) for future in done]
        self._fill()
        self._failure = self._failure or next((error for _, one in ended if (error := one.exception())), None)
        return [(item, future.result()) for item, future in ended if future.exception() is None]

    def _fill(self) -> None:
        """Hand each lane's threads as many items as they can hold."""
        load = Counter(lane for lane, _ in self._submitted.values())
        for lane, queue in self._queued.items():
            for _ in range(min(len(queue), self._most - load[lane])):
                item = queue.popleft()
                self._submitted[self._submit(item, lane)] = (lane, item)
