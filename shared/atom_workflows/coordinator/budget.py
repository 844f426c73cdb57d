"""Limit the work of one invocation; the rest of a large run is handed on to another.

A function is killed after some minutes, and is billed by the second. So work that grows with a run is done in parts:
once the budget is spent, an event asks for the rest. If an invocation dies before that, the checker's audit continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Final

from atom_workflows.coordinator.services import Services

MAX_CALLS: Final = 1_000
"""Calls to the store. Each takes 20 ms or more, so the time usually runs out first."""

MAX_WRITTEN: Final = 5_000
"""Documents written. It limits reads, too: an invocation reads the documents that it writes, or all documents of one
run once."""

MAX_AUDIT_CALLS: Final = 5
MAX_AUDIT_WRITTEN: Final = 50
"""Enough to close a small run immediately. A larger one is handed on to the start function."""


@dataclass(slots=True)
class Budget:
    """The remaining time, calls and documents of one invocation. It may be exceeded by one call.

    Check it after each part of the work, never before the first: then each invocation makes progress, even if the store
    is so slow that reading a run takes all the time.
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

        It is small, as the checker has many runs to audit and little memory.
        """
        return cls(services=services, calls=MAX_AUDIT_CALLS, written=MAX_AUDIT_WRITTEN)

    @property
    def is_spent(self) -> bool:
        """True once the rest has to be handed on."""
        is_late = self.until is not None and self.services.clock.now() >= self.until
        return is_late or self.calls <= 0 or self.written <= 0

    def spend(self, *, calls: int = 1, written: int = 0) -> None:
        """Subtract work that was done."""
        self.calls -= calls
        self.written -= written

    def page(self, most: int) -> int:
        """Return the size of the next page of documents.

        It is between 1 and `most`.
        """
        return int(max(1, min(most, self.written)))
