"""What stands between a request to a function and a handler: read it, name it in the logs, decide what an error means.

An event that can never be handled is kept as a dead letter and acknowledged, since no redelivery can mend it.
Everything else that is raised is answered 500, and so the event is delivered again, until its last delivery.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from atom_workflows import decision_log
from atom_workflows.coordinator.check import handle_tick
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import Refusal, Started, handle_start
from atom_workflows.errors import MalformedEvent, RunNotFound
from atom_workflows.event_fields import body_of, object_of
from atom_workflows.events import read_steps_event, read_tick_event
from atom_workflows.giving_up import is_given_up, log_dropped
from atom_workflows.received import ReceivedEvent, read_event
from atom_workflows.settings import Settings
from atom_workflows.start_events import RunSeedRequested, StartRequested, read_start_event, start_of_object

Answer: TypeAlias = tuple[str, int, dict[str, str]]
"""Body, status and headers, as functions-framework takes them."""

OBJECT_FINALIZED: Final = "google.cloud.storage.object.v1.finalized"

_ACKNOWLEDGED: Final[Answer] = ("", HTTPStatus.NO_CONTENT, {})

_STATUS: Final[Mapping[Refusal | None, HTTPStatus]] = {
    None: HTTPStatus.ACCEPTED,
    Refusal.INVALID: HTTPStatus.BAD_REQUEST,
    Refusal.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
}


def on_start(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """A request to the start function: an event of topic `start`, an upload, or a plain POST that starts a run.

    An event is answered 204; a plain POST with what became of it: 202, 400, 403 or 404.
    """
    headers = _lowered(headers)
    try:
        event = read_event(headers, raw)
        if event is None:
            return _on_plain_start(services, headers, object_of(body_of(raw)))
    except MalformedEvent as error:
        return _dropped(error) if _is_event(headers) else _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def handle(received: ReceivedEvent) -> None:
        request = _start_request(services.settings, received)
        if request is not None:
            handle_start(services, request)

    return _handled(services, "start", event, handle)


def on_steps(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """A request to the dispatcher: an event of topic `steps`."""
    return _on_event(services, "steps", headers, raw, lambda body: handle_steps(services, read_steps_event(body)))


def on_tick(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """A request to the checker: an event of topic `tick`."""
    return _on_event(services, "tick", headers, raw, lambda body: handle_tick(services, read_tick_event(body)))


def _on_event(
    services: Services, topic: str, headers: Mapping[str, str], raw: bytes, handle: Callable[[Any], None]
) -> Answer:
    try:
        event = read_event(_lowered(headers), raw)
    except MalformedEvent as error:
        return _dropped(error)
    if event is None:
        return _dropped(MalformedEvent("the request holds neither a Pub/Sub message nor a CloudEvent"))
    return _handled(services, topic, event, lambda received: handle(_message_body(received.payload)))


def _handled(services: Services, topic: str, event: ReceivedEvent, handle: Callable[[ReceivedEvent], None]) -> Answer:
    with decision_log.handling(event.id):
        try:
            handle(event)
        except Exception as error:
            if not is_given_up(services, topic, event, error):
                raise
    return _ACKNOWLEDGED


def _dropped(error: Exception) -> Answer:
    """Acknowledge a request that holds no event: there is nothing that could be kept."""
    log_dropped(error)
    return _ACKNOWLEDGED


# -- what asks for a run ---------------------------------------------------------------------------------------------


def _start_request(settings: Settings, event: ReceivedEvent) -> StartRequested | RunSeedRequested | None:
    """What is to be started; None for an object that is no workflow."""
    if event.type == OBJECT_FINALIZED:
        return _object_start(settings, event, event.payload, ("bucket", "name", "generation"))
    attributes = _message(event.payload).get("attributes")
    if isinstance(attributes, Mapping) and "eventType" in attributes:
        if attributes["eventType"] != "OBJECT_FINALIZE":
            told = f"a bucket's {attributes['eventType']!r:.80} starts nothing; let it notify of OBJECT_FINALIZE alone"
            decision_log.warned("object.ignored", told)
            return None
        return _object_start(settings, event, attributes, ("bucketId", "objectId", "objectGeneration"))
    return read_start_event(_message_body(event.payload), event_id=event.id)


def _object_start(
    settings: Settings, event: ReceivedEvent, fields: Any, names: tuple[str, str, str]
) -> StartRequested | None:
    try:
        bucket, name, generation = (str(fields[each]) for each in names)
    except (LookupError, TypeError):
        raise MalformedEvent(f"a bucket notification needs {', '.join(names)}") from None
    if settings.is_workflow_object(name):
        return start_of_object(bucket, name, generation, event_id=event.id)
    decision_log.decided("object.ignored", f"gs://{bucket}/{name} is not a workflow by its name", object=name)
    return None


def _on_plain_start(services: Services, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
    """Start a run for a caller; with an `Idempotency-Key` the same call again is answered with the same run."""
    event_id = headers.get("idempotency-key") or uuid.uuid4().hex
    with decision_log.handling(event_id):
        try:
            started = handle_start(services, read_start_event(body, event_id=event_id, kind="http"))
        except RunNotFound as error:
            return _json(HTTPStatus.NOT_FOUND, {"error": str(error)})
    return _json(_STATUS[started.refusal], _answer(started))


def _answer(started: Started) -> dict[str, Any]:
    problems = [dict(problem) for problem in started.problems]
    return {"run_id": started.run_id, **({"problems": problems} if problems else {})}


# -- requests --------------------------------------------------------------------------------------------------------


def _message_body(payload: Any) -> Any:
    """The JSON body of the Pub/Sub message in an event's data."""
    try:
        raw = base64.b64decode(_message(payload)["data"], validate=True)
    except (LookupError, TypeError, ValueError, binascii.Error) as error:
        raise MalformedEvent(f"the message holds no data: {error}") from None
    return body_of(raw)


def _message(payload: Any) -> Mapping[str, Any]:
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping):
        raise MalformedEvent("the event holds no Pub/Sub message")
    return message


def _is_event(headers: Mapping[str, str]) -> bool:
    """Whether the request came from a service that would send it again if it were refused."""
    sender = headers.get("user-agent", "")
    return "ce-type" in headers or "cloudevents" in headers.get("content-type", "") or "APIs-Google" in sender


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _json(status: HTTPStatus, body: Mapping[str, Any]) -> Answer:
    return json.dumps(body), status, {"Content-Type": "application/json"}
