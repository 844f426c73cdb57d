"""An event as it arrives at a function by HTTP: Pub/Sub's push, or a CloudEvent as Eventarc sends it.

functions-framework can decode both, but it answers 400 to what it cannot decode, and Pub/Sub delivers that again and
again. Here such a request raises `MalformedEvent`, which the handlers log and acknowledge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloudevents.exceptions import GenericException
from cloudevents.http import from_http

from atom_workflows.errors import MalformedEvent
from atom_workflows.event_fields import body_of, object_of

MESSAGE_PUBLISHED: Final = "google.cloud.pubsub.topic.v1.messagePublished"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event's id and type in CloudEvents' terms; `payload` is its data, of a Pub/Sub push the whole body."""

    id: str
    type: str
    payload: Any


def read_event(headers: Mapping[str, str], raw: bytes) -> ReceivedEvent | None:
    """The event in a request, None if the request is a JSON object that is none. Raises `MalformedEvent`.

    `headers` are named in lower case.
    """
    if "ce-type" in headers or headers.get("content-type", "").startswith("application/cloudevents"):
        return _cloud_event(headers, raw)
    body = object_of(body_of(raw))
    if "message" not in body or "subscription" not in body:
        return None
    message = body["message"]
    event_id = message.get("messageId", "") if isinstance(message, Mapping) else ""
    return ReceivedEvent(id=str(event_id)[:200], type=MESSAGE_PUBLISHED, payload=body)


def _cloud_event(headers: Mapping[str, str], raw: bytes) -> ReceivedEvent:
    try:
        event = from_http(dict(headers), raw)
    except (GenericException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedEvent(f"the request is no CloudEvent: {type(error).__name__}: {error}") from None
    return ReceivedEvent(id=str(event["id"])[:200], type=str(event["type"]), payload=event.get_data())
