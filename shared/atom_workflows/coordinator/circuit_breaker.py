"""Leaving a Task Runner alone that does not answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.core.transitions import backoff_delay
from atom_workflows.core.workflow import Backoff
from atom_workflows.errors import RequestNotAccepted

PATIENCE: Final = 3
"""Calls in a row to one Task Runner that may fail before the others are not even tried for a while."""

PAUSES: Final = Backoff(initial=timedelta(seconds=5), factor=2.0, maximum=timedelta(minutes=5), jitter=0.2)
"""How long it is left alone with submissions, for longer each time it fails again."""


@dataclass(slots=True)
class _Outage:
    failures: int = 0
    reason: str = ""
    paused_at: datetime | None = None
    until: datetime | None = None


class CircuitBreaker:
    """Leaves a Task Runner alone that has failed a few calls in a row. Safe to use from several threads.

    It is only ever too kind: what it holds back is put off as if the Task Runner had refused it itself, and the first
    call that is answered lets all the others through.
    """

    def __init__(self, pauses: Backoff | None = None) -> None:
        self._pauses = pauses
        self._lock = threading.Lock()
        self._outages: dict[str, _Outage] = {}

    def held_back(self, url: str, now: datetime) -> RequestNotAccepted | None:
        """Return why that Task Runner is not asked now, None if it is."""
        with self._lock:
            outage = self._outages.get(url)
            if outage is None or outage.until is None or outage.until <= now:
                return None
            reason = f"it was not asked, as others failed just now: {outage.reason}"
            return RequestNotAccepted(reason, retry_after_s=(outage.until - now).total_seconds())

    def answered(self, url: str) -> None:
        """Note that the Task Runner is there."""
        with self._lock:
            self._outages.pop(url, None)

    def failed(self, url: str, reason: str, *, began: datetime, now: datetime) -> None:
        """Note a call that failed.

        Those on their way when a pause began do not prolong it.
        """
        with self._lock:
            outage = self._outages.setdefault(url, _Outage())
            if outage.paused_at is not None and began <= outage.paused_at:
                return
            outage.failures += 1
            outage.reason = reason
            if outage.failures >= PATIENCE:
                before = outage.failures - PATIENCE
                pause = backoff_delay(self._pauses or PAUSES, tries=before + 1, seed=f"{url}/{before}")
                outage.paused_at, outage.until = now, now + pause
