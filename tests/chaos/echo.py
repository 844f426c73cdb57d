"""Publishes messages again that were published before, some at once, some seconds later."""

from __future__ import annotations

import heapq
import random
import threading
import time
from typing import Any, Final, Self

from google.api_core.exceptions import DeadlineExceeded, GoogleAPIError

from chaos.tally import Fault, Tally

TOPICS: Final = ("start", "steps", "tick")
SHARE: Final = 0.3
LATEST_S: Final = 4.0
_MARK: Final = "echo"
_PULL_S: Final = 0.5
_CALL_S: Final = 10.0
_PAUSE_S: Final = 0.1
"""Google's emulator does not wait for messages: without a pause, three threads would ask it all the time."""


class Echo:
    """A thread for each topic, while the `with` block lasts; subscribed directly, whatever befalls the functions."""

    def __init__(self, publisher: Any, subscriber: Any, project: str, *, seed: int, tally: Tally) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        self._project = project
        self._seed = seed
        self._tally = tally
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(topic,), name=f"echo {topic}") for topic in TOPICS]

    def __enter__(self) -> Self:
        for topic in TOPICS:
            self._subscriber.create_subscription(
                name=self._subscription(topic), topic=self._topic(topic), timeout=_CALL_S
            )
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, topic: str) -> None:
        dice = random.Random(f"{self._seed}/{topic}")  # noqa: S311 - nothing secret
        waiting: list[tuple[float, int, bytes]] = []
        heard = 0
        while not self._stopped.is_set():
            for data in self._pulled(topic):
                heard += 1
                if dice.random() < SHARE:
                    late_s = dice.choice((0.0, dice.uniform(0, LATEST_S)))
                    heapq.heappush(waiting, (time.monotonic() + late_s, heard, data))
            while waiting and waiting[0][0] <= time.monotonic():
                self._publish(topic, heapq.heappop(waiting)[2])

    def _pulled(self, topic: str) -> list[bytes]:
        """Return new messages without those that were published here."""
        request = {"subscription": self._subscription(topic), "max_messages": 100}
        try:
            found = self._subscriber.pull(request=request, timeout=_PULL_S, retry=None).received_messages
            if found:
                ids = [one.ack_id for one in found]
                self._subscriber.acknowledge(subscription=request["subscription"], ack_ids=ids, timeout=_CALL_S)
            else:
                self._stopped.wait(_PAUSE_S)
        except DeadlineExceeded:
            return []
        except GoogleAPIError:
            self._stopped.wait(_PULL_S)
            return []
        return [one.message.data for one in found if _MARK not in one.message.attributes]

    def _publish(self, topic: str, data: bytes) -> None:
        message = {"data": data, "attributes": {_MARK: "1"}}
        self._publisher.api.publish(topic=self._topic(topic), messages=[message], timeout=_CALL_S)
        self._tally.add(Fault.DUPLICATED, topic)

    def _topic(self, topic: str) -> str:
        return f"projects/{self._project}/topics/{topic}"

    def _subscription(self, topic: str) -> str:
        return f"projects/{self._project}/subscriptions/echo-{topic}"
