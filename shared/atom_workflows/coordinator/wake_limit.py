"""Limit how often one process wakes the checker."""

from __future__ import annotations

from datetime import datetime, timedelta


class WakeLimit:
    """Lets one wake-up through in each interval: a burst that was just woken sees what follows by itself.

    It only saves messages. Each process has its own, and a wake-up too many or too few, as when two threads race, is
    harmless.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._last: datetime | None = None

    def lets_through(self, now: datetime) -> bool:
        """Return True if the checker should be woken now."""
        if self._last is not None and self._last <= now < self._last + self._interval:
            return False
        self._last = now
        return True
