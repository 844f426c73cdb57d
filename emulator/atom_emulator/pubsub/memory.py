"""The bus inside one process, for tests: messages wait in a real broker until the test takes them."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from atom_emulator.pubsub.broker import Broker
from atom_emulator.pubsub.messages import SubscriptionSettings, Tally
from atom_emulator.pubsub.refusals import RefusalError
from atom_workflows.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atom_workflows.ports import Clock, Message

TOPICS: Final = ("start", "steps", "tick", "jobs", "events", "dead-letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenMessage:
    """A message leased to the test; `attempt` counts from 1."""

    subscription: str
    ack_id: str
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    attempt: int

    @property
    def body(self) -> Any:
        """The JSON in the message."""
        return json.loads(self.data)


class MemoryBus:
    """The port `Bus`, implemented on the broker itself. Each topic has one subscription, which has the topic's name.

    `own` holds the settings of subscriptions that differ from the others. Leases and back-offs end according to the
    given clock. Safe to use from several threads.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        topics: Sequence[str] = TOPICS,
        settings: SubscriptionSettings | None = None,
        own: Mapping[str, SubscriptionSettings] = MappingProxyType({}),
    ) -> None:
        self.broker = Broker()
        self._clock = clock
        self._lock = threading.Lock()
        for topic in topics:
            self.broker.create_topic(topic)
            self.broker.create_subscription(topic, topic, own.get(topic) or settings or SubscriptionSettings())

    def subscribe(self, name: str, topic: str, settings: SubscriptionSettings | None = None) -> None:
        """Add a subscription, which receives messages published from now on."""
        with self._lock:
            self.broker.create_subscription(name, topic, settings or SubscriptionSettings())

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish all the messages.

        Raises `BusUnavailable` and publishes none if a topic does not exist.
        """
        with self._lock:
            try:
                for topic in {message.topic for message in messages}:
                    self.broker.topic(topic)
            except RefusalError as error:
                raise BusUnavailable(error.reason) from error
            for message in messages:
                data = message.raw
                if data is None:
                    data = json.dumps(message.body, separators=(",", ":")).encode()
                self.broker.publish(message.topic, data, dict(message.attributes), self._now())

    def take(self, subscription: str) -> TakenMessage | None:
        """Lease the next message of a subscription, if one is ready."""
        taken = self.take_all(subscription, limit=1)
        return taken[0] if taken else None

    def take_all(self, subscription: str, *, limit: int = 1000) -> list[TakenMessage]:
        """Lease every message that is ready.

        A test may then handle them in any order.
        """
        with self._lock:
            now = self._now()
            self.broker.advance(now)
            return [
                TakenMessage(
                    subscription=subscription,
                    ack_id=delivery.ack_id,
                    message_id=delivery.message.id,
                    data=delivery.message.data,
                    attributes=delivery.message.attributes,
                    attempt=delivery.attempt,
                )
                for delivery in self.broker.lease(subscription, now, limit=limit)
            ]

    def ack(self, taken: TakenMessage) -> bool:
        """Acknowledge a message.

        Returns False if the lease had expired; the message is then redelivered.
        """
        with self._lock:
            self.broker.advance(self._now())
            return self.broker.ack(taken.subscription, (taken.ack_id,)) == 1

    def nack(self, taken: TakenMessage) -> None:
        """Ask for redelivery after the subscription's back-off."""
        with self._lock:
            now = self._now()
            self.broker.advance(now)
            self.broker.nack(taken.subscription, (taken.ack_id,), now)

    def unacknowledged(self, subscription: str) -> int:
        """Count the messages that are ready, waiting or leased."""
        with self._lock:
            return len(self.broker.subscription(subscription).backlog)

    def tally(self, subscription: str) -> Tally:
        """Return the counts of what happened to the subscription's messages."""
        return self.broker.subscription(subscription).backlog.tally

    def next_due_s(self) -> float | None:
        """Return the time at which a lease or back-off next ends.

        The time is in seconds since the epoch, or None if nothing is waiting.
        """
        with self._lock:
            return self.broker.next_due()

    def _now(self) -> float:
        return self._clock.now().timestamp()
