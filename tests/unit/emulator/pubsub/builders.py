"""A broker with one topic and one subscription, and short words for what tests do with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from atom_emulator.pubsub.broker import Broker
from atom_emulator.pubsub.messages import Delivery, SubscriptionSettings, Tally

TOPIC = "projects/p/topics/work"
DEAD = "projects/p/topics/dead"
SUBSCRIPTION = "projects/p/subscriptions/work"
DEAD_SUBSCRIPTION = "projects/p/subscriptions/dead"


@dataclass(slots=True)
class Scene:
    """A broker whose time stands where `now` stands."""

    broker: Broker = field(default_factory=Broker)
    now: float = 1_000_000.0

    def publish(self, data: bytes = b"x", *, key: str = "", **attributes: str) -> str:
        """Publish to the topic."""
        return self.broker.publish(TOPIC, data, attributes, self.now, ordering_key=key)

    def lease(self, limit: int = 1, subscription: str = SUBSCRIPTION) -> list[Delivery]:
        """Take what is ready now."""
        self.broker.advance(self.now)
        return self.broker.lease(subscription, self.now, limit=limit)

    def take(self) -> Delivery:
        """Take the one message that must be ready."""
        (delivery,) = self.lease()
        return delivery

    def nack(self, delivery: Delivery) -> None:
        """Give a delivery back."""
        self.broker.nack(SUBSCRIPTION, [delivery.ack_id], self.now)

    def ack(self, delivery: Delivery) -> bool:
        """Acknowledge a delivery; whether its lease still held."""
        return self.broker.ack(SUBSCRIPTION, [delivery.ack_id]) == 1

    def gap_s(self) -> float:
        """Move the time to the next due event and return the wait."""
        due = self.broker.next_due()
        assert due is not None
        gap = due - self.now
        self.now = due
        return gap

    @property
    def tally(self) -> Tally:
        """What has happened to the subscription's messages."""
        return self.broker.subscription(SUBSCRIPTION).backlog.tally

    @property
    def left(self) -> int:
        """How many messages the subscription has not seen acknowledged."""
        return len(self.broker.subscription(SUBSCRIPTION).backlog)


def scene(settings: SubscriptionSettings | None = None) -> Scene:
    """Return a topic with a subscription, and another pair for dead letters."""
    made = Scene()
    made.broker.create_topic(TOPIC)
    made.broker.create_subscription(SUBSCRIPTION, TOPIC, settings or SubscriptionSettings())
    made.broker.create_topic(DEAD)
    made.broker.create_subscription(DEAD_SUBSCRIPTION, DEAD, SubscriptionSettings())
    return made
