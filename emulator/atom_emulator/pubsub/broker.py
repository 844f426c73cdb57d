"""The broker: topics and subscriptions in memory, with no thread, socket or clock of its own.

The caller passes `now` (seconds since the epoch, never going back) and drives it: after any call,
`take_deliverable` returns the subscriptions that have something new to deliver, and `next_due` returns the time at
which `advance` next has work to do.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from atom_emulator.pubsub.backlog import Backlog, Entry
from atom_emulator.pubsub.messages import Delivery, PubsubMessage, SubscriptionSettings, Topic
from atom_emulator.pubsub.refusals import Code, RefusalError, already_exists, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atom_emulator.pubsub.kept_messages import KeptMessages

_log = logging.getLogger("atom_emulator.pubsub")

DELETED_TOPIC: Final = "_deleted-topic_"
"""The topic name of a subscription whose topic was deleted."""


class Subscription:
    """A subscription: its settings and its unacknowledged messages."""

    def __init__(self, name: str, topic: str, backlog: Backlog) -> None:
        self.name = name
        self.topic = topic
        self.backlog = backlog

    @property
    def settings(self) -> SubscriptionSettings:
        """The current settings."""
        return self.backlog.settings


class Broker:
    """Topics, subscriptions and the messages between them. Not thread-safe.

    With `kept`, the messages of a subscription that is kept are there, too, and are delivered again by the next broker
    once it has a subscription of that name. How often a message was delivered is not kept.
    """

    def __init__(self, kept: KeptMessages | None = None) -> None:
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._deliverable: dict[str, Subscription] = {}
        self._kept = kept
        self._last_id = 0 if kept is None else kept.last_id()
        self._created = 0

    # -- topics and subscriptions --

    def create_topic(self, name: str, *, as_asked: Any = None) -> Topic:
        """Make a topic.

        `as_asked` is stored with the topic and never read.
        """
        if name in self.topics:
            raise already_exists(name)
        self.topics[name] = Topic(name=name, as_asked=as_asked)
        return self.topics[name]

    def topic(self, name: str) -> Topic:
        """Return the topic of that name."""
        try:
            return self.topics[name]
        except KeyError:
            raise not_found(name) from None

    def delete_topic(self, name: str) -> None:
        """Delete a topic.

        Its subscriptions remain and deliver the messages that they have.
        """
        for subscription in self.topic(name).subscriptions:
            self.subscriptions[subscription].topic = DELETED_TOPIC
        del self.topics[name]

    def create_subscription(self, name: str, topic: str, settings: SubscriptionSettings) -> Subscription:
        """Make a subscription, which receives messages published from now on."""
        if name in self.subscriptions:
            raise already_exists(name)
        self.topic(topic).subscriptions[name] = None
        # The number prevents acknowledgements for a deleted subscription from matching a new one of the same name.
        self._created += 1
        # The settings may change later, and with them whether messages are kept.
        on_removed = None if self._kept is None else partial(self._kept.remove, name)
        backlog = Backlog(settings, lease_prefix=f"{self._created}-", on_removed=on_removed)
        self.subscriptions[name] = Subscription(name, topic, backlog)
        for message in self._kept.load(name) if self._kept is not None and settings.kept else ():
            backlog.add(message)
        self._mark_deliverable(self.subscriptions[name])
        return self.subscriptions[name]

    def subscription(self, name: str) -> Subscription:
        """Return the subscription of that name."""
        try:
            return self.subscriptions[name]
        except KeyError:
            raise not_found(name) from None

    def update_subscription(self, name: str, settings: SubscriptionSettings) -> None:
        """Change a subscription's settings.

        They apply to messages that are delivered or fail from now on.
        """
        subscription = self.subscription(name)
        if settings.ordered != subscription.settings.ordered:
            raise RefusalError(Code.INVALID_ARGUMENT, "message ordering cannot be changed after creation")
        subscription.backlog.settings = settings
        self._mark_deliverable(subscription)

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription and its messages."""
        subscription = self.subscription(name)
        if subscription.topic in self.topics:
            del self.topics[subscription.topic].subscriptions[name]
        del self.subscriptions[name]
        self._deliverable.pop(name, None)
        if self._kept is not None:
            self._kept.remove_all(name)

    def clear(self) -> None:
        """Forget every topic, subscription and message.

        Ids continue from where they were.
        """
        for name in [*self.subscriptions]:
            self.delete_subscription(name)
        self.topics.clear()

    # -- messages --

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str], now: float, *, ordering_key: str = ""
    ) -> str:
        """Add a message to the topic's subscriptions and return its id; see `publish_all`."""
        return self.publish_all(topic, [(data, attributes, ordering_key)], now)[0]

    def publish_all(
        self, topic: str, contents: Sequence[tuple[bytes, Mapping[str, str], str]], now: float
    ) -> list[str]:
        """Add messages to the topic's subscriptions and return their ids.

        The contents are the data, the attributes and the ordering key of each message. Subscriptions whose filter does
        not match are skipped. Raises `RefusalError`, and adds none, if the messages cannot be kept.
        """
        target = self.topic(topic)
        messages = [
            PubsubMessage(id=str(number), data=data, attributes=attributes, publish_time=now, ordering_key=ordering_key)
            for number, (data, attributes, ordering_key) in enumerate(contents, self._last_id + 1)
        ]
        receivers = [self.subscriptions[name] for name in target.subscriptions]
        wanted = [(one, message) for message in messages for one in receivers if one.settings.wants(message.attributes)]
        if self._kept is not None and (kept := [(one.name, message) for one, message in wanted if one.settings.kept]):
            self._kept.add(kept)
        self._last_id += len(messages)
        target.published += len(messages)
        for subscription, message in wanted:
            subscription.backlog.add(message)
            self._mark_deliverable(subscription)
        return [message.id for message in messages]

    def lease(self, name: str, now: float, *, limit: int = 1) -> list[Delivery]:
        """Lease up to `limit` messages of a subscription.

        The messages must be acknowledged before their deadline.
        """
        return self.subscription(name).backlog.lease(now, limit)

    def ack(self, name: str, ack_ids: Sequence[str]) -> int:
        """Acknowledge leases and return how many had not expired.

        An expired lease is ignored, and its message is redelivered.
        """
        subscription = self.subscription(name)
        acked = sum(map(subscription.backlog.ack, ack_ids))
        self._mark_deliverable(subscription)  # an ordering key may have released its next message
        return acked

    def nack(self, name: str, ack_ids: Sequence[str], now: float) -> None:
        """Release leases, to redeliver their messages after the back-off.

        Expired leases are ignored.
        """
        subscription = self.subscription(name)
        for ack_id in ack_ids:
            self._dead_letter(subscription, subscription.backlog.nack(ack_id, now), now)
        self._mark_deliverable(subscription)

    def modify_ack_deadline(self, name: str, ack_ids: Sequence[str], seconds: float, now: float) -> None:
        """Let leases end `seconds` from now; 0 ends them immediately."""
        if seconds <= 0:
            self.nack(name, ack_ids, now)
            return
        subscription = self.subscription(name)
        for ack_id in ack_ids:
            subscription.backlog.extend(ack_id, now + seconds)

    # -- time --

    def advance(self, now: float) -> None:
        """Let time pass.

        This ends the leases past their deadline, and the back-offs that are over.
        """
        for subscription in self.subscriptions.values():
            due = subscription.backlog.next_due()
            if due is None or due > now:
                continue
            for entry in subscription.backlog.advance(now):
                self._dead_letter(subscription, entry, now)
            self._mark_deliverable(subscription)

    def next_due(self) -> float | None:
        """Return the time at which `advance` next has something to do.

        Returns None if only a call can change anything.
        """
        dues = (subscription.backlog.next_due() for subscription in self.subscriptions.values())
        return min((due for due in dues if due is not None), default=None)

    def take_deliverable(self) -> list[Subscription]:
        """Return the subscriptions with something new to deliver.

        Something is new if it became ready since the last call.
        """
        deliverable, self._deliverable = self._deliverable, {}
        return list(deliverable.values())

    def _mark_deliverable(self, subscription: Subscription) -> None:
        if subscription.backlog.ready:
            self._deliverable[subscription.name] = subscription

    def _dead_letter(self, subscription: Subscription, entry: Entry | None, now: float) -> None:
        dead_letters = subscription.settings.dead_letters
        if entry is None or dead_letters is None:
            return
        if dead_letters.topic not in self.topics:
            _log.warning("%s: dead-letter topic %s does not exist", subscription.name, dead_letters.topic)
            # As in production, a message that cannot be forwarded continues to be delivered.
            subscription.backlog.put_back(entry, now)
            return
        message = entry.message
        attributes = {**message.attributes, **_origin(subscription, entry)}
        try:
            self.publish(dead_letters.topic, message.data, attributes, now, ordering_key=message.ordering_key)
        except RefusalError as error:
            _log.warning("%s: message %s could not be dead-lettered: %s", subscription.name, message.id, error)
            subscription.backlog.put_back(entry, now)
            return
        subscription.backlog.remove_dead(entry)
        _log.warning(
            "%s: message %s failed %d times and went to %s",
            *(subscription.name, message.id, entry.attempts, dead_letters.topic),
        )


def _origin(subscription: Subscription, entry: Entry) -> dict[str, str]:
    """Return the attributes that say where a dead letter comes from."""
    published = datetime.fromtimestamp(entry.message.publish_time, UTC)
    project = subscription.name.split("/")[1] if "/" in subscription.name else ""
    return {
        "CloudPubSubDeadLetterSourceDeliveryCount": str(entry.attempts),
        "CloudPubSubDeadLetterSourceSubscription": subscription.name.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
        "CloudPubSubDeadLetterSourceTopicPublishTime": published.isoformat(timespec="milliseconds"),
    }
