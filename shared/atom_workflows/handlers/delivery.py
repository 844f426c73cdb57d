"""Deliver a request's event to its handler, and handle its errors.

An event that can never be handled is kept as a dead letter and acknowledged, since redelivery cannot help. After any
other error, the response is HTTP 500, so that the event is redelivered, unless this was its last delivery.

Nothing is lost silently: an event is acknowledged only after its dead letter has been accepted. If publishing the dead
letter fails, the event is redelivered, and after the last delivery, Pub/Sub itself forwards it to the dead-letter
topic, but without our reason.
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
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, MalformedEvent, NotStorable, RunNotFound
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from atom_workflows.messages.envelope import ReceivedEvent, read_event
from atom_workflows.messages.fields import read_json_body

Answer: TypeAlias = tuple[str, int, dict[str, str]]
"""The body, status and headers of a response, in the form that functions-framework expects."""

_ACKNOWLEDGE: Final[Answer] = ("", HTTPStatus.NO_CONTENT, {})
_REDELIVER: Final[Answer] = ("", HTTPStatus.INTERNAL_SERVER_ERROR, {})

# The scheduler publishes the next tick anyway, so a failed tick is dropped rather than kept, and so is a hint.
_NOT_WORTH_KEEPING: Final = frozenset({"tick", "jobs"})

# Task Runners of any origin write hints, so a malformed one is only logged.
_NOT_OURS: Final = frozenset({"jobs"})


def on_event(
    services: Services, topic: str, headers: Mapping[str, str], raw: bytes, handle: Callable[[Any], None]
) -> Answer:
    """Handle a request that should contain an event from the given topic.

    `handle` is called with the message's body.
    """
    return on_events(services, {topic: handle}, headers, raw)


def on_events(
    services: Services, handlers: Mapping[str, Callable[[Any], None]], headers: Mapping[str, str], raw: bytes
) -> Answer:
    """Handle a request with an event from one of several topics.

    `handlers` maps each topic to the function that is called with the message's body. An event that names no
    subscription is treated as coming from the first topic.
    """
    try:
        event = read_event(lower_names(headers), raw)
    except MalformedEvent as error:
        return drop(error)
    del raw  # The event has copies of the parts that it needs, so free the rest.
    if not isinstance(event, ReceivedEvent):
        return drop(MalformedEvent("the request contains neither a Pub/Sub message nor a CloudEvent"))
    # A subscription is named after its topic.
    topic = next((one for one in handlers if event.subscription.endswith(one)), next(iter(handlers)))
    return handle_event(services, topic, event, lambda received: handlers[topic](read_message_body(received.payload)))


def handle_event(
    services: Services, topic: str, event: ReceivedEvent, handle: Callable[[ReceivedEvent], None]
) -> Answer:
    """Handle an event, and acknowledge it unless it must be redelivered.

    A defect is re-raised if its event will be redelivered, so that its traceback is logged.
    """
    with log.handling(event.id):
        try:
            handle(event)
        except AtomWorkflowsError as error:
            # The error is logged on one line; a traceback would add nothing.
            return _ACKNOWLEDGE if give_up_or_redeliver(services, topic, event, error) else _REDELIVER
        except Exception as error:
            if not give_up_or_redeliver(services, topic, event, error):
                raise
    return _ACKNOWLEDGE


def drop(error: Exception) -> Answer:
    """Acknowledge a request that contains no event.

    There is nothing in it to dead-letter.
    """
    log_malformed(error)
    return _ACKNOWLEDGE


def read_message_body(payload: Any, *, most_values: int = MAX_VALUES) -> Any:
    """Read the JSON body of the Pub/Sub message in an event's data."""
    try:
        raw = base64.b64decode(message_of(payload)["data"], validate=True)
    except (LookupError, TypeError, ValueError, binascii.Error) as error:
        raise MalformedEvent(f"the message contains no data: {error}") from None
    return read_json_body(raw, most_values=most_values)


def message_of(payload: Any) -> Mapping[str, Any]:
    """Return the Pub/Sub message in an event's data."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping):
        raise MalformedEvent("the event contains no Pub/Sub message")
    return message


def lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def is_event(headers: Mapping[str, str]) -> bool:
    """Return True if a service, rather than a caller, sent the request.

    A service would send the request again if it were refused. The names in `headers` are in lower case.
    """
    sender = headers.get("user-agent", "")
    return "ce-type" in headers or "cloudevents" in headers.get("content-type", "") or "APIs-Google" in sender


def json_answer(status: HTTPStatus, body: Mapping[str, Any]) -> Answer:
    """Return a JSON response for a caller."""
    return json.dumps(body), status, {"Content-Type": "application/json"}


def give_up_or_redeliver(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
    """Dead-letter an event that can never be handled.

    Returns True if the event may be acknowledged, and False if Pub/Sub should deliver it again. `topic` is the topic to
    which the event was published.
    """
    malformed = isinstance(error, MalformedEvent | RunNotFound)
    if malformed and (event.message is None or topic in _NOT_OURS):
        log_malformed(error)  # The request contained no message that could or should be kept.
        return True
    # Only subscriptions with a dead-letter policy count the deliveries.
    delivery, last = event.delivery_attempt, services.settings.max_deliveries
    # A document that cannot be stored now can never be stored.
    is_hopeless = malformed or isinstance(error, NotStorable)
    if not is_hopeless and (delivery is None or delivery < last):
        log.warning("event.failed", f"will be redelivered: {describe(error)}", reason=_name(error))
        return False
    if not malformed and topic in _NOT_WORTH_KEEPING:
        _log_given_up(event, error, "dropped (the next tick will do its work)")
        return True
    if not _publish_dead_letter(services, topic, event, error):
        return False
    if malformed:
        log.warning("event.malformed", f"dead-lettered: {describe(error)}", reason=_name(error))
    else:
        _log_given_up(event, error, "dead-lettered")
    return True


def log_malformed(error: Exception) -> None:
    """Log a request that can be neither handled nor kept.

    Dashboards count these lines.
    """
    log.warning("event.malformed", f"dropped: {error}", reason=_name(error))


def describe(error: Exception) -> str:
    """Explain an error to users without revealing secrets.

    Our own errors contain no secrets. A defect is described only by its location; the log has its traceback.
    """
    if isinstance(error, AtomWorkflowsError):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    location = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"internal error {_name(error)}{location}; the function's log has the traceback"


def _publish_dead_letter(services: Services, topic: str, event: ReceivedEvent, error: Exception) -> bool:
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
        reason=describe(error),
    )
    try:
        services.bus.publish([dead_letter_message(given_up)])
    except BusUnavailable as outage:
        text = f"will be redelivered, since it could not be dead-lettered ({outage}): {describe(error)}"
        log.error("event.failed", text, reason=_name(error))
        return False
    return True


def _log_given_up(event: ReceivedEvent, error: Exception, fate: str) -> None:
    why = f"delivery {event.delivery_attempt}, the last one, failed"
    if isinstance(error, NotStorable):
        why = "redelivery cannot help"
    log.error(
        "event.given_up",
        f"{fate} because {why}: {describe(error)}",
        trace_of=None if isinstance(error, AtomWorkflowsError) else error,
        reason=_name(error),
    )


def _name(error: Exception) -> str:
    return type(error).__name__
