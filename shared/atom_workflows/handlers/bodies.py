"""Reading a request's body: what is larger than a function can need is refused before it is in memory.

A body is measured by its Content-Length and, since one that is sent in chunks has none, while it is read. The rest of
what is too large is read and forgotten: a sender that cannot send to its end sees no answer, and Pub/Sub would send it
again. An event that was refused is acknowledged, as it would be as large the next time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Final, Protocol

from atom_workflows.errors import MalformedEvent

MAX_START_BODY: Final = 8 * 1024 * 1024
"""A workflow file of 4 MiB as the `definition` of a message: JSON may lengthen it by half, and base64 by a third."""

MAX_STEPS_BODY: Final = 512 * 1024
"""Our own messages have up to 256 KB, which are 342 KB in base64; attributes and the envelope take the rest."""

MAX_TICK_BODY: Final = 64 * 1024
"""A tick has a hundred bytes, a page of a round a few hundred; a schedule may add attributes."""

MAX_BODIES: Final[Mapping[str, int]] = MappingProxyType(
    {"start": MAX_START_BODY, "steps": MAX_STEPS_BODY, "tick": MAX_TICK_BODY}
)
"""By the topic whose events a function is sent."""

MAX_FORGOTTEN: Final = 32 * 1024 * 1024
"""Cloud Run takes no larger request, and Pub/Sub sends none over 14 MB. Who sends more is hung up on."""

_PIECE: Final = 65_536
_TAIL: Final = 2_048
_MESSAGE_ID: Final = re.compile(rb'"messageId":\s*"([0-9]{1,40})"')
"""Pub/Sub writes it behind the data, and so it is in a body's last bytes."""


class Stream(Protocol):
    """A body that is still to be read."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, none at the end."""


class Body(Protocol):
    """A request's body, as flask has it."""

    @property
    def content_length(self) -> int | None:
        """The body's length, None if it is sent in chunks."""

    @property
    def stream(self) -> Stream:
        """The body."""


class BodyTooLarge(MalformedEvent):
    """A body is larger than its function can need. `message_id` is empty if the body did not tell it."""

    def __init__(self, size: str, most: int, message_id: str) -> None:
        super().__init__(
            f"the request has {size} bytes; the function takes up to {most:,}, so nothing of it was read or kept"
        )
        self.message_id = message_id


def read_body(body: Body, most: int) -> bytes:
    """Return the body.

    Raises `BodyTooLarge`, with at most `most` bytes of it in memory.
    """
    declared = body.content_length
    if declared is not None and declared > most:
        raise BodyTooLarge(f"{declared:,}", most, _forgotten(body.stream))
    buffer = BytesIO()
    while piece := body.stream.read(_PIECE):
        if buffer.tell() + len(piece) > most:
            tail = buffer.getvalue()[-_TAIL:] + piece
            buffer.close()
            raise BodyTooLarge(f"over {most:,}", most, _forgotten(body.stream, tail))
        buffer.write(piece)
    return buffer.getvalue()


def _forgotten(stream: Stream, tail: bytes = b"") -> str:
    """Read the rest of a body, behind `tail`, and return its message's id.

    Nothing else of it is kept.
    """
    size = 0
    while size <= MAX_FORGOTTEN and (piece := stream.read(_PIECE)):
        tail = (tail + piece)[-_TAIL:]
        size += len(piece)
    found = _MESSAGE_ID.findall(tail)
    return found[-1].decode() if found else ""
