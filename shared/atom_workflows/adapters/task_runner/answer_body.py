"""Read a response body in any Unicode encoding and of any length.

A response is usually a few hundred bytes long. If it is much longer (say, with a job's log as its message), only its
beginning is read, and the fields found there are used.
"""

from __future__ import annotations

import codecs
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from atom_workflows.core.outputs import TOO_DEEP, JobOutputs, read_outputs

MAX_ANSWER_BYTES: Final = 64 * 1024
"""The maximum number of bytes read from the response to a failed request, which is usually far shorter."""

MAX_READ_BYTES: Final = 1024 * 1024
"""The maximum number of bytes read from a response about a job.

A longer response is usable if this part contains the job's state.
"""

_MOST_DIGITS: Final = 1_000
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_TEXT_CODECS: Final = re.compile(r"utf-8|ascii|iso8859-\d+|cp125\d|utf-(?:16|32)(?:-[bl]e)?")

_FIELDS: Final = frozenset({"state", "jobId", "message", "reason", "logsUrl", "notifies"})
_OUTPUTS: Final = "outputs"
_OUTPUTS_NOT_READ: Final = JobOutputs(
    problem=f"its outputs, if there are any, do not end within the first {MAX_READ_BYTES:,} bytes of the response: "
    "make the Task Runner send a shorter message, and write large outputs to Cloud Storage"
)

# Decoding and parsing need many times a response's size in memory, so long responses take turns.
_LONG_ANSWERS_LOCK: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class AnswerBody:
    """A response's body. `text` is its beginning, and `job` has the known fields of its `job`, if there is one.

    `outputs` holds the job's outputs, even if it has not ended. `is_object` is True if the body is a JSON object,
    whatever its fields. `message` is its `message`, if that is a string and its only field. `key` is the lookup key
    that it repeats. `has_null_id` is True if it reports no job: its `jobId` is null, and it has no `job`.

    `is_scanned` is True if the body is too long or nested too deeply to be parsed, so that fields may be missing.
    """

    text: str
    job: Mapping[str, Any] | None = None
    outputs: JobOutputs = field(default=JobOutputs(), repr=False)
    is_object: bool = False
    message: str = ""
    key: str = ""
    has_null_id: bool = False
    is_scanned: bool = False


def read_answer_body(pieces: Iterator[bytes], content_type: str, *, most_bytes: int = MAX_READ_BYTES) -> AnswerBody:
    """Read a body that arrives in pieces, up to `most_bytes`.

    Raises any error that occurs while a piece is read.
    """
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > most_bytes:
            break
    is_cut = len(content) > most_bytes
    del content[most_bytes:]
    if len(content) <= MAX_ANSWER_BYTES:
        return _parse(content, content_type, is_cut=is_cut)
    with _LONG_ANSWERS_LOCK:
        return _parse(content, content_type, is_cut=is_cut)


def _parse(content: bytearray, content_type: str, *, is_cut: bool) -> AnswerBody:
    text = content.decode(_choose_encoding(bytes(content[:4]), content_type), "replace").removeprefix("\ufeff")
    start = text[:MAX_ANSWER_BYTES]
    if is_cut:
        return _scan_body(text)
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        return _scan_body(text)
    except ValueError:
        return AnswerBody(start)
    if not isinstance(found, dict):
        return AnswerBody(start)
    job, key = found.get("job"), found.get("key")
    key = key if isinstance(key, str) else ""
    if not isinstance(job, dict):
        has_null_id = "job" not in found and found.get("jobId", "") is None
        return AnswerBody(start, is_object=True, message=_only_message(found), key=key, has_null_id=has_null_id)
    # Whatever else the response contains is released here, while no other long response is in memory.
    known = {name: value for name, value in job.items() if name in _FIELDS}
    return AnswerBody(start, known, read_outputs(job.get(_OUTPUTS)), is_object=True, key=key)


def _only_message(found: dict[str, Any]) -> str:
    is_message = found.keys() == {"message"} and isinstance(found["message"], str)
    return found["message"][:MAX_ANSWER_BYTES] if is_message else ""


def _scan_body(text: str) -> AnswerBody:
    start = text[:MAX_ANSWER_BYTES]
    job, is_whole, key = scan_job(text)
    if job is None:
        return AnswerBody(start, key=key, is_scanned=True)
    outputs = job.pop(_OUTPUTS, JobOutputs() if is_whole else _OUTPUTS_NOT_READ)
    return AnswerBody(start, job, outputs, key=key, is_scanned=True)


