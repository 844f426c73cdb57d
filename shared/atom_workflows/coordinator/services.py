"""The ports and settings that are passed to every handler."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from atom_workflows.coordinator.circuit_breaker import CircuitBreaker
from atom_workflows.coordinator.hint_limit import HintLimit
from atom_workflows.coordinator.unstoppable import Unstoppable
from atom_workflows.ports import Bus, Clock, Source, Store, TaskRunner, Workers
from atom_workflows.settings import Settings


class WakeLimit:
    """Lets one wake-up through in each interval: a burst that was just woken notices later work on its own.

    The limit only saves messages. Each process has its own limit. An extra or missing wake-up, for example when two
    threads race, is harmless.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The outside world, as assembled by the composition root or a test."""

    store: Store
    bus: Bus
    task_runner: TaskRunner
    source: Source
    clock: Clock
    workers: Workers
    settings: Settings
    wake_limit: WakeLimit
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    unstoppable: Unstoppable = field(default_factory=Unstoppable)
    hint_limit: HintLimit = field(default_factory=lambda: HintLimit(Settings().hint_interval))
