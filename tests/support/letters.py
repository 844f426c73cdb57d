"""The dead letters of a bus inside the test's own process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atom_emulator.pubsub.memory import MemoryBus
from atom_workflows.ports import DEAD_LETTERS, Clock, HeldMessage


@dataclass(frozen=True, slots=True)
class MemoryDeadLetters:
    """Implements `ports.DeadLetterBox` on the bus's own broker. `page` is how many one call answers at most."""

    bus: MemoryBus
    clock: Clock
    page: int = 50

    def take(self, limit: int) -> list[HeldMessage]:
        """See `ports.DeadLetterBox.take`."""
        return [
            HeldMessage(
                id=one.message_id,
                data=one.data,
                attributes=one.attributes,
                published_at=self.clock.now(),
                lease=one,
            )
            for one in self.bus.take_all(DEAD_LETTERS, limit=min(limit, self.page))
        ]

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.release`."""
        for message in messages:
            self.bus.nack(message.lease)  # type: ignore[arg-type] # ours alone, see take

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.remove`."""
        for message in messages:
            self.bus.ack(message.lease)  # type: ignore[arg-type] # ours alone, see take
