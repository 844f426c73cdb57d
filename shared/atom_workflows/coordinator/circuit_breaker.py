"""Stop calling a Task Runner for a while if it does not respond."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from atom_workflows.core.changes import backoff_delay
from atom_workflows.core.workflow import Backoff
from atom_workflows.errors import RequestNotAccepted

PATIENCE: Final = 3
"""The number of consecutive failed calls to a Task Runner after which further calls are held back for a while."""

PAUSES: Final = Backoff(initial=timedelta(seconds=5), factor=2.0, maximum=timedelta(minutes=5), jitter=0.2)
"""How long calls are held back. The pause grows with each further failure."""


@dataclass(slots=True)
class _Outage:
    failures: int = 0
    reason: str = ""
    paused_at: datetime | None = None
    until: datetime | None = None


class CircuitBreaker:
    """Holds back calls to a Task Runner after a few consecutive calls have failed. Safe to use from several threads.

    Holding calls back is harmless: the caller defers the call as if the Task Runner had not accepted it, and the first
    call that gets a response lets all other calls through again.
    """

    def __init__(self, pauses: Backoff | None = None) -> None:
        self._pauses = pauses
        self._lock = threading.Lock()
        self._outages: dict[str, _Outage] = {}

    def reason_to_wait(self, url: str, now: datetime) -> RequestNotAccepted | None:
        """Return the reason for holding back a call, or None."""
        with self._lock:
            outage = self._outages.get(url)
            if outage is None or outage.until is None or outage.until <= now:
                return None
            reason = f"it was not called, because recent calls failed: {outage.reason}"
            return RequestNotAccepted(reason, retry_after_s=(outage.until - now).total_seconds())

    def record_answer(self, url: str) -> None:
        """Record that the Task Runner responded, which ends its outage."""
        with self._lock:
            self._outages.pop(url, None)

    def record_failure(self, url: str, reason: str, *, began: datetime, now: datetime) -> None:
        """Count a failed call, which may begin or prolong a pause.

        Calls that were in progress when a pause began do not prolong it.
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
