"""The outputs of a job: their limits and their stored text.

The limits apply wherever outputs are received.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

MAX_OUTPUTS_BYTES: Final = 32 * 1024
"""The maximum size of all outputs of a job, as JSON without spaces, in UTF-8."""

MAX_OUTPUT_NAMES: Final = 100
MAX_OUTPUTS_DEPTH: Final = 8
"""The maximum number of levels of objects and lists. The outputs object itself is the first level."""

MAX_REASON_LENGTH: Final = 64
MAX_PROBLEM_LENGTH: Final = 500

_LEAST_NUMBER: Final = -(2**63)
_LARGEST_NUMBER: Final = 2**63 - 1
_LONGEST_NAMED: Final = 80
_MOST_NAMED: Final = 10

_NO_OBJECT: Final = 'its outputs are not a JSON object: return one, such as {"rows": 12}'
WRITE_ELSEWHERE: Final = "write them to Cloud Storage, or to a file that the steps share, and return their location"
_TOO_LARGE: Final = f"its outputs are larger than {MAX_OUTPUTS_BYTES:,} bytes as JSON: {WRITE_ELSEWHERE}"
_TOO_MANY: Final = (
    f"its outputs have more than {MAX_OUTPUT_NAMES} names: group them in an object or a list, or {WRITE_ELSEWHERE}"
)
TOO_DEEP: Final = (
    f"its outputs have more than {MAX_OUTPUTS_DEPTH} levels of objects and lists: return fewer levels, or "
    f"{WRITE_ELSEWHERE}"
)
_NOT_STORABLE: Final = "its outputs contain half of a surrogate pair, which is not a character: return valid UTF-8"


class JobOutputs(NamedTuple):
    """A job's outputs, as the text of a JSON object.

    If they cannot be used, the text is empty, and `problem` is a sentence that says why and what to do. If there are no
    outputs, both are empty.
    """

    text: str = ""
    problem: str = ""


def read_outputs(value: Any) -> JobOutputs:
    """Return a job's outputs as text, or the limit that they exceed.

    `value` is the parsed JSON; null means no outputs. However large the value is, checking stops at the limits.
    """
    if value is None:
        return JobOutputs()
    if problem := _find_breach(value):
        return JobOutputs(problem=problem)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        is_too_large = len(text.encode()) > MAX_OUTPUTS_BYTES
    except UnicodeEncodeError:
        return JobOutputs(problem=_NOT_STORABLE)
    return JobOutputs(problem=_TOO_LARGE) if is_too_large else JobOutputs(text=text)


def list_undeclared(text: str, declared: Collection[str]) -> str:
    """Return the names of undeclared outputs, separated by commas.

    `text` is the JSON text of the outputs. Values are never included, and long names and long lists are cut short.
    """
    names = [name for name in (json.loads(text) if text else {}) if name not in declared]
    shown = ", ".join(f"{name:.{_LONGEST_NAMED}}" for name in names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


def _find_breach(value: Any) -> str:
    """Return a sentence about the first limit exceeded, or ""."""
    if not isinstance(value, dict):
        return _NO_OBJECT
    if len(value) > MAX_OUTPUT_NAMES:
        return _TOO_MANY
    seen = 0
    for name, part in value.items():
        for inner, levels in _iter_parts(part, levels=1):
            seen += 1
            if levels > MAX_OUTPUTS_DEPTH:
                return TOO_DEEP
            # Each value takes at least one byte.
            if seen > MAX_OUTPUTS_BYTES:
                return _TOO_LARGE
            is_whole = isinstance(inner, int)
            if (is_whole and not _LEAST_NUMBER <= inner <= _LARGEST_NUMBER) or (
                isinstance(inner, float) and not math.isfinite(inner)
            ):
                problem = f"its output {name!r:.{_LONGEST_NAMED}} has a number that is not finite or exceeds 64 bits"
                return f"{problem}: return it as text, or leave it out"
    return ""


def _iter_parts(value: Any, *, levels: int) -> Iterator[tuple[Any, int]]:
    """Yield a value and all its parts, each with its nesting level.

    `levels` is the number of levels around the value. Parts are visited lazily.
    """
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value, levels
        return
    yield value, levels + 1
    for part in inner:
        yield from _iter_parts(part, levels=levels + 1)
