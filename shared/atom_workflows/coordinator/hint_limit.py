"""Limit the number of hints that a process acts on, and the time for which they keep it waiting."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Final

_SHARE: Final = 0.5
"""The share of its time that a process may spend waiting because of hints, if there is a flood of them."""


class HintLimit:
    """Spaces hints evenly. Safe to use from several threads.

    Each process has its own limit, so a deployment's limit is the sum of its processes' limits. A process that
    handles one request at a time does nothing else while a hint waits for its turn. So waiting uses up an allowance,
    which grows with time: in a flood of hints, half of the time is left for other requests.
    """

    def __init__(self, gap: timedelta) -> None:
        self._gap = gap
        self._lock = threading.Lock()
        self._next: datetime | None = None
        self._allowance: timedelta | None = None
        self._allowed_at: datetime | None = None
        self._waits_until: datetime | None = None

    def is_full(self, now: datetime, longest: timedelta) -> bool:
        """Return True if the next turn is further away than `longest`.

        Nothing is reserved.
        """
        with self._lock:
            return self._turn(now, longest) - now > longest

    def reserve(self, now: datetime, longest: timedelta) -> timedelta | None:
        """Reserve the next turn and return the time until then.

        Returns None, and reserves nothing, if that would be longer than `longest` or than this process may wait at the
        moment.
        """
        with self._lock:
            turn = self._turn(now, longest)
            if turn - now > longest or not self._may_wait(now, turn, longest):
                return None
            self._next = turn + self._gap
            return turn - now

    def _turn(self, now: datetime, longest: timedelta) -> datetime:
        # A turn far in the future was reserved before the clock was set back.
        return now if self._next is None or self._next - now > 2 * longest else max(self._next, now)

    def _may_wait(self, now: datetime, turn: datetime, longest: timedelta) -> bool:
        """Deduct the wait from the allowance.

        Returns False if the allowance does not cover it.
        """
        most = 2 * longest
        since = now if self._allowed_at is None else self._allowed_at
        left = most if self._allowance is None else self._allowance
        left = min(most, left + max(timedelta(0), now - since) * _SHARE)
        # Several hints may wait at the same time, which keeps the process waiting only once.
        is_recent = self._waits_until is not None and self._waits_until - now <= most
        begins_at = max(now, self._waits_until) if self._waits_until is not None and is_recent else now
        added = max(timedelta(0), turn - begins_at)
        self._allowed_at = now
        if added > left:
            self._allowance = left
            return False
        self._allowance = left - added
        self._waits_until = max(begins_at, turn)
        return True
