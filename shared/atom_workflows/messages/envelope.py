"""Events as they reach a function over HTTP.

An event is a push from Pub/Sub or a CloudEvent from Eventarc. functions-framework can decode both, but it responds with
HTTP 400 to a request that it cannot decode, and Pub/Sub would redeliver that request again and again. Here, such a
request raises `MalformedEvent`, which the handlers log and acknowledge. An event that can never be handled becomes a
dead letter, so its message is also available in the form in which it was received.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cloudevents.exceptions import GenericException
from cloudevents.http import from_http

from atom_workflows.bounded_json import MAX_VALUES, require_bounded
from atom_workflows.errors import MalformedEvent
from atom_workflows.messages.dead_letters import REPLAY_OF
from atom_workflows.messages.fields import read_json_body, require_object

MESSAGE_PUBLISHED: Final = "google.cloud.pubsub.topic.v1.messagePublished"

MAX_ATTRIBUTES: Final = 100
"""The maximum number of attributes that Pub/Sub allows in a message."""

LONGEST_ID: Final = 200
_MESSAGE_FIELDS: Final = ("data", "attributes", "messageId", "publishTime")
_PUSH_FIELDS: Final = ("subscription", "deliveryAttempt")


class ReceivedMessage(NamedTuple):
    """The Pub/Sub message in an event, ready to be published again."""

    data: bytes
    attributes: Mapping[str, str]
    published_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event, in CloudEvents terms.

    `payload` is its data or, for a Pub/Sub push, the whole body. A replayed message has the id of the original event.
    """

    id: str
    type: str
    payload: Any

    @property
    def delivery_attempt(self) -> int | None:
        """The number of this delivery, counted from 1.

        Only subscriptions with a dead-letter policy report it.
        """
        attempt = self.payload.get("deliveryAttempt") if isinstance(self.payload, Mapping) else None
        return attempt if type(attempt) is int and attempt > 0 else None

    @property
    def subscription(self) -> str:
        """The subscription that delivered the event, or "" if it is unknown."""
        name = self.payload.get("subscription") if isinstance(self.payload, Mapping) else None
        return name if isinstance(name, str) else ""

    @property
    def message(self) -> ReceivedMessage | None:
        """The Pub/Sub message in the event, or None if it carries none."""
        message = _message_in(self.payload)
        if message is None:
            return None
        data = message.get("data") or ""
        try:
            decoded = base64.b64decode(data, validate=True)
        except (TypeError, ValueError, binascii.Error):  # Pub/Sub always sends base64; other senders may not.
            decoded = str(data).encode("utf-8", "replace")
        return ReceivedMessage(
            data=decoded,
            attributes=_attributes_of(message),
            published_at=str(message.get("publishTime") or ""),
        )


def read_event(
    headers: Mapping[str, str], raw: bytes, *, most_values: int = MAX_VALUES
) -> ReceivedEvent | Mapping[str, Any]:
    """Return a request's event, or the JSON object of a plain request.

    The names in `headers` are in lower case. Only the fields that are needed are kept. Raises `MalformedEvent`.
    """
    if "ce-type" in headers or headers.get("content-type", "").startswith("application/cloudevents"):
        try:
            require_bounded(raw.decode("utf-8", "replace"), most_values=most_values)
            event = from_http(dict(headers), raw)
        except (GenericException, ValueError, TypeError, AttributeError) as error:
            raise MalformedEvent(f"the request is not a CloudEvent: {type(error).__name__}: {error}") from None
        payload = event.get_data()
        event_id = _event_id(payload, str(event["id"]))
        return ReceivedEvent(id=event_id, type=str(event["type"]), payload=_drop_unneeded(payload))
    body = require_object(read_json_body(raw, most_values=most_values))
    if "message" not in body or "subscription" not in body:
        return body
    return ReceivedEvent(id=_event_id(body), type=MESSAGE_PUBLISHED, payload=_drop_unneeded(body))


def _drop_unneeded(payload: Any) -> Any:
    """Keep only the fields of a push or notification that are used."""
    if not isinstance(payload, Mapping):
        return payload
    if "message" not in payload:
        return {name: value for name, value in payload.items() if not isinstance(value, Mapping | list)}
    message = payload["message"]
    if isinstance(message, Mapping):
        message = {name: message[name] for name in _MESSAGE_FIELDS if name in message}
        if isinstance(named := message.get("attributes"), Mapping) and len(named) > MAX_ATTRIBUTES:
            raise MalformedEvent(f"a message may have at most {MAX_ATTRIBUTES} attributes")
    return {"message": message, **{name: payload[name] for name in _PUSH_FIELDS if name in payload}}


def _event_id(payload: Any, given: str = "") -> str:
    message = _message_in(payload) or {}
    event_id = _attributes_of(message).get(REPLAY_OF) or given or str(message.get("messageId", ""))
    return event_id[:LONGEST_ID]


def _message_in(payload: Any) -> Mapping[str, Any] | None:
    message = payload.get("message") if isinstance(payload, Mapping) else None
    return message if isinstance(message, Mapping) else None


def _attributes_of(message: Mapping[str, Any]) -> dict[str, str]:
    attributes = message.get("attributes")
    if not isinstance(attributes, Mapping):
        return {}
    return {name: value for name, value in attributes.items() if isinstance(value, str)}
