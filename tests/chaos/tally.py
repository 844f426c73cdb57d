"""Counts what was done to the platform, and when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Everything that goes wrong on purpose; the values are how the report words them."""

    WORKER_KILLED = "workers of functions killed (SIGKILL)"
    FUNCTION_KILLED = "whole functions killed (SIGKILL)"
    TASK_RUNNER_KILLED = "Task Runners killed, jobs kept"
    TASK_RUNNER_FORGOT = "Task Runners killed, jobs forgotten"
    REFUSED = "connections refused"
    CUT = "connections cut in the middle of calls"
    DELAYED = "calls and answers delayed by up to 0.3 s"
    STALLED = "calls and answers held up for longer than their timeout"
    DUPLICATED = "messages published again"
    ANSWERED_BADLY = "errors and lost answers of the Task Runner itself"


def never_struck(counts: Iterable[tuple[Fault, str]]) -> list[Fault]:
    """Kinds of faults of which there is not one among these."""
    struck = {fault for fault, _ in counts}
    return [fault for fault in Fault if fault not in struck]


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault, where and when, in seconds since the epoch, and until when its effect may begin."""

    fault: Fault
    where: str
    at: float
    until: float


class Tally:
    """Counts faults. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._struck: list[Struck] = []

    def add(self, fault: Fault, where: str, *, within_s: float = 0.0) -> None:
        """Count a fault that strikes now, or that takes effect at some moment within that time."""
        now = time.time()
        with self._lock:
            self._struck.append(Struck(fault=fault, where=where, at=now, until=now + within_s))

    def add_many(self, fault: Fault, where: str, count: int) -> None:
        """Count faults that struck at unknown times."""
        with self._lock:
            self._struck += [Struck(fault=fault, where=where, at=0.0, until=0.0)] * count

    def counts(self) -> Counter[tuple[Fault, str]]:
        """Return how often each fault struck each place."""
        with self._lock:
            return Counter((one.fault, one.where) for one in self._struck)

    def is_any(self, faults: frozenset[Fault], where: str, since: float, until: float) -> bool:
        """Return True if one of these faults struck there in that time."""
        with self._lock:
            return any(
                one.fault in faults and one.where == where and since <= one.until and one.at <= until
                for one in self._struck
            )
