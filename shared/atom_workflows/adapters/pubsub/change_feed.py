"""The changes to one run, read through a temporary subscription.

The subscription to the topic `events` exists only while someone watches. The feed is a convenience: if there is no
feed, or an event is lost, the watcher still reads the run's document.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from google.api_core.exceptions import DeadlineExceeded, GoogleAPIError
from google.cloud.pubsub_v1 import SubscriberClient

from atom_workflows.bounded_json import read_json
from atom_workflows.settings import Settings

CALL_TIMEOUT_S: Final = 5.0
PULL_TIMEOUT_S: Final = 120.0
"""Longer than the service holds a pull open when there are no messages, so that no response is missed."""

MOST_MESSAGES: Final = 500
_PAUSE_S: Final = 1.0
_SUFFIX_LENGTH: Final = 8
_ACK_DEADLINE_S: Final = 60
_RETENTION_S: Final = 600
_EXPIRES_S: Final = 86_400
"""The shortest expiration period that the service allows: a killed watcher's subscription is deleted after a day."""

Changes = list[Mapping[str, Any]]


class ChangeFeed:
    """The changes to one run since the `with` block was entered.

    If there is no feed, `problem` is the reason; otherwise, it is empty.
    """

    def __init__(self, settings: Settings, run_id: str) -> None:
        project = f"projects/{settings.project}"
        self.problem = ""
        self._run_id = run_id
        self._topic = f"{project}/topics/{settings.topic_prefix}events"
        # Each watcher has its own subscription: two that share one would each get only some of the changes.
        name = f"{settings.topic_prefix}watch-{run_id}-{uuid.uuid4().hex[:_SUFFIX_LENGTH]}"
        self._subscription = f"{project}/subscriptions/{name}"
        self._client = SubscriberClient()
        self._queue: queue.SimpleQueue[Changes] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._pull_until_closed, name="change feed", daemon=True)

    def __enter__(self) -> Self:
        try:
            request = {
                "name": self._subscription,
                "topic": self._topic,
                "filter": f'attributes.run_id = "{self._run_id}"',
                "ack_deadline_seconds": _ACK_DEADLINE_S,
                "message_retention_duration": {"seconds": _RETENTION_S},
                "expiration_policy": {"ttl": {"seconds": _EXPIRES_S}},
            }
            self._client.create_subscription(request=request, retry=None, timeout=CALL_TIMEOUT_S)
        except GoogleAPIError as error:
            self.problem = str(error)
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if not self.problem:
            with suppress(GoogleAPIError):
                self._client.delete_subscription(
                    subscription=self._subscription, retry=None, timeout=1.0 if error else CALL_TIMEOUT_S
                )
        self._client.close()
        if self._thread.ident is not None:
            self._thread.join(CALL_TIMEOUT_S)

    def take(self, timeout_s: float) -> Changes:
        """Return all changes that have arrived, after waiting for the first one."""
        changes: Changes = []
        with suppress(queue.Empty):
            changes += self._queue.get(timeout=timeout_s)
            while True:
                changes += self._queue.get_nowait()
        return changes

    def _pull_until_closed(self) -> None:
        while not self._closing.is_set():
            try:
                answer = self._client.pull(
                    subscription=self._subscription, max_messages=MOST_MESSAGES, retry=None, timeout=PULL_TIMEOUT_S
                )
                received = answer.received_messages
                if not received:
                    continue
                self._queue.put([change for one in received for change in changes_in(one.message.data, self._run_id)])
                self._client.acknowledge(
                    subscription=self._subscription,
                    ack_ids=[one.ack_id for one in received],
                    retry=None,
                    timeout=CALL_TIMEOUT_S,
                )
            except DeadlineExceeded:
                continue
            except (GoogleAPIError, ValueError):  # ValueError: the channel has been closed in the meantime
                self._closing.wait(_PAUSE_S)


def changes_in(content: bytes, run_id: str) -> Changes:
    """Return the changes in a message that concern the run.

    The run is checked here as well, since emulators may store a subscription's filter but ignore it.
    """
    try:
        body = read_json(content)
        changes = body["changes"] if body["run_id"] == run_id else []
    except (LookupError, TypeError, ValueError):
        return []
    return [change for change in changes if isinstance(change, Mapping)] if isinstance(changes, list) else []
