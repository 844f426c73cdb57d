"""Topics and push subscriptions, as `deploy` creates them in the cloud, and the tick that is published to one topic."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.api_core.exceptions import AlreadyExists, GoogleAPIError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from atom_emulator.platform.errors import TopicsMissing
from atom_workflows.ports import DEAD_LETTERS
from atom_workflows.settings import MAX_DELIVERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


TOPICS: Final = ("start", "steps", "tick", "jobs", "events", DEAD_LETTERS)

SUBSCRIBED: Final[Mapping[str, str]] = MappingProxyType(
    {"start": "start", "steps": "dispatcher", "tick": "checker", "jobs": "checker"}
)
"""The function that each topic's push subscription calls. A subscription is named after its topic."""

ACK_DEADLINE_S: Final = 60
MIN_BACKOFF: Final = timedelta(seconds=1)
MAX_BACKOFF: Final = timedelta(seconds=10)
DEAD_LETTERS_KEPT: Final = timedelta(days=7)
"""The longest retention that Google's emulator allows; the service allows 31 days."""

_CALL_TIMEOUT_S: Final = 5.0
_FIRST_CALL_TIMEOUT_S: Final = 20.0
"""Longer than for other calls, since a Java server that has just opened its port is still loading most of its code."""

_log = logging.getLogger(__name__)


class PubSub:
    """The project's topics, through Google's own client.

    The address is passed to the client directly, not through `PUBSUB_EMULATOR_HOST`: several platforms may run in one
    process, and the process's environment belongs to the user.
    """

    def __init__(self, address: str, project: str, *, max_deliveries: int = MAX_DELIVERIES) -> None:
        self._address = address
        self._project = project
        self._max_deliveries = max_deliveries
        # Without this option gRPC would use a proxy from the environment even for a local address.
        self._channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self._publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self._subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))

    def create(self, endpoints: Mapping[str, str]) -> None:
        """Create the topics and subscriptions that are missing.

        `endpoints` maps each topic of `SUBSCRIBED` to the URL it is pushed to. Raises `TopicsMissing`.
        """
        try:
            for topic in TOPICS:
                # An emulator that was already running may still have the topic from an earlier platform.
                with suppress(AlreadyExists):
                    self._publisher.create_topic(name=self._topic(topic), timeout=_FIRST_CALL_TIMEOUT_S)
            for topic in SUBSCRIBED:
                self._subscribe(topic, endpoints[topic])
            self._subscribe_dead_letters()
        except GoogleAPIError as error:
            raise TopicsMissing(self._address, str(error)) from error

    def publish(self, topic: str, messages: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Publish to a topic of any project and return the messages' ids.

        The topic is named `projects/P/topics/T`.
        """
        request = {"topic": topic, "messages": list(messages)}
        return list(self._publisher.publish(request=request, timeout=_CALL_TIMEOUT_S, retry=None).message_ids)

    def tick(self) -> None:
        """Publish a tick.

        A tick that cannot be published is skipped, as the next one does its work.
        """
        try:
            self.publish(self._topic("tick"), [{"data": json.dumps({"type": "tick"}).encode()}])
        except GoogleAPIError as error:
            _log.warning("a tick was not published: %s", error)

    def unsubscribe(self) -> None:
        """Delete the push subscriptions.

        A server that stays up would keep pushing to addresses where nothing listens.
        """
        for topic in SUBSCRIBED:
            try:
                self._subscriber.delete_subscription(
                    subscription=self._subscription(topic), timeout=_CALL_TIMEOUT_S, retry=None
                )
            except GoogleAPIError as error:
                _log.warning("the subscription %s was not deleted: %s", topic, error)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _topic(self, topic: str) -> str:
        return f"projects/{self._project}/topics/{topic}"

    def _subscription(self, name: str) -> str:
        return f"projects/{self._project}/subscriptions/{name}"

    def _subscribe(self, topic: str, endpoint: str) -> None:
        request: dict[str, Any] = {
            "name": self._subscription(topic),
            "topic": self._topic(topic),
            "push_config": {"push_endpoint": endpoint},
            "ack_deadline_seconds": ACK_DEADLINE_S,
            "retry_policy": {"minimum_backoff": MIN_BACKOFF, "maximum_backoff": MAX_BACKOFF},
            "dead_letter_policy": {
                "dead_letter_topic": self._topic(DEAD_LETTERS),
                "max_delivery_attempts": self._max_deliveries,
            },
        }
        try:
            self._subscriber.create_subscription(request=request, timeout=_FIRST_CALL_TIMEOUT_S)
        except AlreadyExists:
            self._subscriber.modify_push_config(
                subscription=request["name"], push_config=request["push_config"], timeout=_CALL_TIMEOUT_S
            )

    def _subscribe_dead_letters(self) -> None:
        request = {
            "name": self._subscription(DEAD_LETTERS),
            "topic": self._topic(DEAD_LETTERS),
            "ack_deadline_seconds": ACK_DEADLINE_S,
            "message_retention_duration": DEAD_LETTERS_KEPT,
            "expiration_policy": {},  # never expires, however long it is unused
        }
        with suppress(AlreadyExists):
            self._subscriber.create_subscription(request=request, timeout=_CALL_TIMEOUT_S)
