"""What arrives at the subscriptions of a Pub/Sub server, pulled with the real client."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Final

PULL_S: Final = 60.0
"""How long a test waits for messages that must be there."""

PULL_LIMIT: Final = 1_000


class Subscriptions:
    """One topic `flow-NAME` and one subscription for each name, made here."""

    def __init__(self, project: str, publisher: Any, subscriber: Any, names: Sequence[str]) -> None:
        self._project = f"projects/{project}"
        self._publisher = publisher
        self._subscriber = subscriber
        for name in names:
            topic = f"{self._project}/topics/flow-{name}"
            publisher.create_topic(name=topic)
            subscriber.create_subscription(name=self._path(name), topic=topic)

    def take(self, name: str, count: int) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """Take so many messages, acknowledge them, and return bodies and attributes."""
        taken: list[Any] = []
        deadline = time.monotonic() + PULL_S
        while len(taken) < count:
            assert time.monotonic() < deadline, f"{len(taken)} of {count} messages arrived"
            taken += self._pull(name, min(count - len(taken), PULL_LIMIT))
        return [(json.loads(one.message.data), dict(one.message.attributes)) for one in taken]

    def close(self) -> None:
        """Close the clients."""
        self._publisher.stop()
        self._publisher.transport.close()
        self._subscriber.close()

    def _path(self, name: str) -> str:
        return f"{self._project}/subscriptions/flow-{name}"

    def _pull(self, name: str, limit: int) -> list[Any]:
        path = self._path(name)
        pulled = self._subscriber.pull(subscription=path, max_messages=limit, timeout=PULL_S).received_messages
        if pulled:
            self._subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in pulled])
        return list(pulled)
