"""The server as a process, and the real client libraries connected to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import psutil
from google.cloud import pubsub_v1

PROJECT = "projects/p"
START_S = 60.0


def start_process(ready_file: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Start the server and return its process and port."""
    command = [sys.executable, "-m", "atom_emulator.pubsub", "--ready-file", str(ready_file), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + START_S
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate()[1])
        time.sleep(0.01)
    return process, int(json.loads(ready_file.read_text())["port"])


@dataclass(slots=True)
class Running:
    """Clients of a running server, and short words for what tests do with them."""

    port: int
    pid: int
    publisher: Any
    subscriber: Any
    channel: Any

    def topic(self) -> str:
        """Make a topic with a name of its own."""
        name = f"{PROJECT}/topics/t-{uuid4().hex}"
        self.publisher.create_topic(name=name)
        return name

    def subscription(self, topic: str, **fields: Any) -> str:
        """Make a subscription with a name of its own."""
        name = f"{PROJECT}/subscriptions/s-{uuid4().hex}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **fields})
        return name

    def publish(self, topic: str, data: bytes = b"{}", **attributes: str) -> str:
        """Publish one message and wait for its id."""
        return str(self.publisher.publish(topic, data, **attributes).result(timeout=60))

    def pull(self, subscription: str, limit: int = 10, **options: Any) -> list[Any]:
        """Pull once."""
        request = {"subscription": subscription, "max_messages": limit, **options}
        return list(self.subscriber.pull(request=request, timeout=60).received_messages)

    def acknowledge(self, subscription: str, messages: list[Any]) -> None:
        """Acknowledge pulled messages."""
        ack_ids = [message.ack_id for message in messages]
        self.subscriber.acknowledge(subscription=subscription, ack_ids=ack_ids)

    def counters(self) -> dict[str, Any]:
        """Return the server's counters."""
        answer: dict[str, Any] = json.loads(self.channel.unary_unary("/atom.emulator/Counters")(b""))
        return answer

    def reset(self) -> None:
        """Make the server forget everything."""
        self.channel.unary_unary("/atom.emulator/Reset")(b"")

    def tally(self, subscription: str) -> dict[str, int]:
        """Return a subscription's counters."""
        tally: dict[str, int] = self.counters()["subscriptions"][subscription]
        return tally

    def settled(self, subscription: str, **expected: int) -> None:
        """Wait until the subscription's counters are as expected."""
        deadline = time.monotonic() + START_S
        while not expected.items() <= self.tally(subscription).items():
            assert time.monotonic() < deadline, self.tally(subscription)

    def cpu_s(self) -> float:
        """Return the processor time that the server has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """Close the clients."""
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()
        self.channel.close()


def connect(port: int, pid: int) -> Running:
    """Unmodified clients; the environment must name the port."""
    return Running(
        port=port,
        pid=pid,
        publisher=pubsub_v1.PublisherClient(),
        subscriber=pubsub_v1.SubscriberClient(),
        channel=grpc.insecure_channel(f"127.0.0.1:{port}"),
    )
