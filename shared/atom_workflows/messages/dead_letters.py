"""Write and read dead letters on the topic `dead-letters`.

Dead letters are events that were given up on. A dead letter has the data and attributes of its event, plus attributes
that say where the event came from and why it was given up on. Pub/Sub also forwards messages to this topic on its own,
and then records everything except the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from atom_workflows.bounded_json import MAX_START_VALUES, read_json
from atom_workflows.ports import DEAD_LETTERS, HeldMessage, Message

REPLAY_OF: Final = "replayOf"
"""The attribute in which a replayed event holds the original event's id, so that both start the same run."""

REPLAYED_BY: Final = "replayedBy"
"""The attribute of a replayed event that names the person who replayed it."""

# The attributes that we publish with a dead letter. Their common prefix sets them apart from the event's attributes.
_OURS: Final = "deadLetter"
_TOPIC: Final = "deadLetterTopic"
_REASON: Final = "deadLetterReason"
_ERROR: Final = "deadLetterError"
_DELIVERIES: Final = "deadLetterDeliveries"
_EVENT: Final = "deadLetterEvent"
_PUBLISHED: Final = "deadLetterPublishTime"

# The attributes that Pub/Sub adds to a message that it forwards on its own.
_NATIVE: Final = "CloudPubSubDeadLetterSource"
_NATIVE_SUBSCRIPTION: Final = "CloudPubSubDeadLetterSourceSubscription"
_NATIVE_DELIVERIES: Final = "CloudPubSubDeadLetterSourceDeliveryCount"
_NATIVE_PUBLISHED: Final = "CloudPubSubDeadLetterSourceTopicPublishTime"

_TOPICS: Final = frozenset({"start", "steps", "tick"})
_HOPELESS: Final = frozenset({"MalformedEvent", "RunNotFound"})

LONGEST_REASON: Final = 1_000
"""The maximum length of a reason in bytes; Pub/Sub allows 1,024 bytes for the value of an attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """An event that has been given up on.

    It consists of the message as received, and the reason. `deliveries` is None if deliveries are not counted.
    """

    topic: str
    event_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: str
    deliveries: int | None
    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message on the topic `dead-letters`. Unknown strings are empty.

    `topic` is the topic that the message came from, and `error` is the name of the exception. If `reason` is empty,
    Pub/Sub itself forwarded the message. `data` and `attributes` belong to the event.
    """

    id: str
    topic: str
    reason: str
    error: str
    deliveries: int | None
    event_id: str
    published_at: str
    dead_since: datetime
    data: bytes
    attributes: Mapping[str, str]
    # The person who replayed the event before it was given up on again.
    replayed_by: str = ""

    @property
    def is_hopeless(self) -> bool:
        """True if redelivering the message can never help."""
        return self.error in _HOPELESS

    @property
    def body(self) -> Any:
        """The event's data as JSON, or None if it is not JSON."""
        try:
            return read_json(self.data, most_values=MAX_START_VALUES)
        except ValueError:
            return None

    @property
    def run_id(self) -> str:
        """The id of the run that the event names, or ""."""
        body = self.body
        named = self.attributes.get("run_id") or (body.get("run_id") if isinstance(body, Mapping) else "")
        return named if isinstance(named, str) else ""


def dead_letter_message(event: GivenUp) -> Message:
    """Build the dead letter for an event."""
    ours = {
        _TOPIC: event.topic,
        _REASON: event.reason,
        _ERROR: event.error,
        _DELIVERIES: str(event.deliveries or ""),
        _EVENT: event.event_id,
        _PUBLISHED: event.published_at,
        REPLAYED_BY: event.attributes.get(REPLAYED_BY, ""),
    }
    clipped = {name: _clip(value) for name, value in ours.items() if value}
    return Message(topic=DEAD_LETTERS, raw=event.data, attributes={**_own_attributes(event.attributes), **clipped})


def read_dead_letter(message: HeldMessage, *, topic_prefix: str = "") -> DeadLetter:
    """Read a dead letter that we published or that Pub/Sub forwarded."""
    found = message.attributes
    # Pub/Sub records the name of the subscription. Our subscriptions are named after their topics.
    source = found.get(_NATIVE_SUBSCRIPTION, "").removeprefix(topic_prefix)
    topic = found.get(_TOPIC) or source
    deliveries = found.get(_DELIVERIES) or found.get(_NATIVE_DELIVERIES) or ""
    return DeadLetter(
        id=message.id,
        topic=topic if topic in _TOPICS else "",
        reason=found.get(_REASON, ""),
        error=found.get(_ERROR, ""),
        deliveries=int(deliveries) if deliveries.isascii() and deliveries.isdecimal() else None,
        event_id=found.get(_EVENT) or found.get(REPLAY_OF) or message.id,
        published_at=found.get(_PUBLISHED) or found.get(_NATIVE_PUBLISHED) or "",
        dead_since=message.published_at,
        data=message.data,
        attributes=_own_attributes(found),
        replayed_by=found.get(REPLAYED_BY, ""),
    )


def replay_message(letter: DeadLetter, *, actor: str) -> Message:
    """Rebuild the event for the topic that it came from.

    The rebuilt event names the person who replays it. It remains the same event, no matter how often it is replayed: a
    start message starts only one run. Raises `ValueError` if the topic is not known.
    """
    if not letter.topic:
        raise ValueError("the origin of the message is unknown")
    ours = {REPLAY_OF: letter.event_id, REPLAYED_BY: _clip(actor)}
    return Message(topic=letter.topic, raw=letter.data, attributes={**letter.attributes, **ours})


def _clip(value: str) -> str:
    """Cut a value to the length that Pub/Sub allows.

    It is never cut in the middle of a character.
    """
    return value.encode("utf-8", "replace")[:LONGEST_REASON].decode("utf-8", "ignore")


def _own_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes with which the event was published."""
    return {
        name: value
        for name, value in attributes.items()
        if name not in {REPLAY_OF, REPLAYED_BY} and not name.startswith((_OURS, _NATIVE))
    }
