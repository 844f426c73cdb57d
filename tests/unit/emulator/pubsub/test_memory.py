"""The bus inside one process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from atom_emulator.pubsub.memory import MemoryBus
from atom_emulator.pubsub.messages import RedeliveryBackoff, SubscriptionSettings
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import Bus, Message


@dataclass(slots=True)
class HandClock:
    """A clock that stands still until it is moved."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.time += timedelta(seconds=seconds)


def test_a_message_is_taken_as_it_was_published() -> None:
    """A message goes through JSON and keeps its attributes."""
    memory = MemoryBus(HandClock())
    bus: Bus = memory
    bus.publish([Message(topic="steps", body={"run": "r", "n": [1, None]}, attributes={"kind": "ready"})])
    taken = memory.take("steps")
    assert taken is not None
    assert (taken.body, taken.attributes, taken.attempt) == ({"run": "r", "n": [1, None]}, {"kind": "ready"}, 1)
    assert memory.take("steps") is None
    assert memory.ack(taken)
    assert memory.unacknowledged("steps") == 0


def test_an_unknown_topic_is_an_outage_that_takes_nothing_in() -> None:
    """A batch that names an unknown topic publishes nothing."""
    bus = MemoryBus(HandClock())
    with pytest.raises(BusUnavailable):
        bus.publish([Message(topic="tick", body={"a": 1}), Message(topic="nowhere", body={"a": 1})])
    assert bus.take("tick") is None


def test_time_is_the_clocks() -> None:
    """Leases and back-offs end when the injected clock says so."""
    clock = HandClock()
    backoff = RedeliveryBackoff(minimum_s=10, maximum_s=60)
    bus = MemoryBus(clock, settings=SubscriptionSettings(ack_deadline_s=30, backoff=backoff))
    bus.publish([Message(topic="tick", body={"a": 1})])
    first = bus.take("tick")
    assert first is not None
    bus.nack(first)
    assert bus.take("tick") is None
    assert bus.next_due_s() == (clock.now() + timedelta(seconds=10)).timestamp()
    clock.sleep(10)
    second = bus.take("tick")
    assert second is not None
    clock.sleep(30)
    assert not bus.ack(second)
    assert bus.tally("tick").expired == 1


def test_messages_may_be_handled_in_any_order() -> None:
    """All ready messages can be leased at once and acknowledged in any order."""
    bus = MemoryBus(HandClock(), topics=("steps",))
    bus.subscribe("watcher", "steps")
    bus.publish([Message(topic="steps", body={"n": n}) for n in range(3)])
    taken = bus.take_all("steps")
    assert [message.body["n"] for message in taken] == [0, 1, 2]
    assert all(bus.ack(message) for message in reversed(taken))
    assert bus.unacknowledged("watcher") == 3
