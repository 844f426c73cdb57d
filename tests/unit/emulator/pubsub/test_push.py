"""Push delivery, from the real client library to a real HTTP endpoint."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.emulator.pubsub.receiver import Answer, Receiver
    from unit.emulator.pubsub.running import Running

    MakeReceiver = Callable[[Answer], Receiver]


def pushing(running: Running, topic: str, url: str, **fields: Any) -> str:
    """Make a subscription that pushes to that URL."""
    return running.subscription(topic, push_config={"push_endpoint": url}, **fields)


def retrying(milliseconds: int) -> dict[str, Any]:
    """Return a retry policy from that many milliseconds to ten times as many."""
    policy = {
        "minimum_backoff": Duration(nanos=milliseconds * 1_000_000),
        "maximum_backoff": Duration(nanos=milliseconds * 10_000_000),
    }
    return {"retry_policy": policy}


def scripted(*statuses: int) -> Answer:
    """Answer with these one after the other, then with 204."""
    left = [*statuses]
    return lambda _body: left.pop(0) if left else 204


def test_the_wrapped_message(running: Running, receiver: MakeReceiver) -> None:
    """A push has the path, content type and body of the real service."""
    endpoint = receiver(scripted())
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url)
    message_id = running.publish(topic, b'{"a":1}', kind="k")
    push = endpoint.next()
    message = push.body["message"]
    published = datetime.fromisoformat(message["publishTime"])
    assert push.path == "/projects/p/topics/t?x=1"
    assert push.headers["Content-Type"] == "application/json"
    assert push.body == {"message": message, "subscription": subscription}
    assert message == {
        "data": base64.b64encode(b'{"a":1}').decode(),
        "attributes": {"kind": "k"},
        "messageId": message_id,
        "message_id": message_id,
        "publishTime": message["publishTime"],
        "publish_time": message["publishTime"],
    }
    assert abs((datetime.now(UTC) - published).total_seconds()) < 60


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_acknowledges(running: Running, receiver: MakeReceiver, status: int) -> None:
    """Each success code of the real service acknowledges, 202 among them."""
    endpoint = receiver(scripted(status))
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url)
    running.publish(topic)
    endpoint.next()
    running.settled(subscription, acked=1, delivered=1, backlog=0)


@pytest.mark.parametrize("status", [500, 429, 400, 301, 206, 0])
def test_anything_else_is_redelivered(running: Running, receiver: MakeReceiver, status: int) -> None:
    """Any other status, or a connection closed without answer, causes redelivery."""
    endpoint = receiver(scripted(status))
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url)
    running.publish(topic)
    assert endpoint.next().body["message"] == endpoint.next().body["message"]
    running.settled(subscription, acked=1, nacked=1, delivered=2)


def test_back_off_between_redeliveries(running: Running, receiver: MakeReceiver) -> None:
    """Five redeliveries take at least the waits of the policy."""
    endpoint = receiver(scripted(500, 500, 500, 500, 500))
    topic = running.topic()
    pushing(running, topic, endpoint.url, **retrying(50))
    began = time.monotonic()
    running.publish(topic)
    last = [endpoint.next() for _ in range(6)][-1]
    assert last.at - began >= 0.05 + 0.1 + 0.2 + 0.4 + 0.5 - 0.01


def test_a_slow_answer_is_redelivered_at_the_deadline(running: Running, receiver: MakeReceiver) -> None:
    """A push that is not answered within the ack deadline comes again."""
    released = threading.Event()
    first = threading.Event()

    def slow_once(_body: dict[str, Any]) -> int:
        if not first.is_set():
            first.set()
            released.wait(60)
        return 204

    endpoint = receiver(slow_once)
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url, ack_deadline_seconds=1, **retrying(10))
    began = time.monotonic()
    running.publish(topic)
    earlier, later = endpoint.next(), endpoint.next()
    released.set()
    # The first request may be noted late on a busy machine, so the deadline is counted from before it.
    assert later.at - began >= 0.99
    assert earlier.body["message"] == later.body["message"]
    running.settled(subscription, acked=1, nacked=1, delivered=2, backlog=0)


def test_dead_letters_and_delivery_attempts(running: Running, receiver: MakeReceiver) -> None:
    """A push has its attempt, and after the last one the message moves on."""
    endpoint = receiver(lambda _body: 500)
    topic, dead_topic = running.topic(), running.topic()
    dead_subscription = running.subscription(dead_topic)
    policy = {"dead_letter_topic": dead_topic, "max_delivery_attempts": 5}
    subscription = pushing(running, topic, endpoint.url, dead_letter_policy=policy, **retrying(10))
    running.publish(topic, b"poison")
    assert [endpoint.next().body["deliveryAttempt"] for _ in range(5)] == [1, 2, 3, 4, 5]
    (dead,) = running.pull(dead_subscription)
    assert dead.message.data == b"poison"
    running.settled(subscription, dead_lettered=1, delivered=5, backlog=0)


def test_an_endpoint_that_comes_up_late_gets_its_messages(running: Running, receiver: MakeReceiver) -> None:
    """Messages for a refused connection go to the subscription's new endpoint."""
    closed = receiver(scripted())
    closed.close()
    topic = running.topic()
    subscription = pushing(running, topic, closed.url)
    running.publish(topic)
    running.settled(subscription, nacked=2)
    endpoint = receiver(scripted())
    running.subscriber.modify_push_config(subscription=subscription, push_config={"push_endpoint": endpoint.url})
    endpoint.next()
    running.settled(subscription, acked=1, backlog=0)


