"""Limit the number of hints that a process acts on."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta


class HintLimit:
    """Spaces hints evenly. Safe to use from several threads.

    Each process has its own limit, so a deployment acts on as many hints as its processes together.
    """

    def __init__(self, gap: timedelta) -> None:
        self._gap = gap
        self._lock = threading.Lock()
        self._next: datetime | None = None

    def reserve(self, now: datetime, longest: timedelta) -> timedelta | None:
        """Reserve the next turn and return the time until then.

        Returns None if that would be longer than `longest`; nothing is reserved then.
        """
        with self._lock:
            # A turn far in the future was reserved before the clock was set back.
            turn = now if self._next is None or self._next - now > 2 * longest else max(self._next, now)
            if turn - now > longest:
                return None
            self._next = turn + self._gap
            return turn - now
