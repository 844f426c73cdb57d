"""One server for all tests of this folder; each test makes topics and subscriptions of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from unit.emulator.pubsub.receiver import Answer, Receiver
from unit.emulator.pubsub.running import Running, connect, start_process


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return the server with real clients connected."""
    ready_file = tmp_path_factory.mktemp("pubsub") / "ready.json"
    process, port = start_process(ready_file, "--shortest-ack-deadline", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
        clients = connect(port, process.pid)
        yield clients
        clients.close()
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture
def receiver() -> Iterator[Callable[[Answer], Receiver]]:
    """Make push endpoints that answer as a test decides."""
    made: list[Receiver] = []

    def make(answer: Answer) -> Receiver:
        made.append(Receiver(answer))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()
