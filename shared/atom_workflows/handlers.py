"""What stands between a CloudEvent and a handler: read it, name it in the logs, decide what an error means.

A malformed event is logged and acknowledged, since no redelivery can mend it. Everything else that is raised goes
through, so that the event is delivered again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from atom_workflows import decision_log
from atom_workflows.coordinator.check import handle_tick
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.errors import MalformedEvent, RunNotFound
from atom_workflows.events import (
    StartRequested,
    read_start_event,
    read_steps_event,
    read_tick_event,
    start_of_object,
)

OBJECT_FINALIZED: Final = "google.cloud.storage.object.v1.finalized"


def on_start(services: Services, event_id: str, event_type: str, payload: Any) -> None:
    """An event for the start function: a start message, a bucket notification, or Eventarc's own form of one."""
    with decision_log.handling(event_id):
        try:
            handle_start(services, _start_request(event_id, event_type, payload))
        except (MalformedEvent, RunNotFound) as error:
            _acknowledge(error)


def on_steps(services: Services, event_id: str, payload: Any) -> None:
    """An event for the dispatcher."""
    with decision_log.handling(event_id):
        try:
            handle_steps(services, read_steps_event(message_body(payload)))
        except MalformedEvent as error:
            _acknowledge(error)


def on_tick(services: Services, event_id: str, payload: Any) -> None:
    """An event for the checker."""
    with decision_log.handling(event_id):
        try:
            handle_tick(services, read_tick_event(message_body(payload)))
        except MalformedEvent as error:
            _acknowledge(error)


def message_body(payload: Any) -> Any:
    """The JSON body of the Pub/Sub message in a CloudEvent's data; raises `MalformedEvent`."""
    try:
        return json.loads(base64.b64decode(_message(payload)["data"], validate=True))
    except (LookupError, TypeError, ValueError, binascii.Error, RecursionError) as error:
        raise MalformedEvent(f"the message's data is not JSON: {error}") from None


def _start_request(event_id: str, event_type: str, payload: Any) -> Any:
    if event_type == OBJECT_FINALIZED:
        return _object_start(payload, ("bucket", "name", "generation"), event_id)
    attributes = _message(payload).get("attributes") or {}
    if isinstance(attributes, Mapping) and "eventType" in attributes:
        if attributes["eventType"] != "OBJECT_FINALIZE":
            raise MalformedEvent(f"a bucket's {attributes['eventType']} starts nothing")
        return _object_start(attributes, ("bucketId", "objectId", "objectGeneration"), event_id)
    return read_start_event(message_body(payload), event_id=event_id)


def _object_start(fields: Any, names: tuple[str, str, str], event_id: str) -> StartRequested:
    try:
        bucket, name, generation = (str(fields[each]) for each in names)
    except (LookupError, TypeError):
        raise MalformedEvent(f"a bucket notification needs {', '.join(names)}") from None
    return start_of_object(bucket, name, generation, event_id=event_id)


def _message(payload: Any) -> Mapping[str, Any]:
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping):
        raise MalformedEvent("the event holds no Pub/Sub message")
    return message


def _acknowledge(error: Exception) -> None:
    decision_log.warned("event.malformed", f"the event was dropped: {error}", reason=type(error).__name__)
