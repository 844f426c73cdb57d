"""The Clock and Workers ports on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Final

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
    """Calls on a pool of threads for each lane; a single call is made at once, by the caller's own thread."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def waves(
        self, call: Callable[[Item], Answer], items: Sequence[Item], *, lane: Callable[[Item], str] | None = None
    ) -> Iterator[list[tuple[Item, Answer]]]:
        """See `ports.Workers.waves`."""
        if len(items) == 1:
            yield [(items[0], call(items[0]))]
            return
        pending: dict[Future[Answer], Item] = {
            # With the caller's context, so that what a call logs names the event it was made for.
            self._pool("" if lane is None else lane(item)).submit(copy_context().run, call, item): item
            for item in items
        }
        failure: BaseException | None = None
        while pending:
            wait(pending, return_when=FIRST_COMPLETED)
            done, _ = wait(pending, timeout=WAVE_S, return_when=ALL_COMPLETED)
            finished = [(pending.pop(future), future) for future in done]
            failure = failure or next((error for _, future in finished if (error := future.exception())), None)
            if wave := [(item, future.result()) for item, future in finished if future.exception() is None]:
                yield wave
        if failure is not None:
            raise failure

    def _pool(self, lane: str) -> ThreadPoolExecutor:
        """The lane's threads. There are few lanes: a deployment allows few Task Runners."""
        with self._lock:
            if lane not in self._pools:
                self._pools[lane] = ThreadPoolExecutor(self._threads, thread_name_prefix="call")
            return self._pools[lane]
