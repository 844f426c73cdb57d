"""The DeadLetterBox port, implemented with synchronous pulls from Pub/Sub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from google.api_core import exceptions as google_errors
from google.cloud.pubsub_v1 import SubscriberClient

from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import DEAD_LETTERS, HeldMessage

LIMITS: Final = Limits(total_s=20.0)

WAIT_S: Final = 1.5
"""How long to wait for the first message, since a pull that returns immediately may miss messages."""

LEASE_S: Final = 60

_MOST_A_PULL: Final = 50
"""A message may be as large as 10 MB, and all messages in one response must fit into memory."""

_MOST_IDS: Final = 500
"""A request may be as large as 512 KiB, and an id takes up about 200 bytes."""


class PubsubDeadLetters:
    """The subscription named prefix + `dead-letters`."""

    def __init__(self, *, project: str, topic_prefix: str, limits: Limits = LIMITS) -> None:
        self._client = SubscriberClient()
        self._subscription = f"projects/{project}/subscriptions/{topic_prefix}{DEAD_LETTERS}"
        self._options = limits.options

    def take(self, limit: int) -> list[HeldMessage]:
        """See `ports.DeadLetterBox.take`."""
        most = min(limit, _MOST_A_PULL)
        # The first pull returns immediately, which distinguishes a server that is down from one that has no messages.
        answer = self._call(self._client.pull, request={"max_messages": most, "return_immediately": True})
        if not answer:
            request = {"subscription": self._subscription, "max_messages": most}
            try:
                answer = self._client.pull(request=request, retry=None, timeout=WAIT_S).received_messages
            except google_errors.DeadlineExceeded:
                return []
            except google_errors.GoogleAPICallError as error:
                raise self._unavailable(error) from error
        messages = [
            HeldMessage(
                id=one.message.message_id,
                data=one.message.data,
                attributes=dict(one.message.attributes),
                published_at=one.message.publish_time,
                lease=one.ack_id,
            )
            for one in answer
        ]
        self._move_deadline(messages, LEASE_S)
        return messages

    def release(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.release`."""
        self._move_deadline(messages, 0)

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """See `ports.DeadLetterBox.remove`."""
        for ids in _batch_ids(messages):
            self._call(self._client.acknowledge, request={"ack_ids": ids})

    def _move_deadline(self, messages: Sequence[HeldMessage], seconds: int) -> None:
        for ids in _batch_ids(messages):
            request = {"ack_ids": ids, "ack_deadline_seconds": seconds}
            self._call(self._client.modify_ack_deadline, request=request)

    def _call(self, method: Callable[..., Any], *, request: dict[str, Any]) -> Sequence[Any]:
        """Make a call and return the messages in its response."""
        asked = {"subscription": self._subscription, **request}
        try:
            answer = method(request=asked, **self._options)
        except (google_errors.GoogleAPICallError, google_errors.RetryError) as error:
            raise self._unavailable(error) from error
        return tuple(getattr(answer, "received_messages", ()))

    def _unavailable(self, error: Exception) -> BusUnavailable:
        if isinstance(error, google_errors.NotFound):
            return BusUnavailable(f"the subscription for dead letters, {self._subscription}, does not exist")
        return BusUnavailable(f"Pub/Sub did not respond to a request for {self._subscription}: {error}")


def _batch_ids(messages: Sequence[HeldMessage]) -> Iterator[list[object]]:
    ids = [message.lease for message in messages]
    for start in range(0, len(ids), _MOST_IDS):
        yield ids[start : start + _MOST_IDS]
