"""The DeadLetterBox port: every promise of `ports.DeadLetterBox`, on every backend."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pytest
from google.cloud import pubsub_v1

from atom_emulator.platform.options import PartName
from atom_emulator.platform.topology import SUBSCRIBED, PubSub
from atom_emulator.pubsub.memory import MemoryBus
from atom_workflows.adapters.pubsub.bus import PubsubBus
from atom_workflows.adapters.pubsub.dead_letters import PubsubDeadLetters
from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.adapters.system import SystemClock
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import DEAD_LETTERS, Bus, DeadLetterBox, HeldMessage, Message
from support.deadline import eventually
from support.letters import MemoryDeadLetters


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box, and the bus that fills it."""

    bus: Bus
    box: DeadLetterBox

    def put(self, count: int, data: bytes = b"x") -> None:
        """Give up so many messages, each with its number."""
        attributes = [{"n": str(number)} for number in range(count)]
        self.bus.publish([Message(topic=DEAD_LETTERS, raw=data, attributes=one) for one in attributes])

    def all(self, count: int) -> list[HeldMessage]:
        """Hold so many messages, which may come a few at a time."""
        held: list[HeldMessage] = []

        def has_all() -> bool:
            held.extend(self.box.take(1_000))
            return len(held) >= count

        eventually(has_all, within_s=60, what=f"{count} messages", every_s=0)
        return held


def numbers(messages: list[HeldMessage]) -> list[int]:
    """Which messages they are."""
    return sorted(int(message.attributes["n"]) for message in messages)


def _in_process(_request: pytest.FixtureRequest) -> Iterator[Box]:
    bus = MemoryBus(SystemClock())
    yield Box(bus=bus, box=MemoryDeadLetters(bus, SystemClock()))


def _embedded(request: pytest.FixtureRequest) -> Iterator[Box]:
    yield from _served(request.getfixturevalue("pubsub_address"), request)


def _google(request: pytest.FixtureRequest) -> Iterator[Box]:
    yield from _served(request.getfixturevalue("google_addresses")[PartName.PUBSUB], request)


def _served(address: str, request: pytest.FixtureRequest) -> Iterator[Box]:
    """Yield a box on a server, with the local platform's topics and subscriptions."""
    project = f"contract-{uuid.uuid4().hex[:12]}"
    request.getfixturevalue("monkeypatch").setenv("PUBSUB_EMULATOR_HOST", address)
    with closing(PubSub(address, project)) as topology:
        topology.create(dict.fromkeys(SUBSCRIBED, "http://127.0.0.1:1"))
        yield Box(
            bus=PubsubBus(project=project, topic_prefix=""), box=PubsubDeadLetters(project=project, topic_prefix="")
        )
        topology.unsubscribe()


BOXES: Final[Mapping[str, Callable[[pytest.FixtureRequest], Iterator[Box]]]] = {
    "in-process": _in_process,
    "embedded": _embedded,
    "google": _google,
}


@pytest.fixture(params=list(BOXES))
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """Yield an empty box of each kind."""
    yield from BOXES[request.param](request)


def test_an_empty_box_is_empty(box: Box) -> None:
    """An empty box gives nothing, and releasing nothing is no error."""
    assert box.box.take(10) == []
    box.box.release([])
    box.box.remove([])


@pytest.mark.parametrize("data", [b"{}", b"", b"\xff\x00not text", b"x" * 2_000_000])
def test_a_letter_comes_as_it_was_kept(box: Box, data: bytes) -> None:
    """A letter's bytes and attributes come back unchanged."""
    box.put(1, data)
    [message] = box.all(1)
    assert (message.data, message.attributes) == (data, {"n": "0"})
    assert message.id
    assert message.published_at.tzinfo is not None


def test_what_is_held_is_given_to_no_one_else(box: Box) -> None:
    """Held letters are given to no one else, and come again once released."""
    box.put(120)
    held = box.all(120)
    assert numbers(held) == list(range(120))
    assert box.box.take(10) == []
    box.box.release(held)
    again = box.all(120)
    assert {message.id for message in again} == {message.id for message in held}


def test_no_more_is_taken_than_asked_for(box: Box) -> None:
    """No more letters are taken than requested."""
    box.put(3)
    first = box.box.take(1)
    assert len(first) == 1
    assert numbers(first + box.all(2)) == [0, 1, 2]


def test_what_is_removed_never_comes_again(box: Box) -> None:
    """Removed letters never come again, unlike released ones."""
    box.put(5)
    held = sorted(box.all(5), key=lambda message: message.attributes["n"])
    box.box.remove(held[:2])
    box.box.release(held)
    assert numbers(box.all(3)) == [2, 3, 4]


@pytest.mark.parametrize("server", ["refusing_address", "silent_address"])
def test_a_server_that_is_away_is_not_an_empty_box(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Taking raises BusUnavailable if no one listens or no one answers."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", request.getfixturevalue(server))
    box = PubsubDeadLetters(project="contract", topic_prefix="", limits=Limits(call_s=0.3, total_s=0.5))
    with pytest.raises(BusUnavailable, match="did not respond"):
        box.take(1)


def test_a_missing_subscription_is_named(pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing subscription."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    with pytest.raises(BusUnavailable, match="projects/nowhere/subscriptions/flow-dead-letters"):
        PubsubDeadLetters(project="nowhere", topic_prefix="flow-").take(1)


@pytest.mark.parametrize("server", ["embedded", "google"])
def test_what_pubsub_gives_up_by_itself_is_in_the_box(request: pytest.FixtureRequest, server: str) -> None:
    """A message that Pub/Sub gave up comes with its subscription's name."""
    made = BOXES[server](request)
    box = next(made)
    assert isinstance(box.box, PubsubDeadLetters)
    path = box.box._subscription.replace(DEAD_LETTERS, "start")
    with pubsub_v1.SubscriberClient() as client:
        policy = client.get_subscription(subscription=path).dead_letter_policy
        policy.max_delivery_attempts = 5
        client.delete_subscription(subscription=path)
        # Without pushes, and without the back-off between them.
        topic = path.replace("/subscriptions/", "/topics/")
        client.create_subscription(request={"name": path, "topic": topic, "dead_letter_policy": policy})
        box.bus.publish([Message(topic="start", raw=b"hopeless", attributes={"who": "me"})])
        for _ in range(5):
            [one] = client.pull(request={"subscription": path, "max_messages": 1}, timeout=60).received_messages
            client.modify_ack_deadline(subscription=path, ack_ids=[one.ack_id], ack_deadline_seconds=0)

        def given_up() -> list[HeldMessage]:
            # Google's emulator gives up when it is asked for the next delivery.
            client.pull(request={"subscription": path, "max_messages": 1, "return_immediately": True}, timeout=60)
            return box.box.take(1)

        [message] = eventually(given_up, within_s=60, what="the dead letter")
    assert message.data == b"hopeless"
    assert message.attributes["CloudPubSubDeadLetterSourceSubscription"] == "start"
    assert message.attributes["who"] == "me"
    next(made, None)
