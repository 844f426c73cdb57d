"""Read JSON from outside, limiting its depth and number of values.

Python's own JSON reader is recursive, so the depth that it can read depends on Python's version and on the caller. It
also needs at least 20 bytes of memory for each byte of text such as `[[],[],...`. Text that exceeds the limits is
rejected here, before anything is built from it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from atom_workflows.errors import JsonTooDeep, JsonTooLarge

MAX_DEPTH: Final = 64
"""The maximum depth of lists and objects: three times that of a workflow file, and a tenth of what Python can read."""

MAX_VALUES: Final = 10_000
"""The maximum number of values in an event, a response or a stored task: ten times as many as we ever write."""

MAX_START_VALUES: Final = 310_000
"""The maximum number of values in a start message, whose `definition` may have as many values as a workflow file."""

# A string is one match, even if it is not terminated. The quantifiers are possessive, so no character is read twice.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{},]', re.DOTALL)
_DEEPER: Final = frozenset("[{")
_HIGHER: Final = frozenset("]}")


def read_json(raw: bytes | str, *, most_values: int = MAX_VALUES) -> Any:
    """Parse JSON text and return its value.

    Raises `JsonTooDeep`, `JsonTooLarge`, or another `ValueError` if the text is not JSON.
    """
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
    require_bounded(text, most_values=most_values)
    return json.loads(text)


def require_bounded(text: str, *, most_values: int = MAX_VALUES) -> None:
    """Reject JSON text with too many levels or values, valid or not.

    Raises `JsonTooDeep` or `JsonTooLarge`.
    """
    # Counting is enough for most texts: the number of brackets and commas limits both the depth and the values.
    opened = text.count("[") + text.count("{")
    if opened <= MAX_DEPTH and opened + text.count(",") <= most_values:
        return
    depth = values = 0
    for found in _TOKEN.finditer(text):
        sign = found[0]
        if sign in _DEEPER:
            depth += 1
            values += 1
        elif sign in _HIGHER:
            depth -= 1
        elif sign == ",":
            values += 1
        if depth > MAX_DEPTH:
            raise JsonTooDeep(MAX_DEPTH)
        if values > most_values:
            raise JsonTooLarge(most_values)
