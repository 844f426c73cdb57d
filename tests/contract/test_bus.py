"""The Bus port: every promise of `ports.Bus`, on every backend."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import Message
from contract.backends import BusUnderTest, pubsub_at

BODIES: list[dict[str, Any]] = [
    {"n": 1},
    {"nested": {"list": [1, 2.5, None, True, {"deep": []}]}},
    {"text": "Grüße, 世界 😀 \x00 \u2028 line\nline", "ключ": "ü"},
    {"large": "ü" * 1_000_000},
]


def test_a_message_arrives_as_it_was_published(bus: BusUnderTest) -> None:
    """Bodies and attributes arrive unchanged, whatever text they hold."""
    attributes = {"type": "test", "run_id": "flow-1", "who": "世界 😀"}
    for body in BODIES:
        bus.bus.publish([Message(topic="steps", body=body, attributes=attributes)])
        assert bus.take("steps", 1) == [(body, attributes)]


def test_messages_go_to_their_own_topics(bus: BusUnderTest) -> None:
    """One call may publish to several topics, in any order."""
    topics = ["steps", "tick", "steps", "events", "start", "steps"]
    bus.bus.publish([Message(topic=topic, body={"n": place}) for place, topic in enumerate(topics)])
    expected = {"start": [4], "steps": [0, 2, 5], "tick": [1], "events": [3]}
    arrived = {topic: bus.take(topic, len(numbers)) for topic, numbers in expected.items()}
    assert {topic: sorted(body["n"] for body, _ in taken) for topic, taken in arrived.items()} == expected


def test_every_one_of_2500_messages_arrives(bus: BusUnderTest) -> None:
    """A call may hold more messages than a request of the service."""
    bus.bus.publish([Message(topic="steps", body={"n": number}) for number in range(2_500)])
    assert sorted(body["n"] for body, _ in bus.take("steps", 2_500)) == list(range(2_500))


def test_a_call_may_hold_more_than_one_request_takes(bus: BusUnderTest) -> None:
    """Twelve messages of 1 MB arrive, though a request holds 10 MB."""
    text = "x" * 1_000_000
    bus.bus.publish([Message(topic="steps", body={"n": number, "text": text}) for number in range(12)])
    arrived = [body["n"] for _ in range(4) for body, _ in bus.take("steps", 3)]
    assert sorted(arrived) == list(range(12))


def test_publishing_nothing_is_nothing(bus: BusUnderTest) -> None:
    """Publishing no messages is no error."""
    bus.bus.publish([])


def test_threads_may_publish_at_the_same_time(bus: BusUnderTest) -> None:
    """Messages of many threads all arrive."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: bus.bus.publish([Message(topic="steps", body={"n": n})]), range(64)))
    assert sorted(body["n"] for body, _ in bus.take("steps", 64)) == list(range(64))


def test_an_unknown_topic_is_named(bus: BusUnderTest) -> None:
    """An unknown topic raises BusUnavailable, which names it."""
    with pytest.raises(BusUnavailable, match="nowhere"):
        bus.bus.publish([Message(topic="nowhere", body={"n": 1})])


@pytest.mark.parametrize("server", ["refusing_address", "silent_address"])
def test_an_unreachable_server_is_an_outage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Publishing raises BusUnavailable if no one listens or no one answers."""
    address = request.getfixturevalue(server)
    bus = pubsub_at(address, monkeypatch, limits=Limits(call_s=0.3, total_s=0.5))
    with pytest.raises(BusUnavailable):
        bus.publish([Message(topic="steps", body={"n": 1})])


def test_few_requests_are_made(pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages to one topic leave in one request of up to 1,000."""
    bus = pubsub_at(pubsub_address, monkeypatch)
    bus._client.create_topic(name="projects/contract/topics/flow-few")
    with grpc.insecure_channel(pubsub_address) as channel:
        counters: Any = channel.unary_unary("/atom.emulator/Counters")
        before = json.loads(counters(b""))["calls"].get("Publisher/Publish", 0)
        bus.publish([Message(topic="few", body={"n": number}) for number in range(2_100)])
        assert json.loads(counters(b""))["calls"]["Publisher/Publish"] - before == 3
