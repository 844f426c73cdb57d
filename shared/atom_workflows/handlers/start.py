"""The start function.

It handles events from the topic `start`, uploads, and plain requests to start a run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from atom_workflows import log
from atom_workflows.bounded_json import MAX_START_VALUES
from atom_workflows.coordinator.preparation import Refusal
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.coordinator.turns import turn_to_read
from atom_workflows.errors import MalformedEvent, NewerVersion, NotJson, RunNotFound
from atom_workflows.handlers.delivery import (
    Answer,
    drop,
    handle_event,
    is_event,
    json_answer,
    lower_names,
    message_of,
    read_message_body,
)
from atom_workflows.messages.envelope import ReceivedEvent, read_event
from atom_workflows.messages.start import (
    FileDeleted,
    RunSeedRequested,
    StartRequested,
    deletion_of_object,
    read_start_event,
    start_of_object,
)
from atom_workflows.settings import Settings

OBJECT_FINALIZED: Final = "google.cloud.storage.object.v1.finalized"

_STATUS: Final[Mapping[Refusal | None, HTTPStatus]] = {
    None: HTTPStatus.ACCEPTED,
    Refusal.INVALID: HTTPStatus.BAD_REQUEST,
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refusal.KEY_IN_USE: HTTPStatus.CONFLICT,
}


def on_start(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """Handle a request to the start function.

    The request is an event from the topic `start`, an upload, or a plain POST request to start a run. The response to
    an event is HTTP 204. The response to a plain POST request is 202 or, with the reason for refusing it, 400, 403,
    404, 409, 415 or 503.
    """
    headers = lower_names(headers)
    event_id = headers.get("idempotency-key") or uuid.uuid4().hex
    size = len(raw)
    try:
        with turn_to_read(size):
            asked = _read_request(headers, raw, event_id)
    except NotJson as error:
        return json_answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": str(error)})
    except NewerVersion as error:
        return json_answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"{error}; another instance may accept it"})
    except MalformedEvent as error:
        return drop(error) if is_event(headers) else json_answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
    del raw  # It has been parsed, so free its memory.
    if not isinstance(asked, ReceivedEvent):
        return _start_for_caller(services, asked, event_id)

    def handle(received: ReceivedEvent) -> None:
        with turn_to_read(size):
            request = _read_start(services.settings, received)
        if request is not None:
            handle_start(services, request)

    return handle_event(services, "start", asked, handle)


def _read_request(
    headers: Mapping[str, str], raw: bytes, event_id: str
) -> ReceivedEvent | StartRequested | RunSeedRequested:
    """Return a request's event, or the start requested by a plain POST."""
    event = read_event(headers, raw, most_values=MAX_START_VALUES)
    if isinstance(event, ReceivedEvent):
        return event
    sent = headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() != "application/json":
        raise NotJson(sent)
    return read_start_event(event, event_id=event_id, kind="http")


def _read_start(settings: Settings, event: ReceivedEvent) -> StartRequested | RunSeedRequested | FileDeleted | None:
    """Return the start that an event requests.

    Returns None for an object that is not a workflow.
    """
    if event.type == OBJECT_FINALIZED:
        return _read_upload(settings, event, event.payload, ("bucket", "name", "generation"))
    attributes = message_of(event.payload).get("attributes")
    if isinstance(attributes, Mapping) and "eventType" in attributes:
        if attributes["eventType"] == "OBJECT_DELETE":
            return _read_deletion(settings, attributes)
        if attributes["eventType"] != "OBJECT_FINALIZE":
            message = (
                f"a bucket's {attributes['eventType']!r:.80} notification does not start a run; "
                "the bucket should send only OBJECT_FINALIZE and OBJECT_DELETE notifications"
            )
            log.warning("object.ignored", message)
            return None
        return _read_upload(settings, event, attributes, ("bucketId", "objectId", "objectGeneration"))
    return read_start_event(read_message_body(event.payload, most_values=MAX_START_VALUES), event_id=event.id)


def _read_deletion(settings: Settings, attributes: Mapping[str, Any]) -> FileDeleted | None:
    """Return the deletion that a bucket reports.

    Returns None if the object is not a workflow, or if it was only replaced by another generation.
    """
    try:
        bucket, name, generation = (str(attributes[each]) for each in ("bucketId", "objectId", "objectGeneration"))
    except LookupError:
        raise MalformedEvent("a bucket notification needs bucketId, objectId, objectGeneration") from None
    if attributes.get("overwrittenByGeneration") or not settings.is_workflow_object(name):
        log.debug("object.deletion.ignored", f"the deletion of gs://{bucket}/{name:.300} is ignored", object=name)
        return None
    return deletion_of_object(bucket, name, generation)


def _read_upload(
    settings: Settings, event: ReceivedEvent, fields: Any, names: tuple[str, str, str]
) -> StartRequested | None:
    try:
        bucket, name, generation = (str(fields[each]) for each in names)
    except (LookupError, TypeError):
        raise MalformedEvent(f"a bucket notification needs {', '.join(names)}") from None
    if settings.is_workflow_object(name):
        return start_of_object(bucket, name, generation, event_id=event.id)
    message = (
        f"gs://{bucket}/{name:.300} does not start a run: the names of workflow files begin with "
        f"{settings.object_prefix!r} and end in {' or '.join(settings.object_suffixes)}"
    )
    log.info("object.ignored", message, object=name)
    return None


def _start_for_caller(services: Services, request: StartRequested | RunSeedRequested, event_id: str) -> Answer:
    """Start a run for a caller.

    Repeating the call with the same `Idempotency-Key` returns the same run.
    """
    with log.handling(event_id):
        try:
            started = handle_start(services, request)
        except RunNotFound as error:
            return json_answer(HTTPStatus.NOT_FOUND, {"error": str(error)})
    more = {
        "problems": [dict(problem) for problem in started.problems],
        "warnings": [*(request.warnings if isinstance(request, StartRequested) else ()), *started.warnings],
    }
    body = {"run_id": started.run_id, **{name: entries for name, entries in more.items() if entries}}
    return json_answer(_STATUS[started.refusal], body)
