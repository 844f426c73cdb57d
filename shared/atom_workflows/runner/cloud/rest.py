"""Google API requests and responses, and the port for sending requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Protocol

from atom_workflows.errors import GoogleUnavailable

CREATE_S: Final = 40.0
SHOW_S: Final = 3.0
EXPLAIN_S: Final = 2.5
CANCEL_S: Final = 3.5
TAKE_S: Final = 3.0
REMOVE_S: Final = 2.0
"""The time limit for each kind of request, in seconds, including all retries.

The coordinator waits 60 s for the response to a submission, which may also require reading the job, and 10 s for any
other response, which may require cancelling the job, reading it, and reading its task or its outputs. Only a lookup may
take longer if everything is slow; repeating it continues where it stopped.
"""


class Api(StrEnum):
    """A Google API."""

    BATCH = "batch"
    RUN = "run"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request. `path` is already URL-encoded; `query` is not."""

    api: Api
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    # The time for all tries together, in seconds.
    total_s: float

    # True if a second request has no further effect, so that it may be sent again after an unclear answer.
    is_repeatable: bool = True

    # The largest body of an answer, in bytes.
    most_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response.

    `document` is the JSON object in it, or empty if there is none. `message` is the message of an error, on one line
    and without tokens.
    """

    status: int
    document: Mapping[str, Any] = field(default_factory=dict)
    content: bytes = b""
    message: str = ""
    retry_after_s: int = 0

    # True if the body was longer than allowed; `content` is its beginning.
    is_cut: bool = False

    # True if an earlier try of the same request may have had an effect, so that a refusal does not mean there is none.
    is_unsure: bool = False

    @property
    def is_ok(self) -> bool:
        """True if the request succeeded."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class GoogleRest(Protocol):
    """Sends requests with the function's own identity.

    Safe to use from several threads.
    """

    def send(self, call: Call) -> Reply:
        """Send a request and return the response, whatever its status.

        After HTTP 429 or 503, a repeatable call is retried within its time limit.

        Raises:
            GoogleUnavailable: there was no response, or no credential to send.

        """
        ...


def document_of(rest: GoogleRest, call: Call) -> Mapping[str, Any]:
    """Send a request and return the response's document, or {} on failure."""
    try:
        reply = rest.send(call)
    except GoogleUnavailable:
        return {}
    return reply.document if reply.is_ok else {}
