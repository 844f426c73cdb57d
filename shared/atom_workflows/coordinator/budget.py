"""What one invocation may take: what a run of 10,000 steps needs beyond that goes on in another.

A function is ended after some minutes, and is paid for by the second. So whatever grows with a run is done in parts;
with the budget spent, an event asks for the rest, and an invocation that dies is made good by the checker's audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Final

from atom_workflows.coordinator.services import Services

MAX_CALLS: Final = 1_000
"""Calls to the store. They take 20 ms or more, so that the time is up first, as a rule."""

MAX_WRITTEN: Final = 5_000
"""Documents written. What is read is bounded by this, too: by what is written, or by one run's documents, once."""

MAX_AUDIT_CALLS: Final = 5
MAX_AUDIT_WRITTEN: Final = 50
"""Enough to close a small run at once. The rest of a larger one is handed on to the start function."""


@dataclass(slots=True)
class Budget:
    """What is left of the time, calls and documents of one invocation. It may be overdrawn by one call's worth.

    It is asked for after a part of the work, never before the first: with a store so slow that reading a run takes all
    the time, each invocation still gets on.
    """

    services: Services
    until: datetime | None = None
    calls: float = inf
    written: float = inf

    @classmethod
    def of_invocation(cls, services: Services) -> Budget:
        """Return what an event's handler may take from now on."""
        until = services.clock.now() + services.settings.inline_budget
        return cls(services=services, until=until, calls=MAX_CALLS, written=MAX_WRITTEN)

    @classmethod
    def of_audit(cls, services: Services) -> Budget:
        """Return what a look at one run may take.

        The checker has many runs to look at, and little memory.
        """
        return cls(services=services, calls=MAX_AUDIT_CALLS, written=MAX_AUDIT_WRITTEN)

    @property
    def is_spent(self) -> bool:
        """True once the rest is to be handed on."""
        is_late = self.until is not None and self.services.clock.now() >= self.until
        return is_late or self.calls <= 0 or self.written <= 0

    def spend(self, *, calls: int = 1, written: int = 0) -> None:
        """Take off what was done."""
        self.calls -= calls
        self.written -= written

    def page(self, most: int) -> int:
        """Return how many documents to take on at once."""
        return int(max(1, min(most, self.written)))
