"""Log each decision as one JSON line on stdout.

The lines are in the format that Cloud Logging reads. `severity` and `message` are Cloud Logging's own fields; `action`
is the decision's stable name, which is used to search logs and to count events for metrics. The id of the event being
handled is added to every line, as is the trace of its request, so that Cloud Logging shows the line together with that
request. Tokens are never logged, nor is anything that contains one.

ERROR is for problems that need a person's attention: a run that failed, is invalid or cannot continue, an event that
was given up on, or a defect. WARNING is for problems that the system repairs by itself, and for events that cannot be
read. docs/how-to/runbook.md lists both.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

_UNSEEN: Final = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]")
"""Characters that JSON does not escape, but that terminals or line readers interpret, or that no stream can encode.

These are control characters from 0x7F on, other line terminators, marks that reverse or hide text, and unpaired
surrogates.
"""

MAX_MESSAGE: Final = 4_000
MAX_DETAIL: Final = 1_000
"""The limits are in characters. Cloud Logging accepts lines of up to 256 KB, but external names can be longer."""

_TRACE_CONTEXT: Final = re.compile(r"(?P<trace>[0-9a-f]{32})(/(?P<span>[0-9a-f]{1,20}))?(;o=(?P<sampled>[01]))?")
"""The value of Google's own `x-cloud-trace-context` header, in which the span is a decimal number."""

_SPAN_DIGITS: Final = 16

_TRACE_PARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
"""The value of the `traceparent` header as defined by W3C Trace Context, version 00."""

_logger: Final = logging.getLogger("atom_workflows")
_event_id: Final[ContextVar[str]] = ContextVar("event_id", default="")
_trace: Final[ContextVar[Mapping[str, Any]]] = ContextVar("trace", default=MappingProxyType({}))


@contextmanager
def handling(event_id: str) -> Iterator[None]:
    """Add the event's id to every line logged within the block."""
    token = _event_id.set(event_id)
    try:
        yield
    finally:
        _event_id.reset(token)


@contextmanager
def tracing(headers: Mapping[str, str], project: str) -> Iterator[None]:
    """Add the request's trace to every line logged within the block."""
    token = _trace.set(_trace_fields({name.lower(): value for name, value in headers.items()}, project))
    try:
        yield
    finally:
        _trace.reset(token)


def _trace_fields(headers: Mapping[str, str], project: str) -> Mapping[str, Any]:
    if found := _TRACE_CONTEXT.fullmatch(headers.get("x-cloud-trace-context", "")):
        span = f"{int(found['span']):016x}" if (found["span"] or "").isdecimal() else ""
        is_sampled = found["sampled"] == "1"
    elif found := _TRACE_PARENT.fullmatch(headers.get("traceparent", "")):
        span, is_sampled = found["span"], bool(int(found["flags"], 16) & 1)
    else:
        return {}
    fields: dict[str, Any] = {"logging.googleapis.com/trace": f"projects/{project}/traces/{found['trace']}"}
    if len(span) == _SPAN_DIGITS and span.strip("0"):
        fields["logging.googleapis.com/spanId"] = span
    fields["logging.googleapis.com/trace_sampled"] = is_sampled
    return fields


def info(action: str, message: str, **details: Any) -> None:
    """Log a decision that took effect."""
    _write(logging.INFO, action, message, details)


def debug(action: str, message: str, **details: Any) -> None:
    """Log a stale or repeated event that changed nothing, for debugging only."""
    _write(logging.DEBUG, action, message, details)


def warning(action: str, message: str, **details: Any) -> None:
    """Log a rare problem, such as an outage or bad input."""
    _write(logging.WARNING, action, message, details)


def error(action: str, message: str, *, trace_of: BaseException | None = None, **details: Any) -> None:
    """Log something that needs a person's attention.

    `trace_of` is the exception raised by a defect; its traceback is added to the message.
    """
    _write(logging.ERROR, action, message, details, trace_of)


def _write(
    level: int, action: str, message: str, details: dict[str, Any], trace_of: BaseException | None = None
) -> None:
    if _logger.isEnabledFor(level):
        fields = {
            "action": action,
            **{name: value for name, value in details.items() if value not in (None, "")},
            **_trace.get(),
        }
        if event_id := _event_id.get():
            fields["event_id"] = event_id
        _logger.log(level, message, extra={"fields": fields}, exc_info=trace_of)


# `json.dumps` would create an encoder for each call.
_json: Final = json.JSONEncoder(default=str, ensure_ascii=False).encode


class JsonLines(logging.Formatter):
    """Formats each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON.

        An exception's traceback is part of the message, where Error Reporting looks for it.
        """
        message = _clip(record.getMessage(), MAX_MESSAGE)
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        fields = getattr(record, "fields", {})
        line = {**fields, "severity": record.levelname, "message": message}
        text = _json(line)
        if len(text) > MAX_DETAIL:
            clipped = {name: _clip(value, MAX_DETAIL) for name, value in fields.items()}
            text = _json({**line, **clipped})
        if text.isascii() and "\x7f" not in text:
            return text
        return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _clip(value: Any, most: int) -> Any:
    return f"{value[: most - 1]}…" if isinstance(value, str) and len(value) > most else value


def log_to_stdout(*, debug: bool = False) -> None:
    """Send the log to stdout.

    May be called again to change `debug`.
    """
    if not _logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        _logger.addHandler(handler)
        _logger.propagate = False
    _logger.setLevel(logging.DEBUG if debug else logging.INFO)
