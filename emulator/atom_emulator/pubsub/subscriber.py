"""google.pubsub.v1.Subscriber: subscriptions, and pulling from them one request at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.empty_pb2 import Empty

from atom_emulator.pubsub.broker import DELETED_TOPIC, Subscription
from atom_emulator.pubsub.refusals import Code, RefusalError, invalid
from atom_emulator.pubsub.rpc import Context, Methods, merge_masked, page
from atom_emulator.pubsub.streaming import StreamingPull
from atom_emulator.pubsub.wire import (
    LONGEST_ACK_DEADLINE_S,
    SHORTEST_ACK_DEADLINE_S,
    check_name,
    encode_received,
    message_type,
    read_settings,
)

if TYPE_CHECKING:
    from collections import Counter

    from atom_emulator.pubsub.driver import Driver
    from atom_emulator.pubsub.messages import Delivery

LONG_POLL_S: Final = 30.0
"""How long a Pull of an empty subscription waits before it answers without messages."""

_FIXED: Final = dict.fromkeys(("name", "topic", "filter", "enable_message_ordering"), "cannot be changed")
_UNIMPLEMENTED: Final = (
    "GetSnapshot",
    "ListSnapshots",
    "CreateSnapshot",
    "UpdateSnapshot",
    "DeleteSnapshot",
    "Seek",
)
_Subscription: Final = message_type("Subscription")
_PullResponse: Final = message_type("PullResponse")
_ListSubscriptionsResponse: Final = message_type("ListSubscriptionsResponse")


class Subscriber:
    """The service's methods. Each subscription's protobuf message is stored with the broker's own settings."""

    def __init__(self, driver: Driver, *, shortest_ack_deadline_s: float = SHORTEST_ACK_DEADLINE_S) -> None:
        self._driver = driver
        self._broker = driver.broker
        self._shortest_ack_deadline_s = shortest_ack_deadline_s

    def methods(self, calls: Counter[str]) -> Methods:
        """Return the methods in the form that a gRPC server accepts."""
        methods = Methods("google.pubsub.v1.Subscriber", calls)
        methods.function("CreateSubscription", "Subscription", self.create_subscription)
        methods.function("GetSubscription", "GetSubscriptionRequest", self.get_subscription)
        methods.function("UpdateSubscription", "UpdateSubscriptionRequest", self.update_subscription)
        methods.function("ListSubscriptions", "ListSubscriptionsRequest", self.list_subscriptions)
        methods.function("DeleteSubscription", "DeleteSubscriptionRequest", self.delete_subscription)
        methods.function("ModifyPushConfig", "ModifyPushConfigRequest", self.modify_push_config)
        methods.function("Acknowledge", "AcknowledgeRequest", self.acknowledge)
        methods.function("ModifyAckDeadline", "ModifyAckDeadlineRequest", self.modify_ack_deadline)
        methods.coroutine("Pull", "PullRequest", self.pull)
        methods.stream("StreamingPull", "StreamingPullRequest", StreamingPull(self._driver).serve)
        methods.refuse_unimplemented(_UNIMPLEMENTED)
        return methods

    # -- subscriptions --

    def create_subscription(self, subscription: Any) -> Any:
        """Make a subscription."""
        check_name(subscription.topic, "topics")
        settings = read_settings(subscription, shortest_ack_deadline_s=self._shortest_ack_deadline_s)
        created = self._broker.create_subscription(subscription.name, subscription.topic, settings)
        self._driver.update_pusher(created)
        return _answer(created)

    def get_subscription(self, request: Any) -> Any:
        """Return the subscription, with defaults filled in."""
        return _answer(self._broker.subscription(request.subscription))

    def update_subscription(self, request: Any) -> Any:
        """Change the fields of a subscription that the mask names."""
        stored = self._broker.subscription(request.subscription.name).settings.as_asked
        return self._replace(merge_masked(stored, request.subscription, request.update_mask, fixed=_FIXED))

    def modify_push_config(self, request: Any) -> Any:
        """Change the push endpoint of a subscription.

        Without an endpoint, it becomes a pull subscription.
        """
        changed = _Subscription()
        changed.CopyFrom(self._broker.subscription(request.subscription).settings.as_asked)
        changed.push_config.CopyFrom(request.push_config)
        self._replace(changed)
        return Empty()

    def list_subscriptions(self, request: Any) -> Any:
        """List a project's subscriptions by name."""
        prefix = f"{request.project}/subscriptions/"
        names, token = page([name for name in self._broker.subscriptions if name.startswith(prefix)], request)
        subscriptions = [_answer(self._broker.subscriptions[name]) for name in names]
        return _ListSubscriptionsResponse(subscriptions=subscriptions, next_page_token=token)

    def delete_subscription(self, request: Any) -> Any:
        """Delete a subscription and its messages."""
        self._broker.delete_subscription(request.subscription)
        self._driver.forget(request.subscription)
        return Empty()

    def _replace(self, changed: Any) -> Any:
        settings = read_settings(changed, shortest_ack_deadline_s=self._shortest_ack_deadline_s)
        self._broker.update_subscription(changed.name, settings)
        subscription = self._broker.subscription(changed.name)
        self._driver.update_pusher(subscription)
        self._driver.deliver_ready()
        return _answer(subscription)

    # -- messages --

    def acknowledge(self, request: Any) -> Any:
        """Acknowledge deliveries.

        Those whose deadline has passed are ignored.
        """
        self._broker.ack(request.subscription, request.ack_ids)
        self._driver.deliver_ready()
        return Empty()

    def modify_ack_deadline(self, request: Any) -> Any:
        """Set deadlines to this many seconds from now.

        0 asks for redelivery.
        """
        seconds = request.ack_deadline_seconds
        if not 0 <= seconds <= LONGEST_ACK_DEADLINE_S:
            raise invalid(f"ack_deadline_seconds is {seconds}; it must be 0 to {LONGEST_ACK_DEADLINE_S:g}")
        now = self._driver.now()
        self._broker.modify_ack_deadline(request.subscription, request.ack_ids, seconds, now)
        self._driver.deliver_ready()
        return Empty()

    async def pull(self, request: Any, _context: Context) -> Any:
        """Lease messages, waiting for one unless `return_immediately` is set.

        Answers without messages if none arrives.
        """
        name = request.subscription
        if request.max_messages <= 0:
            raise invalid("max_messages must be positive")
        if self._broker.subscription(name).settings.push_endpoint:
            raise RefusalError(Code.FAILED_PRECONDITION, "messages of a push subscription cannot be pulled")
        deliveries = self._lease(name, request.max_messages)
        if not deliveries and not request.return_immediately:
            deliveries = await self._wait(name, request.max_messages)
        return _PullResponse(received_messages=encode_received(self._broker.subscription(name).settings, deliveries))

    def _lease(self, name: str, limit: int) -> list[Delivery]:
        deliveries = self._broker.lease(name, self._driver.now(), limit=limit)
        self._driver.deliver_ready()
        return deliveries

    async def _wait(self, name: str, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        with self._driver.watch(name) as ready:
            try:
                async with asyncio.timeout(LONG_POLL_S):
                    while not deliveries:
                        await ready.wait()
                        ready.clear()
                        deliveries = self._lease(name, limit)
            except TimeoutError:
                pass  # nothing arrived: the answer is empty, and the client asks again
        return deliveries


def _answer(subscription: Subscription) -> Any:
    """Return a Subscription as the service would return it."""
    answer = subscription.settings.as_asked
    if subscription.topic == DELETED_TOPIC:
        answer.topic = DELETED_TOPIC
    return answer
