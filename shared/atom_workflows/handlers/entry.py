"""Read a function's requests, and refuse unwanted or oversized ones.

No browser has a reason to call a function, so requests from web pages are refused (see `web_pages`). `WORKFLOW_HOSTS`
lists the host names under which a function may be called. It is needed only on the local platform: in the cloud,
requests with any other host name do not reach the function.

A body larger than the function can ever need is refused before it is read into memory. Its size is known from its
Content-Length; a chunked body has none, so its size is determined while it is read. The rest of it is read and
discarded, because a sender that cannot finish sending never sees the response, and Pub/Sub would redeliver the event. A
refused event is acknowledged, since it would be just as large the next time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BytesIO
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import BodyTooLarge, MalformedEvent
from atom_workflows.handlers.delivery import Answer, handle_event, is_event, json_answer, lower_names
from atom_workflows.messages.envelope import LONGEST_ID, MESSAGE_PUBLISHED, ReceivedEvent
from atom_workflows.web_pages import explain_refusal

MAX_START_BODY: Final = 8 * 1024 * 1024
"""Enough for a 4 MiB workflow file as a message's `definition`: JSON may lengthen it by half, and base64 by a third."""

MAX_STEPS_BODY: Final = 512 * 1024
"""Our own messages are at most 256 KB long, or 342 KB in base64; the rest is for attributes and the envelope."""

MAX_TICK_BODY: Final = 64 * 1024
"""A tick is about a hundred bytes long, and a page of a sweep a few hundred bytes; a schedule may add attributes."""

MAX_BODIES: Final[Mapping[str, int]] = MappingProxyType(
    {"start": MAX_START_BODY, "steps": MAX_STEPS_BODY, "tick": MAX_TICK_BODY}
)
"""The size of the largest body that each function accepts, by the topic of its events."""

MAX_FORGOTTEN: Final = 32 * 1024 * 1024
"""How much of a refused body is read and discarded; beyond this, the connection is closed.

Cloud Run accepts no larger requests, and Pub/Sub sends none larger than 14 MB.
"""

RUNS_PATH: Final = "/runs"
"""The path below which callers of the start function read and change runs."""

_HOW_TO_START: Final = (
    "to start a run, POST JSON with workflow_path or definition and the header Content-Type: application/json"
)
_PIECE: Final = 65_536
_TAIL: Final = 2_048
_MESSAGE_ID: Final = re.compile(rb'"messageId":\s*"([0-9]{1,40})"')
"""Pub/Sub writes the id after the data, so it is near the end of a body."""


class Stream(Protocol):
    """A body that has not been read yet."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, or an empty result at the end."""


class RequestBody(Protocol):
    """A request's body, as in Flask."""

    @property
    def content_length(self) -> int | None:
        """The body's length, or None if it is chunked."""

    @property
    def stream(self) -> Stream:
        """The body."""


def read_request_body(body: RequestBody, most: int) -> bytes:
    """Read the body into memory if it has at most `most` bytes.

    Raises `BodyTooLarge` if it is larger.
    """
    declared = body.content_length
    if declared is not None and declared > most:
        raise BodyTooLarge(f"{declared:,}", most, _skip_rest(body.stream))
    buffer, size = BytesIO(), 0
    while piece := body.stream.read(_PIECE):
        size += len(piece)
        if size > most:
            tail = buffer.getvalue()[-_TAIL:] + piece
            buffer.close()
            raise BodyTooLarge(f"over {most:,}", most, _skip_rest(body.stream, tail))
        buffer.write(piece)
    return buffer.getvalue()


def _skip_rest(stream: Stream, tail: bytes = b"") -> str:
    """Read the rest of a body and return its message's id.

    `tail` is the end of the part that has already been read. No other part of the body is kept.
    """
    size = 0
    while size <= MAX_FORGOTTEN and (piece := stream.read(_PIECE)):
        tail = (tail + piece)[-_TAIL:]
        size += len(piece)
    found = _MESSAGE_ID.findall(tail)
    return found[-1].decode() if found else ""


Handle: TypeAlias = Callable[[Services, Mapping[str, str], bytes], Answer]


class Request(RequestBody, Protocol):
    """A request, as in Flask."""

    @property
    def method(self) -> str:
        """The method in upper case."""

    @property
    def path(self) -> str:
        """The path, without the query."""


def answer_request(
    topic: str, handle: Handle, services: Services, headers: Mapping[str, str], request: Request
) -> Answer:
    """Handle a request to the function for this topic's events."""
    with log.tracing(headers, services.settings.project):
        lowered, hosts = lower_names(headers), services.settings.hosts
        if reason := explain_refusal(lowered, hosts, advice=f"WORKFLOW_HOSTS allows {', '.join(hosts)}"):
            log.warning("request.refused", f"refused because {reason}")
            return json_answer(HTTPStatus.FORBIDDEN, {"error": reason})
        if topic == "start" and (request.path == RUNS_PATH or request.path.startswith(f"{RUNS_PATH}/")):
            return _answer_about_run(services, lowered, request)
        if topic == "start" and request.method != "POST":
            # For example, someone has opened the function's URL in a browser.
            error = f"{request.method!r:.20} starts nothing; {_HOW_TO_START}"
            text, status, answered = json_answer(HTTPStatus.METHOD_NOT_ALLOWED, {"error": error})
            return text, status, {**answered, "Allow": "POST"}
        try:
            # No reference to the body is kept here, so that the handler can free it early.
            return handle(services, headers, read_request_body(request, MAX_BODIES[topic]))
        except BodyTooLarge as too_large:
            return _answer_too_large(services, topic, lowered, too_large)


def _answer_about_run(services: Services, headers: Mapping[str, str], request: Request) -> Answer:
    # Imported here, as most instances only start runs, and every import delays the first start.
    from atom_workflows.handlers.runs import MAX_BODY, on_run_request  # noqa: PLC0415 - see above

    try:
        raw = read_request_body(request, MAX_BODY)
    except BodyTooLarge as too_large:
        return json_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": str(too_large)})
    return on_run_request(services, request.method, request.path, headers, raw)


def _answer_too_large(services: Services, topic: str, headers: Mapping[str, str], error: BodyTooLarge) -> Answer:
    """Dead-letter the event without its data.

    A caller of the start function gets HTTP 413 instead.
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

    return handle_event(services, topic, event, refuse)
