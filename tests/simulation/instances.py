"""The processes that serve events: a few of each function, a new one now and then, each with a clock of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Final, TypeAlias, TypedDict

from atom_workflows.coordinator.limits import WakeLimit
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.unstoppable import Unstoppable
from atom_workflows.ports import Bus, Clock, Source, Store, TaskRunner, Workers
from atom_workflows.settings import Settings
from simulation.calls import Calls
from simulation.faults import Fault
from simulation.scheduler import Instance

Observed: TypeAlias = Callable[[str, Services], Services]
"""Wraps the services of a function's handlers, by the topic that the function is pushed."""

_AT_A_TIME: Final = 3


def unobserved(_topic: str, services: Services) -> Services:
    """Return the services unchanged."""
    return services


class Ports(TypedDict):
    """The ports as keyword arguments of `Services`."""

    store: Store
    bus: Bus
    task_runner: TaskRunner
    source: Source
    clock: Clock
    workers: Workers


class Instances:
    """All processes. They share the ports."""

    def __init__(self, *, calls: Calls, chance: Random, settings: Settings, ports: Ports, observed: Observed) -> None:
        self._calls = calls
        self._chance = chance
        self._settings = settings
        self._ports = ports
        self._observed = observed
        self._known: dict[str, list[Instance]] = {}
        self._unstoppable: dict[str, Unstoppable] = defaultdict(Unstoppable)

    def one_of(self, function: str) -> tuple[Instance, Services]:
        """Return a process of the function and its handlers' services."""
        instance = self._instance(function)
        services = Services(
            **self._ports,
            settings=self._settings,
            wake_limit=instance.wake_limit,
            unstoppable=self._unstoppable[instance.name],
        )
        return instance, self._observed(function, services)

    def _instance(self, function: str) -> Instance:
        known = self._known.setdefault(function, [])
        if len(known) < _AT_A_TIME or self._chance.random() < 0.02:
            skew_s = self._calls.faults.weather.skew_s if self._calls.strikes(Fault.CLOCK_APART) else 0.0
            name = f"{function}-{len(known) + 1}"
            limit = WakeLimit(self._settings.check_interval)
            known.append(Instance(name, self._chance.uniform(-skew_s, skew_s), limit))
        return self._chance.choice(known[-_AT_A_TIME:])