def _choose_encoding(start: bytes, content_type: str) -> str:
    """Detect the encoding of text from its first bytes.

    If these do not reveal it, return the declared encoding, or UTF-8 if none was declared.
    """
    shown = json.detect_encoding(start)
    declared = _CHARSET.search(content_type)
    if shown != "utf-8" or declared is None:
        return shown
    try:
        name = codecs.lookup(declared[1]).name
    except LookupError:
        return shown
    # Some of Python's codecs are not text encodings, and some are slow.
    return name if _TEXT_CODECS.fullmatch(name) else shown


def _parse_int(digits: str) -> int | float:
    """Parse a whole number of any length.

    Python itself refuses to parse numbers with thousands of digits.
    """
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


_DECODER: Final = json.JSONDecoder(strict=False, parse_int=_parse_int)


# -- texts that JSON readers reject because they were cut off or are nested too deeply --------------------------------

# The quantifiers `++` and `*+` never backtrack, so that no text takes quadratic time.
_SPACE: Final = re.compile(r"\s*")
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR: Final = re.compile(r"[^\s,\]}]*")
_UP_TO_BRACKET: Final = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)


class _End(Exception):
    """The text ends here, or is not JSON from here on."""


def scan_job(text: str) -> tuple[dict[str, Any] | None, bool, str]:
    """Find a job's fields, outputs and lookup key in truncated text.

    The first result is None if the fields do not include the state; the second is True if the text contains the whole
    job; the third is "" if the text does not contain the whole key. Skipped values are not checked, and there is no
    recursion. A message that is not a string is returned as JSON.
    """
    job: dict[str, Any] = {}
    is_whole, lookup_key = False, ""
    scan = _Scan(text)
    try:
        for key in scan.iter_keys():
            if key == "job" and scan.peek() == "{":
                is_whole = False
                _scan_fields(scan, job)
                is_whole = True
            elif key == "key":
                value = _parse_scalar(scan.skip())
                lookup_key = value if isinstance(value, str) else ""
            else:
                scan.skip()
    except _End:
        pass
    return job if "state" in job else None, is_whole, lookup_key


def _scan_fields(scan: _Scan, job: dict[str, Any]) -> None:
    job.clear()
    for key in scan.iter_keys():
        if key == _OUTPUTS:
            job[key] = _parse_outputs(scan.skip())
        elif key not in _FIELDS:
            scan.skip()
        elif scan.peek() == '"':
            value, is_whole = scan.skip_string()
            # A truncated message is useful; a truncated state or id would be a different state or id.
            if is_whole or key == "message":
                job[key] = value
        else:
            value = scan.skip()
            job[key] = value if key == "message" and value != "null" else _parse_scalar(value)


def _parse_outputs(text: str) -> JobOutputs:
    try:
        return read_outputs(_DECODER.decode(text))
    except RecursionError:
        return JobOutputs(problem=TOO_DEEP)
    except ValueError:
        # A text that is not JSON is not an object either.
        return read_outputs(text)


def _parse_scalar(text: str) -> Any:
    try:
        return json.loads(text, parse_int=_parse_int)
    except (ValueError, RecursionError):
        return None


class _Scan:
    """A position in JSON text that only moves forward."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def iter_keys(self) -> Iterator[str]:
        """Yield the keys of the object at this position.

        The caller must skip the value of each key.
        """
        self._expect("{")
        while self.peek() != "}":
            key, _ = self.skip_string()
            self._expect(":")
            yield key
            if self.peek() == ",":
                self._expect(",")
        self._expect("}")

    def peek(self) -> str:
        """Skip whitespace, and return the next character without consuming it."""
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        if self._at >= len(self._text):
            raise _End
        return self._text[self._at]

    def skip_string(self) -> tuple[str, bool]:
        """Skip the string at this position.

        Returns the string, and True if it is complete.
        """
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise _End
        is_whole = match.end() < len(self._text)
        self._at = match.end() + 1
        try:
            return json.loads(f'{match[0]}"', strict=False), is_whole
        except ValueError:
            raise _End from None

    def skip(self) -> str:
        """Skip the value at this position, and return its text.

        The value may be nested to any depth.
        """
        began, depth = self._at, 0
        if self.peek() == '"':
            self.skip_string()
            return self._text[began : self._at]
        if self.peek() not in "[{":
            return self._skip_match(_SCALAR)
        while True:
            self._skip_match(_UP_TO_BRACKET)
            sign = self.peek()
            if sign == '"':
                # The string was cut off before its end.
                raise _End
            depth += 1 if sign in "[{" else -1
            self._at += 1
            if depth == 0:
                return self._text[began : self._at]

    def _skip_match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        if self._at >= len(self._text):
            raise _End
        return match[0] if match else ""

    def _expect(self, sign: str) -> None:
        if self.peek() != sign:
            raise _End
        self._at += 1
