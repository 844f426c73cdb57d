"""google.pubsub.v1 on the wire: the message types, and the translation of a resource's fields for the broker.

The plain protobuf classes are used, not the proto-plus ones around them, which cost more than the work.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from google.pubsub_v1.types import pubsub

from atom_emulator.pubsub.filters import compile_filter
from atom_emulator.pubsub.messages import (
    DEFAULT_ACK_DEADLINE_S,
    DEFAULT_RETENTION_S,
    DeadLetters,
    Delivery,
    RedeliveryBackoff,
    SubscriptionSettings,
    match_all,
)
from atom_emulator.pubsub.refusals import invalid, unimplemented

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST_ACK_DEADLINE_S: Final = 10.0
LONGEST_ACK_DEADLINE_S: Final = 600.0
LONGEST_BACKOFF_S: Final = 600.0
FEWEST_DELIVERY_ATTEMPTS: Final = 5
MOST_DELIVERY_ATTEMPTS: Final = 100

DEFAULT_BACKOFF: Final = RedeliveryBackoff(minimum_s=10.0, maximum_s=600.0)
"""The back-off of a retry policy whose fields are not set."""

PUSH_BACKOFF: Final = RedeliveryBackoff(minimum_s=0.1, maximum_s=60.0)
"""The back-off of a push subscription without a retry policy, in the range that the service documents."""

_NAME: Final = re.compile(r"projects/([^/]+)/(topics|subscriptions)/(?!goog)([A-Za-z][\w.~+%-]{2,254})")
_TOPIC_FIELDS_NOT_DONE: Final = ("schema_settings", "ingestion_data_source_settings")
_SUBSCRIPTION_FIELDS_NOT_DONE: Final = ("bigquery_config", "cloud_storage_config", "bigtable_config")


def message_type(name: str) -> Any:
    """Return the protobuf class of that name."""
    return getattr(pubsub, name).pb()


_PubsubMessage: Final = message_type("PubsubMessage")
_ReceivedMessage: Final = message_type("ReceivedMessage")


def check_name(name: str, kind: str) -> str:
    """Return the name if it is valid for this kind of resource.

    `kind` is `topics` or `subscriptions`.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[2] != kind:
        raise invalid(f"Invalid resource name given (name={name}); expected projects/PROJECT/{kind}/NAME.")
    return name


def check_topic(topic: Any) -> Any:
    """Return the topic if the broker supports everything that it requests."""
    check_name(topic.name, "topics")
    for name in _TOPIC_FIELDS_NOT_DONE:
        if topic.HasField(name):
            raise unimplemented(f"topics with {name}")
    if topic.message_transforms:
        raise unimplemented("topics with message_transforms")
    return topic


def read_settings(
    subscription: Any, *, shortest_ack_deadline_s: float = SHORTEST_ACK_DEADLINE_S
) -> SubscriptionSettings:
    """Translate a Subscription into the broker's settings.

    Fills in the defaults that the service would return.
    """
    check_name(subscription.name, "subscriptions")
    _refuse_unimplemented(subscription)
    subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or int(DEFAULT_ACK_DEADLINE_S)
    seconds, shortest_s = subscription.ack_deadline_seconds, shortest_ack_deadline_s
    if not shortest_s <= seconds <= LONGEST_ACK_DEADLINE_S:
        raise invalid(f"ack_deadline_seconds is {seconds}; it must be {shortest_s:g} to {LONGEST_ACK_DEADLINE_S:g}")
    if not _seconds(subscription.message_retention_duration):
        subscription.message_retention_duration.FromSeconds(int(DEFAULT_RETENTION_S))
    return SubscriptionSettings(
        ack_deadline_s=float(subscription.ack_deadline_seconds),
        retention_s=_seconds(subscription.message_retention_duration),
        backoff=_read_backoff(subscription),
        dead_letters=_read_dead_letters(subscription),
        ordered=subscription.enable_message_ordering,
        push_endpoint=_read_push_endpoint(subscription.push_config),
        wants=compile_filter(subscription.filter) if subscription.filter else match_all,
        kept=_is_permanent(subscription),
        as_asked=subscription,
    )


def encode_received(settings: SubscriptionSettings, deliveries: Sequence[Delivery]) -> list[Any]:
    """Encode deliveries as ReceivedMessage.

    Attempts are counted only where there is a dead-letter policy.
    """
    encoded = []
    for delivery in deliveries:
        message = delivery.message
        wrapped = _PubsubMessage(
            data=message.data,
            attributes=message.attributes,
            message_id=message.id,
            ordering_key=message.ordering_key,
        )
        wrapped.publish_time.FromMicroseconds(int(message.publish_time * 1e6))
        attempt = 0 if settings.dead_letters is None else delivery.attempt
        encoded.append(_ReceivedMessage(ack_id=delivery.ack_id, message=wrapped, delivery_attempt=attempt))
    return encoded


def _refuse_unimplemented(subscription: Any) -> None:
    for name in _SUBSCRIPTION_FIELDS_NOT_DONE:
        if subscription.HasField(name):
            raise unimplemented(f"subscriptions with {name}")
    if subscription.enable_exactly_once_delivery:
        raise unimplemented("exactly-once delivery")
    if subscription.message_transforms:
        raise unimplemented("subscriptions with message_transforms")
    if subscription.push_config.HasField("no_wrapper"):
        raise unimplemented("unwrapped push")


def _is_permanent(subscription: Any) -> bool:
    """Return True unless a client made the subscription for its own lifetime only."""
    never_expires = subscription.HasField("expiration_policy") and not subscription.expiration_policy.HasField("ttl")
    return never_expires or bool(subscription.push_config.push_endpoint)


def _read_push_endpoint(config: Any) -> str:
    endpoint = str(config.push_endpoint)
    if endpoint and not re.match(r"https?://[^/\s]+(/\S*)?$", endpoint):
        raise invalid(f"push_endpoint {endpoint!r} is not an http(s) URL")
    return endpoint


def _read_backoff(subscription: Any) -> RedeliveryBackoff | None:
    if not subscription.HasField("retry_policy"):
        return PUSH_BACKOFF if subscription.push_config.push_endpoint else None
    policy = subscription.retry_policy
    minimum_s = DEFAULT_BACKOFF.minimum_s
    maximum_s = DEFAULT_BACKOFF.maximum_s
    if policy.HasField("minimum_backoff"):
        minimum_s = _seconds(policy.minimum_backoff)
    if policy.HasField("maximum_backoff"):
        maximum_s = _seconds(policy.maximum_backoff)
    if not 0 <= minimum_s <= maximum_s <= LONGEST_BACKOFF_S:
        raise invalid(f"retry_policy: 0 <= minimum {minimum_s} <= maximum {maximum_s} <= 600 s does not hold")
    return RedeliveryBackoff(minimum_s=minimum_s, maximum_s=maximum_s)


def _read_dead_letters(subscription: Any) -> DeadLetters | None:
    policy = subscription.dead_letter_policy
    if not policy.dead_letter_topic:
        return None
    check_name(policy.dead_letter_topic, "topics")
    policy.max_delivery_attempts = policy.max_delivery_attempts or FEWEST_DELIVERY_ATTEMPTS
    if not FEWEST_DELIVERY_ATTEMPTS <= policy.max_delivery_attempts <= MOST_DELIVERY_ATTEMPTS:
        raise invalid(f"max_delivery_attempts is {policy.max_delivery_attempts}; it must be 5 to 100")
    return DeadLetters(topic=policy.dead_letter_topic, max_attempts=policy.max_delivery_attempts)


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) / 1e9
