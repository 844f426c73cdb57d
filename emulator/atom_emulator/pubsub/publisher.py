"""google.pubsub.v1.Publisher: topics, and publishing to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.empty_pb2 import Empty

from atom_emulator.pubsub.refusals import invalid
from atom_emulator.pubsub.rpc import Methods, merge_masked, page
from atom_emulator.pubsub.wire import check_topic, message_type

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from atom_emulator.pubsub.driver import Driver

MAX_MESSAGES: Final = 1000
MAX_REQUEST_BYTES: Final = 10_000_000
MAX_ATTRIBUTES: Final = 100
MAX_KEY_BYTES: Final = 256
MAX_VALUE_BYTES: Final = 1024

_UNIMPLEMENTED: Final = ("ListTopicSnapshots", "DetachSubscription")
_PublishResponse: Final = message_type("PublishResponse")
_Topic: Final = message_type("Topic")
_ListTopicsResponse: Final = message_type("ListTopicsResponse")
_ListTopicSubscriptionsResponse: Final = message_type("ListTopicSubscriptionsResponse")


class Publisher:
    """The service's methods. Each topic's protobuf message is stored with the broker's topic, as it was requested."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._broker = driver.broker

    def methods(self, calls: Counter[str]) -> Methods:
        """Return the methods in the form that a gRPC server accepts."""
        methods = Methods("google.pubsub.v1.Publisher", calls)
        methods.function("Publish", "PublishRequest", self.publish)
        methods.function("CreateTopic", "Topic", self.create_topic)
        methods.function("UpdateTopic", "UpdateTopicRequest", self.update_topic)
        methods.function("GetTopic", "GetTopicRequest", self.get_topic)
        methods.function("DeleteTopic", "DeleteTopicRequest", self.delete_topic)
        methods.function("ListTopics", "ListTopicsRequest", self.list_topics)
        methods.function("ListTopicSubscriptions", "ListTopicSubscriptionsRequest", self.list_topic_subscriptions)
        methods.refuse_unimplemented(_UNIMPLEMENTED)
        return methods

    def publish(self, request: Any) -> Any:
        """Publish every message or none."""
        messages = request.messages
        _check_messages(messages)
        now = self._driver.now()
        topic = self._broker.topic(request.topic).name
        contents = [(message.data, dict(message.attributes), message.ordering_key) for message in messages]
        ids = self._broker.publish_all(topic, contents, now)
        self._driver.deliver_ready()
        return _PublishResponse(message_ids=ids)

    def create_topic(self, topic: Any) -> Any:
        """Make a topic."""
        return self._broker.create_topic(check_topic(topic).name, as_asked=topic).as_asked

    def update_topic(self, request: Any) -> Any:
        """Change a topic's own fields."""
        topic = self._broker.topic(request.topic.name)
        changed = merge_masked(topic.as_asked, request.topic, request.update_mask, fixed={"name": "cannot be changed"})
        topic.as_asked = check_topic(changed)
        return topic.as_asked

    def get_topic(self, request: Any) -> Any:
        """Return the topic as it was requested."""
        return self._broker.topic(request.topic).as_asked

    def delete_topic(self, request: Any) -> Any:
        """Delete a topic, but not its subscriptions."""
        self._broker.delete_topic(request.topic)
        return Empty()

    def list_topics(self, request: Any) -> Any:
        """List a project's topics by name."""
        prefix = f"{request.project}/topics/"
        names, token = page([name for name in self._broker.topics if name.startswith(prefix)], request)
        topics = [self._broker.topics[name].as_asked for name in names]
        return _ListTopicsResponse(topics=topics, next_page_token=token)

    def list_topic_subscriptions(self, request: Any) -> Any:
        """List the names of a topic's subscriptions."""
        names, token = page([*self._broker.topic(request.topic).subscriptions], request)
        return _ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)


def _check_messages(messages: Any) -> None:
    if not 0 < len(messages) <= MAX_MESSAGES:
        raise invalid(f"a publish request must have 1 to {MAX_MESSAGES} messages, not {len(messages)}")
    total = 0
    for message in messages:
        total += len(message.data)
        if message.attributes:
            _check_attributes(message.attributes.items())
        elif not message.data:
            raise invalid("a message must have data or at least one attribute")
    if total > MAX_REQUEST_BYTES:
        raise invalid(f"the messages have a total of {total} bytes; {MAX_REQUEST_BYTES} are allowed")


def _check_attributes(attributes: Iterable[tuple[str, str]]) -> None:
    count = 0
    for key, value in attributes:
        count += 1
        if not 0 < len(key.encode()) <= MAX_KEY_BYTES or key.startswith("goog"):
            raise invalid(f"attribute key {key!r} is empty, over {MAX_KEY_BYTES} bytes or starts with goog")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise invalid(f"the value of attribute {key!r} is over {MAX_VALUE_BYTES} bytes")
    if count > MAX_ATTRIBUTES:
        raise invalid(f"a message may have at most {MAX_ATTRIBUTES} attributes, not {count}")
