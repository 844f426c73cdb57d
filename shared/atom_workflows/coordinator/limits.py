"""Limit an instance's work per event, futile calls, wake-ups and hints.

- A `Budget` ends the work of one invocation, so that the rest of a large run is handed off to another invocation. A
  function is killed after a few minutes, and is billed by the second. So work that grows with the size of a run is done
  in parts: once the budget is spent, an event asks for the rest to be done. If an invocation dies before it publishes
  that event, the checker's audit continues the work.
- A `CircuitBreaker` holds back calls to a Task Runner that does not respond.
- A `WakeLimit` and a `HintLimit` keep a flood of events from keeping the checker busy.

Each process has its own limits.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Final

from atom_workflows.core.changes import backoff_delay
from atom_workflows.core.workflow import Backoff
from atom_workflows.errors import RequestNotAccepted
from atom_workflows.ports import Clock

MAX_CALLS: Final = 1_000
"""The maximum number of calls to the store. Each takes at least 20 ms, so time usually runs out first."""

MAX_WRITTEN: Final = 5_000
"""The maximum number of documents written.

This limits reads as well: an invocation reads only the documents that it writes, except that it may read all
documents of one run once.
"""

MAX_AUDIT_CALLS: Final = 5
MAX_AUDIT_WRITTEN: Final = 50
"""These limits are enough to close a small run immediately. A larger run is handed off to the start function."""


@dataclass(slots=True)
class Budget:
    """The time, calls and documents that an invocation has left. One call may exceed the budget.

    Check the budget after each part of the work, never before the first part, so that each invocation makes progress
    even if the store is so slow that reading a run takes up all the time.
    """

    clock: Clock
    until: datetime | None = None
    calls: float = inf
    written: float = inf

    @classmethod
    def of_invocation(cls, clock: Clock, time: timedelta) -> Budget:
        """Return the budget of an event handler starting now, limited to `time`."""
        return cls(clock, until=clock.now() + time, calls=MAX_CALLS, written=MAX_WRITTEN)

    @classmethod
    def of_audit(cls, clock: Clock) -> Budget:
        """Return the budget of one audit.

        It is small because the checker has many runs to audit and little memory.
        """
        return cls(clock, calls=MAX_AUDIT_CALLS, written=MAX_AUDIT_WRITTEN)

    @property
    def is_spent(self) -> bool:
        """True once the remaining work has to be handed off."""
        is_late = self.until is not None and self.clock.now() >= self.until
        return is_late or self.calls <= 0 or self.written <= 0

    def spend(self, *, calls: int = 1, written: int = 0) -> None:
        """Subtract completed work from the budget."""
        self.calls -= calls
        self.written -= written

    def page(self, most: int) -> int:
        """Return the size of the next page of documents.

        It is between 1 and `most`.
        """
        return int(max(1, min(most, self.written)))


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


class WakeLimit:
    """Lets one wake-up through in each interval.

    A burst that was just woken notices later work on its own. The limit only saves messages. Each process has its own
    limit. An extra or missing wake-up, for example when two threads race, is harmless.
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
