"""The way into a function: what is refused before a request's body is read, and how much of it is read.

No browser has a reason to call a function. A page may do so all the same, though it does not see the answer; and a page
of a name whose owner lets it point to this address (DNS rebinding) sees it, too. Browsers name the `Origin` of what a
page posts, so the first is refused everywhere. For the second there is `WORKFLOW_HOSTS`: in the cloud a request comes
by the function's own name or not at all, and the local platform names its hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol, TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import MalformedEvent
from atom_workflows.handlers.bodies import MAX_BODIES, Body, BodyTooLarge, read_body
from atom_workflows.handlers.delivery import Answer, handled, is_event, json_answer, lowered
from atom_workflows.messages.envelope import LONGEST_ID, MESSAGE_PUBLISHED, ReceivedEvent

Handle: TypeAlias = Callable[[Services, Mapping[str, str], bytes], Answer]


class Request(Body, Protocol):
    """A request, as flask has it."""

    @property
    def method(self) -> str:
        """The method in upper case."""


def answer_request(
    topic: str, handle: Handle, services: Services, headers: Mapping[str, str], request: Request
) -> Answer:
    """Answer a request to the function that takes this topic's events."""
    with log.tracing(headers, services.settings.project):
        return _answer(topic, handle, services, headers, request)


def _answer(topic: str, handle: Handle, services: Services, headers: Mapping[str, str], request: Request) -> Answer:
    if reason := _reason_to_refuse(lowered(headers), services.settings.hosts):
        log.warned("request.refused", f"a request was refused: {reason}")
        return json_answer(HTTPStatus.FORBIDDEN, {"error": reason})
    if topic == "start" and request.method != "POST":
        return _wrong_method(request.method)
    try:
        # Not kept here: the handler lets go of it as soon as it can.
        return handle(services, headers, read_body(request, MAX_BODIES[topic]))
    except BodyTooLarge as error:
        return _too_large(services, topic, lowered(headers), error)


def _reason_to_refuse(headers: Mapping[str, str], hosts: tuple[str, ...]) -> str:
    if "origin" in headers:
        return f"it comes from a web page ({headers['origin']!r:.80}), and no page may call a function"
    host = headers.get("host")  # Every browser sends it.
    if hosts and host is not None and _name_of(host) not in hosts:
        return f"it is addressed to {host!r:.80}; WORKFLOW_HOSTS allows {', '.join(hosts)}"
    return ""


def _name_of(host: str) -> str:
    """Return the name in a Host header, without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _wrong_method(method: str) -> Answer:
    """Answer a caller of the start function who did not POST, as someone who opens its URL does not."""
    error = (
        f"{method!r:.20} starts nothing; POST a start, as JSON with workflow_path or definition and the header "
        "Content-Type: application/json"
    )
    text, status, headers = json_answer(HTTPStatus.METHOD_NOT_ALLOWED, {"error": error})
    return text, status, {**headers, "Allow": "POST"}


def _too_large(services: Services, topic: str, headers: Mapping[str, str], error: BodyTooLarge) -> Answer:
    """Keep a dead letter of the event, without its data.

    A caller of the start function is answered 413 instead.
    """
    if topic == "start" and not is_event(headers):
        return json_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": str(error)})
    event = ReceivedEvent(
        id=error.message_id or headers.get("ce-id", "")[:LONGEST_ID],
        type=MESSAGE_PUBLISHED,
        payload={"message": {"data": "", "attributes": {}}},
    )

    def refuse(_: ReceivedEvent) -> None:
        raise MalformedEvent(str(error))

    return handled(services, topic, event, refuse)
