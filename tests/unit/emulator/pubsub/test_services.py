"""The gRPC services, through the real client library."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

if TYPE_CHECKING:
    from unit.emulator.pubsub.running import Running


def test_publish_pull_acknowledge(running: Running) -> None:
    """A message is pulled as published, and gone once acknowledged."""
    topic = running.topic()
    subscription = running.subscription(topic)
    message_id = running.publish(topic, b"hello", kind="a")
    (pulled,) = running.pull(subscription)
    assert (pulled.message.data, dict(pulled.message.attributes)) == (b"hello", {"kind": "a"})
    assert (pulled.message.message_id, pulled.delivery_attempt) == (message_id, 0)
    running.acknowledge(subscription, [pulled])
    assert running.pull(subscription, return_immediately=True) == []
    assert running.tally(subscription)["acked"] == 1


def test_a_pull_waits_for_a_message(running: Running) -> None:
    """A pull of an empty subscription is answered by the next publish."""
    topic = running.topic()
    subscription = running.subscription(topic)
    pulled: queue.Queue[list[Any]] = queue.Queue()
    waiting = threading.Thread(target=lambda: pulled.put(running.pull(subscription)))
    waiting.start()
    running.publish(topic, b"late")
    assert pulled.get(timeout=60)[0].message.data == b"late"
    waiting.join()


def test_a_deadline_of_zero_redelivers_with_its_attempt_counted(running: Running) -> None:
    """A nacked message comes again with its attempt counted."""
    topic = running.topic()
    policy = {"dead_letter_topic": running.topic(), "max_delivery_attempts": 5}
    subscription = running.subscription(topic, dead_letter_policy=policy)
    running.publish(topic)
    (first,) = running.pull(subscription)
    running.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    (second,) = running.pull(subscription)
    assert (first.delivery_attempt, second.delivery_attempt) == (1, 2)


def test_a_missed_deadline_answers_a_waiting_pull(running: Running) -> None:
    """A waiting pull is answered when another lease ends."""
    topic = running.topic()
    subscription = running.subscription(topic, ack_deadline_seconds=1)
    running.publish(topic)
    running.pull(subscription)
    (again,) = running.pull(subscription)
    running.acknowledge(subscription, [again])
    assert running.tally(subscription)["expired"] == 1


def test_streaming_pull(running: Running) -> None:
    """The client library's `subscribe` receives and acknowledges everything."""
    topic = running.topic()
    subscription = running.subscription(topic)
    received: queue.Queue[bytes] = queue.Queue()

    def take(message: Any) -> None:
        received.put(message.data)
        message.ack()

    stream = running.subscriber.subscribe(subscription, callback=take)
    futures = [running.publisher.publish(topic, b"%d" % number) for number in range(200)]
    assert sorted(int(received.get(timeout=60)) for _ in futures) == [*range(200)]
    running.settled(subscription, acked=200, backlog=0)
    stream.cancel()
    stream.result(timeout=10)


def test_dead_letters_are_forwarded(running: Running) -> None:
    """A message that failed its last attempt is in the dead-letter topic."""
    topic, dead_topic = running.topic(), running.topic()
    policy = {"dead_letter_topic": dead_topic, "max_delivery_attempts": 5}
    subscription = running.subscription(topic, dead_letter_policy=policy)
    dead_subscription = running.subscription(dead_topic)
    running.publish(topic, b"poison")
    for _ in range(5):
        (pulled,) = running.pull(subscription)
        running.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=[pulled.ack_id], ack_deadline_seconds=0
        )
    (dead,) = running.pull(dead_subscription)
    assert dead.message.data == b"poison"
    assert dead.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


def test_filters_are_enforced(running: Running) -> None:
    """A subscription receives only what its filter wants."""
    topic = running.topic()
    subscription = running.subscription(topic, filter='attributes.kind = "a"')
    running.publish(topic, b"1", kind="b")
    running.publish(topic, b"2", kind="a")
    assert [message.message.data for message in running.pull(subscription)] == [b"2"]


def test_resources_are_found_listed_changed_and_deleted(running: Running) -> None:
    """Topics and subscriptions are read as made or changed, with defaults."""
    topic = running.topic()
    subscription = running.subscription(topic, labels={"a": "b"})
    found = running.subscriber.get_subscription(subscription=subscription)
    assert (found.topic, found.ack_deadline_seconds, dict(found.labels)) == (topic, 10, {"a": "b"})
    assert found.message_retention_duration.days == 7
    assert [*running.publisher.list_topic_subscriptions(topic=topic)] == [subscription]
    assert topic in [t.name for t in running.publisher.list_topics(request={"project": "projects/p", "page_size": 1})]
    assert subscription in [s.name for s in running.subscriber.list_subscriptions(project="projects/p")]
    changed = running.subscriber.update_subscription(
        subscription={
            "name": subscription,
            "ack_deadline_seconds": 60,
            "retry_policy": {"minimum_backoff": Duration(seconds=1)},
        },
        update_mask=FieldMask(paths=["ack_deadline_seconds", "retry_policy"]),
    )
    assert (changed.ack_deadline_seconds, changed.retry_policy.minimum_backoff.seconds) == (60, 1)
    assert (changed.topic, dict(changed.labels)) == (topic, {"a": "b"})
    running.publisher.delete_topic(topic=topic)
    assert running.subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    running.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        running.subscriber.get_subscription(subscription=subscription)


def test_a_missing_topic_is_said_at_once(running: Running) -> None:
    """Publishing to a topic that does not exist fails with NOT_FOUND."""
    with pytest.raises(exceptions.NotFound):
        running.publish("projects/p/topics/missing")


@pytest.mark.parametrize(
    "fields",
    [
        {"ack_deadline_seconds": 601},
        {"filter": "nonsense"},
        {"push_config": {"push_endpoint": "ftp://x"}},
        {"dead_letter_policy": {"dead_letter_topic": "projects/p/topics/dead", "max_delivery_attempts": 2}},
        {"retry_policy": {"minimum_backoff": Duration(seconds=700)}},
        {"name": "sub"},
    ],
)
def test_what_the_service_refuses_is_refused(running: Running, fields: dict[str, Any]) -> None:
    """Settings outside the service's limits are INVALID_ARGUMENT."""
    with pytest.raises(exceptions.InvalidArgument):
        running.subscription(running.topic(), **fields)


@pytest.mark.parametrize("fields", [{"enable_exactly_once_delivery": True}, {"bigquery_config": {"table": "x"}}])
def test_what_is_not_done_is_said(running: Running, fields: dict[str, Any]) -> None:
    """A setting the embedded server cannot honor is UNIMPLEMENTED, not ignored."""
    with pytest.raises(exceptions.MethodNotImplemented, match="the embedded Pub/Sub does not support"):
        running.subscription(running.topic(), **fields)


def test_a_method_that_is_not_done_is_named(running: Running) -> None:
    """Methods of the real service answer UNIMPLEMENTED with their own name."""
    with pytest.raises(exceptions.MethodNotImplemented, match="Seek"):
        running.subscriber.seek(request={"subscription": running.subscription(running.topic())})


def test_an_empty_message_is_refused(running: Running) -> None:
    """A message needs data or an attribute."""
    with pytest.raises(exceptions.InvalidArgument):
        running.publish(running.topic(), b"")
