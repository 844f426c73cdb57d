"""The server as a process: how it starts, stops and is looked into."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from unit.emulator.pubsub.running import connect, start_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.emulator.pubsub.receiver import Answer, Receiver


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_with_pushes_under_way(
    tmp_path: Path,
    receiver: Callable[[Answer], Receiver],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """A signal ends the process with code 0 while an endpoint still holds a push."""
    released = threading.Event()
    endpoint = receiver(lambda _body: 204 if released.wait(120) else 500)
    process, port = start_process(tmp_path / "ready.json")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    clients = connect(port, process.pid)
    topic = clients.topic()
    clients.subscription(topic, push_config={"push_endpoint": endpoint.url})
    clients.publish(topic)
    endpoint.next()
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    released.set()
    clients.close()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A port that is taken is named on one line, with exit code 1."""
    process, port = start_process(tmp_path / "ready.json")
    command = [sys.executable, "-m", "atom_emulator.pubsub", "--port", str(port)]
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environment)
    process.terminate()
    process.communicate(timeout=60)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr


def test_failures_are_logged_and_deliveries_are_not(
    tmp_path: Path, receiver: Callable[[Answer], Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed push is logged, a successful one is not, and both are counted."""
    statuses = [500]
    endpoint = receiver(lambda _body: statuses.pop() if statuses else 204)
    process, port = start_process(tmp_path / "ready.json")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    clients = connect(port, process.pid)
    topic = clients.topic()
    subscription = clients.subscription(topic, push_config={"push_endpoint": endpoint.url})
    clients.publish(topic)
    clients.settled(subscription, acked=1)
    counters = clients.counters()
    clients.reset()
    afterwards = clients.counters()
    clients.close()
    process.terminate()
    lines = process.communicate(timeout=60)[1].splitlines()
    assert counters["calls"] == {
        "Publisher/CreateTopic": 1,
        "Publisher/Publish": 1,
        "Subscriber/CreateSubscription": 1,
    }
    assert counters["topics"] == {topic: {"published": 1}}
    assert afterwards == {"calls": {}, "topics": {}, "subscriptions": {}}
    assert len(lines) == 2
    assert "HTTP 500" in lines[1]