def test_a_slow_endpoint_delays_no_other(running: Running, receiver: MakeReceiver) -> None:
    """A slow endpoint has at most 16 pushes, and delays no other subscription."""
    released = threading.Event()
    stuck = receiver(lambda _body: 204 if released.wait(60) else 500)
    quick = receiver(scripted())
    topic = running.topic()
    slow_subscription = pushing(running, topic, stuck.url, ack_deadline_seconds=30)
    quick_subscription = pushing(running, topic, quick.url)
    for future in [running.publisher.publish(topic, b"x") for _ in range(50)]:
        future.result(timeout=60)
    running.settled(quick_subscription, acked=50)
    assert running.tally(slow_subscription)["delivered"] == 16
    released.set()
    running.settled(slow_subscription, acked=50)


def test_connections_are_reused(running: Running, receiver: MakeReceiver) -> None:
    """Deliveries one after the other go over one kept-alive connection."""
    endpoint = receiver(scripted())
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url)
    for count in range(1, 6):
        running.publish(topic)
        running.settled(subscription, acked=count)
    assert len({endpoint.next().connection for _ in range(5)}) == 1


def test_a_kept_connection_that_went_stale_costs_no_attempt(running: Running, receiver: MakeReceiver) -> None:
    """A push whose kept connection was just closed is sent on a new one."""
    endpoint = receiver(scripted(204, 0, 204))
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url)
    for count in (1, 2):
        running.publish(topic)
        running.settled(subscription, acked=count)
    assert running.tally(subscription)["nacked"] == 0
    assert len({endpoint.next().connection for _ in range(3)}) == 2


def test_two_thousand_messages(running: Running, receiver: MakeReceiver) -> None:
    """2,000 messages are each pushed once, in under a millisecond of processor time."""
    endpoint = receiver(scripted())
    topic = running.topic()
    subscription = pushing(running, topic, endpoint.url)
    before_s = running.cpu_s()
    futures = [running.publisher.publish(topic, b"%d" % number) for number in range(2000)]
    seen = Counter(endpoint.next().body["message"]["data"] for _ in futures)
    used_s = running.cpu_s() - before_s
    running.settled(subscription, acked=2000, delivered=2000)
    assert len(seen) == 2000
    assert set(seen.values()) == {1}
    assert used_s / 2000 < 1e-3
