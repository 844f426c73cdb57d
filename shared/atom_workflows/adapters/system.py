"""The Clock and Workers ports on this machine."""

from __future__ import annotations

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
    """Calls on a shared pool of threads; a single call is made at once, by the caller's own thread."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")

    def waves(self, call: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[list[tuple[Item, Answer]]]:
        """See `ports.Workers.waves`."""
        if len(items) == 1:
            yield [(items[0], call(items[0]))]
            return
        pending: dict[Future[Answer], Item] = {
            # With the caller's context, so that what a call logs names the event it was made for.
            self._pool.submit(copy_context().run, call, item): item
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
