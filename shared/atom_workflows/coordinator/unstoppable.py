"""Remember which Task Runners cannot stop jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

REMEMBERED_FOR: Final = timedelta(minutes=10)
"""How long to remember that a Task Runner cannot stop jobs; a newer version of it may be able to."""


@dataclass(slots=True)
class Unstoppable:
    """The Task Runners that recently reported that they cannot stop jobs. Safe to use from several threads.

    Each process remembers this separately, so each one tries again from time to time.
    """

    _since: dict[str, datetime] = field(default_factory=dict)

    def add(self, url: str, now: datetime) -> None:
        """Remember that the Task Runner cannot stop jobs."""
        self._since[url] = now

    def has(self, url: str, now: datetime) -> bool:
        """Return True if the Task Runner is known not to stop jobs."""
        since = self._since.get(url)
        return since is not None and abs(now - since) < REMEMBERED_FOR
