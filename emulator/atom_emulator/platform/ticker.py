"""The local Cloud Scheduler: wakes the checker every few seconds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


MINUTE_S: Final = 60.0


class Ticker:
    """Publishes a tick after each interval until it is stopped.

    An interval of a minute or more ends at whole minutes of the clock, as Cloud Scheduler's do. The checker counts on
    that: a burst started by a dispatcher ends in time for the tick at the whole minute. `wait` lets time pass and
    returns True if the ticker was stopped meanwhile, like `Event.wait`.
    """

    def __init__(
        self,
        publish: Callable[[], None],
        *,
        every_s: float,
        wait: Callable[[float], bool] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._publish = publish
        self._every_s = every_s
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._now = now
        self._thread = threading.Thread(target=self.run, name="ticker", daemon=True)

    def run(self) -> None:
        """Tick until stopped."""
        while not self._wait(self._until_next()):
            self._publish()

    def _until_next(self) -> float:
        return self._every_s if self._every_s < MINUTE_S else self._every_s - self._now() % self._every_s

    def start(self) -> None:
        """Start a thread that ticks."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread.

        May be called twice, or before `start`.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
