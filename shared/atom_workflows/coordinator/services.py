"""The ports and settings that are passed to every handler."""

from __future__ import annotations

from dataclasses import dataclass, field

from atom_workflows.coordinator.limits import CircuitBreaker, HintLimit, WakeLimit
from atom_workflows.coordinator.unstoppable import Unstoppable
from atom_workflows.ports import Bus, Clock, Source, Store, TaskRunner, Workers
from atom_workflows.settings import Settings


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
