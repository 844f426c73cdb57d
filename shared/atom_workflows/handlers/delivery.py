"""What stands between a request and a handler: read it, name it in the logs, decide what an error means.

An event that can never be handled is kept as a dead letter and acknowledged, since no redelivery can mend it.
Everything else that is raised is answered 500, and so the event is delivered again, until its last delivery.

Nothing is lost in silence: an event is acknowledged only once its dead letter was accepted. If that fails, the event
comes again, and in the end Pub/Sub forwards it by itself, without our reason.
"""

from __future__ import annotations

import base64
import binascii
import json
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from atom_workflows import log
from atom_workflows.bounded_json import MAX_VALUES
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, MalformedEvent, RunNotFound
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from atom_workflows.messages.envelope import ReceivedEvent, read_event
from atom_workflows.messages.fields import read_json_body

Answer: TypeAlias = tuple[str, int, dict[str, str]]
"""Body, status and headers, as functions-framework takes them."""

_ACKNOWLEDGED: Final[Answer] = ("", HTTPStatus.NO_CONTENT, {})
_AGAIN: Final[Answer] = ("", HTTPStatus.INTERNAL_SERVER_ERROR, {})


def on_event(
    services: Services, topic: str, headers: Mapping[str, str], raw: bytes, handle: Callable[[Any], None]
) -> Answer:
    """Answer a request that should hold an event of that topic; `handle` is given the message's body."""
    try:
        event = read_event(lowered(headers), raw)
    except MalformedEvent as error:
        return dropped(error)
    del raw  # The event holds what it needs of it.
    if not isinstance(event, ReceivedEvent):
        return dropped(MalformedEvent("the request holds neither a Pub/Sub message nor a CloudEvent"))
    return handled(services, topic, event, lambda received: handle(message_body(received.payload)))


def handled(services: Services, topic: str, event: ReceivedEvent, handle: Callable[[ReceivedEvent], None]) -> Answer:
    """Handle an event, and acknowledge it unless it is to come again. A defect is raised: its trace is to be logged."""
    with log.handling(event.id):
        try:
            handle(event)
        except AtomWorkflowsError as error:
            # The log has its line, and a traceback would tell nothing more.
            return _ACKNOWLEDGED if is_given_up(services, topic, event, error) else _AGAIN
        except Exception as error:
            if not is_given_up(services, topic, event, error):
                raise
    return _ACKNOWLEDGED


def dropped(error: Exception) -> Answer:
    """Acknowledge a request that holds no event: there is nothing that could be kept."""
    log_dropped(error)
    return _ACKNOWLEDGED


def message_body(payload: Any, *, most_values: int = MAX_VALUES) -> Any:
    """Return the JSON body of the Pub/Sub message in an event's data."""
    try:
        raw = base64.b64decode(message_of(payload)["data"], validate=True)
    except (LookupError, TypeError, ValueError, binascii.Error) as error:
        raise MalformedEvent(f"the message holds no data: {error}") from None
    return read_json_body(raw, most_values=most_values)


def message_of(payload: Any) -> Mapping[str, Any]:
    """The Pub/Sub message in an event's data."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping):
        raise MalformedEvent("the event holds no Pub/Sub message")
    return message


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def is_event(headers: Mapping[str, str]) -> bool:
    """Return True if a service sent the request, not a caller.

    A service would send it again if it were refused. `headers` are named in lower case.
    """
    sender = headers.get("user-agent", "")
    return "ce-type" in headers or "cloudevents" in headers.get("content-type", "") or "APIs-Google" in sender


def json_answer(status: HTTPStatus, body: Mapping[str, Any]) -> Answer:
    """Return an answer for a caller who reads it."""
    return json.dumps(body), status, {"Content-Type": "application/json"}


_WORTHLESS_LATER: Final = frozenset({"tick"})
"""Topics whose events are followed by others that do the same."""


def is_given_up(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    """Whether the event can be acknowledged now, everything being done for it that can be; else it is to come again.

    `topic` is where the event was published.
    """
    if isinstance(error, MalformedEvent | RunNotFound):
        return _given_up_as_malformed(services, topic, event, error)
    if event.delivery_attempt is None or event.delivery_attempt < services.settings.max_deliveries:
        log.warned("event.failed", f"the event will come again: {reason_of(error)}", reason=_name(error))
        return False
    return _given_up_as_failing(services, topic, event, error)


def log_dropped(error: Exception) -> None:
    """Log what cannot be handled and cannot be kept; the count of these lines is the count of such requests."""
    log.warned("event.malformed", f"the event was dropped: {error}", reason=_name(error))


def reason_of(error: Exception) -> str:
    """Why, for people. What our errors say holds no secret; of a defect only its place is told, the rest is logged."""
    if isinstance(error, AtomWorkflowsError):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"a defect: {_name(error)}{place}; the function's log has its trace"


def _given_up_as_malformed(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    if event.message is None:
        log_dropped(error)
        return True
    kept = _keep(services, topic, event, error)
    if kept:
        message = f"the event went to the dead letters: {reason_of(error)}"
        log.warned("event.malformed", message, reason=_name(error))
    return kept


def _given_up_as_failing(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    if topic not in _WORTHLESS_LATER and not _keep(services, topic, event, error):
        return False
    where = "dropped, as the next one does its work" if topic in _WORTHLESS_LATER else "kept as a dead letter"
    log.failed(
        "event.given_up",
        f"the event was {where} after {event.delivery_attempt} deliveries: {reason_of(error)}",
        trace_of=None if isinstance(error, AtomWorkflowsError) else error,
        reason=_name(error),
    )
    return True


def _keep(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    message = event.message
    if message is None:
        return False
    given_up = GivenUp(
        topic=topic,
        event_id=event.id,
        data=message.data,
        attributes=message.attributes,
        published_at=message.published_at,
        deliveries=event.delivery_attempt,
        error=_name(error),
        reason=reason_of(error),
    )
    try:
        services.bus.publish([dead_letter_message(given_up)])
    except BusUnavailable as unavailable:
        text = f"the event will come again, since no dead letter could be kept ({unavailable}): {reason_of(error)}"
        log.failed("event.failed", text, reason=_name(error))
        return False
    return True


def _name(error: Exception) -> str:
    return type(error).__name__
