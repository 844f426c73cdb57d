"""Messages that are kept in a file: which of them the next broker delivers."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from atom_emulator.pubsub.broker import Broker
from atom_emulator.pubsub.kept_messages import KeptMessages
from atom_emulator.pubsub.messages import DeadLetters, SubscriptionSettings
from atom_emulator.pubsub.refusals import Code, RefusalError
from unit.emulator.pubsub.builders import DEAD, DEAD_SUBSCRIPTION, SUBSCRIPTION, TOPIC, Scene
from unit.emulator.pubsub.running import Running, connect, start_process

KEPT = SubscriptionSettings(kept=True, dead_letters=DeadLetters(topic=DEAD, max_attempts=5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file that does not exist yet."""
    return tmp_path / "messages.db"


@contextmanager
def opened(file: Path, settings: SubscriptionSettings = KEPT) -> Iterator[Scene]:
    """Open a broker on the file, with its subscriptions."""
    with closing(KeptMessages(file)) as kept:
        broker = Broker(kept)
        for topic, subscription in ((TOPIC, SUBSCRIPTION), (DEAD, DEAD_SUBSCRIPTION)):
            broker.create_topic(topic)
            broker.create_subscription(subscription, topic, settings)
        yield Scene(broker=broker)


def test_unacknowledged_messages_are_delivered_by_the_next_broker(file: Path) -> None:
    """Messages that were ready or leased come again, whole and in their order; acknowledged ones do not."""
    with opened(file) as s:
        for data in (b"acknowledged", b"leased", b"ready"):
            s.publish(data, key="k" if data == b"ready" else "", kind="greeting")
        first, _ = s.lease(2)
        s.ack(first)
    with opened(file) as s:
        s.now += 5
        found = [delivery.message for delivery in s.lease(10)]
    assert [(message.data, message.id, message.ordering_key) for message in found] == [
        (b"leased", "2", ""),
        (b"ready", "3", "k"),
    ]
    assert {message.attributes["kind"] for message in found} == {"greeting"}
    assert {message.publish_time for message in found} == {s.now - 5}


def test_ids_are_not_given_twice(file: Path) -> None:
    """A message that is published after a restart has a new id, even if all others were acknowledged."""
    with opened(file) as s:
        first = s.publish()
        s.ack(s.take())
    with opened(file) as s:
        assert s.lease() == []
        assert int(s.publish()) > int(first)


def test_a_dead_letter_is_kept_in_place_of_its_message(file: Path) -> None:
    """A message that was given up is not delivered again after a restart, but its dead letter is."""
    with opened(file) as s:
        s.publish(b"hopeless")
        for _ in range(5):
            s.nack(s.take())
    with opened(file) as s:
        assert s.lease() == []
        assert [delivery.message.data for delivery in s.lease(subscription=DEAD_SUBSCRIPTION)] == [b"hopeless"]


def test_messages_past_their_retention_are_forgotten(file: Path) -> None:
    """A message that was dropped because it is too old does not come back."""
    with opened(file) as s:
        s.publish()
    with opened(file) as s:
        s.now += KEPT.retention_s
        assert s.lease() == []
    with opened(file) as s:
        assert s.lease() == []


def test_subscriptions_that_clients_make_for_themselves_are_not_kept(file: Path) -> None:
    """Only the messages of subscriptions that are kept are in the file, and none of those that were deleted."""
    with opened(file) as s:
        s.broker.create_subscription("own", TOPIC, SubscriptionSettings())
        s.publish()
        s.broker.delete_subscription(SUBSCRIPTION)
    with opened(file) as s:
        s.broker.create_subscription("own", TOPIC, KEPT)
        assert s.lease() == s.lease(subscription="own") == []


def test_a_message_that_cannot_be_kept_is_not_accepted(file: Path) -> None:
    """On a full disk, a publication is refused as UNAVAILABLE, delivers nothing, and succeeds later."""
    with opened(file) as s:
        s.publish(b"before")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.with_name("messages.db-wal").stat().st_size, hard))
        try:
            with pytest.raises(RefusalError, match=r"list of messages in .* cannot be used") as refused:
                s.publish(b"x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert refused.value.code is Code.UNAVAILABLE
        s.publish(b"after")
        assert [delivery.message.data for delivery in s.lease(10)] == [b"before", b"after"]
    with opened(file) as s:
        assert [delivery.message.data for delivery in s.lease(10)] == [b"before", b"after"]


def serve(folder: Path, patch: pytest.MonkeyPatch, name: str) -> tuple[Running, subprocess.Popen[str]]:
    """Start a server with a file, and connect to it."""
    process, port = start_process(folder / name, "--messages", str(folder / "messages.db"))
    patch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    return connect(port, process.pid), process


def test_a_killed_server_loses_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published before SIGKILL is pulled from the next server, by a subscription that never expires."""
    clients, process = serve(tmp_path, monkeypatch, "first.json")
    topic, name = "projects/p/topics/work", "projects/p/subscriptions/work"

    def subscribe(clients: Running) -> None:
        clients.publisher.create_topic(name=topic)
        clients.subscriber.create_subscription(request={"name": name, "topic": topic, "expiration_policy": {}})

    subscribe(clients)
    ids = {clients.publish(topic, b"hello", kind="greeting") for _ in range(20)}
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    clients.close()
    clients, process = serve(tmp_path, monkeypatch, "second.json")
    subscribe(clients)
    assert {one.message.message_id for one in clients.pull(name, limit=100)} == ids
    clients.close()
    process.terminate()
    process.communicate(timeout=60)


def test_a_damaged_file_is_named(file: Path) -> None:
    """A server whose file is damaged ends with a sentence."""
    file.write_bytes(b"hello " * 1000)
    with pytest.raises(AssertionError, match=r"list of messages in .* cannot be used: it is damaged"):
        start_process(file.with_name("ready.json"), "--messages", str(file))
