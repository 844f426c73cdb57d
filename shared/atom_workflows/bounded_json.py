"""JSON from outside, read within limits on its depth and its number of values.

Python's own reader recurses, so the depth that it can read depends on the version and on the caller. It also needs 20
or more bytes of memory for each byte of `[[],[],...`. Texts beyond the limits are refused here, before anything is
built.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from atom_workflows.errors import JsonTooDeep, JsonTooLarge

MAX_DEPTH: Final = 64
"""Levels of lists and objects: three times what a workflow file may have, a tenth of what Python can read."""

MAX_VALUES: Final = 10_000
"""Values in an event, an answer or a stored task: ten times as many as in the largest that we write."""

MAX_START_VALUES: Final = 310_000
"""Values in a start message, whose `definition` may have as many as a workflow file."""

# A string is one match, even if it never ends. The quantifiers are possessive, so each character is read only once.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{},]', re.DOTALL)
_DEEPER: Final = frozenset("[{")
_HIGHER: Final = frozenset("]}")


def read_json(raw: bytes | str, *, most_values: int = MAX_VALUES) -> Any:
    """Return the value of a JSON text.

    Raises `JsonTooDeep`, `JsonTooLarge`, or another `ValueError` if it is not JSON.
    """
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
    require_bounded(text, most_values=most_values)
    return json.loads(text)


def require_bounded(text: str, *, most_values: int = MAX_VALUES) -> None:
    """Refuse text, JSON or not, with too many levels or values.

    Raises `JsonTooDeep` or `JsonTooLarge`.
    """
    # Counting is enough for most texts: the brackets and commas limit both the depth and the number of values.
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
