"""A clock that lets others work while a burst of the checker sleeps, one event after the other."""

from __future__ import annotations

from datetime import datetime

from atom_emulator.testing.world import World


class HelpfulClock:
    """A clock in whose sleep others take what was published, in those topics."""

    def __init__(self, world: World, *topics: str) -> None:
        self._world, self._topics = world, topics or ("steps",)

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return self._world.clock.now()

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        self._world.settle_down(*self._topics)
        self._world.clock.sleep(seconds)
