"""Limit the work of one invocation, so that the rest of a large run is handed off to another invocation.

A function is killed after a few minutes, and is billed by the second. So work that grows with the size of a run is done
in parts: once the budget is spent, an event asks for the rest to be done. If an invocation dies before it publishes
that event, the checker's audit continues the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Final

from atom_workflows.coordinator.services import Services

MAX_CALLS: Final = 1_000
"""The maximum number of calls to the store. Each takes at least 20 ms, so time usually runs out first."""

MAX_WRITTEN: Final = 5_000
"""The maximum number of documents written.

This limits reads as well: an invocation reads only the documents that it writes or, once, all documents of one run.
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

    services: Services
    until: datetime | None = None
    calls: float = inf
    written: float = inf

    @classmethod
    def of_invocation(cls, services: Services) -> Budget:
        """Return the budget of an event handler that starts now."""
        until = services.clock.now() + services.settings.inline_budget
        return cls(services=services, until=until, calls=MAX_CALLS, written=MAX_WRITTEN)

    @classmethod
    def of_audit(cls, services: Services) -> Budget:
        """Return the budget of one audit.

        It is small because the checker has many runs to audit and little memory.
        """
        return cls(services=services, calls=MAX_AUDIT_CALLS, written=MAX_AUDIT_WRITTEN)

    @property
    def is_spent(self) -> bool:
        """True once the remaining work has to be handed off."""
        is_late = self.until is not None and self.services.clock.now() >= self.until
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
