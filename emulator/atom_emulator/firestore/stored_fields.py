"""The fields of a document as text: JSON, in which each value that JSON lacks is a map with an empty key.

No field of a document may have an empty name, so such a map cannot be anything else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.values import Fields, GeoPoint, Reference, from_micros, to_micros

_TAG: Final = ""

_ENCODE: Final[Mapping[type, Callable[[Any], list[Any]]]] = {
    datetime: lambda value: ["time", to_micros(value)],
    bytes: lambda value: ["bytes", base64.b64encode(value).decode("ascii")],
    Reference: lambda value: ["reference", value.database, value.path],
    GeoPoint: lambda value: ["point", value.latitude, value.longitude],
}

_DECODE: Final[Mapping[str, Callable[..., Any]]] = {
    "time": from_micros,
    "bytes": base64.b64decode,
    "reference": Reference,
    "point": GeoPoint,
}


def _tag(value: Any) -> dict[str, list[Any]]:
    return {_TAG: _ENCODE[type(value)](value)}


def _untag(found: dict[str, Any]) -> Any:
    tagged = found.get(_TAG)
    return found if tagged is None else _DECODE[tagged[0]](*tagged[1:])


# `json.dumps` and `json.loads` would create an encoder or decoder for each call. No document contains itself: its depth
# was checked when its size was computed, and checking for that would take an eighth of the time.
encode_stored: Final[Callable[[Fields], str]] = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, default=_tag, check_circular=False
).encode
"""Return fields as text, in about half the time that the protocol's own encoding takes."""

_decode: Final[Callable[[str], Any]] = json.JSONDecoder(object_hook=_untag).decode


def decode_stored(path: str, text: str) -> Fields:
    """Return the fields in a text that `encode_stored` made.

    Raises `Unavailable` for any other text.
    """
    try:
        fields = _decode(text)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise Unavailable(f"the stored document {path} is damaged: {error}") from error
    if type(fields) is not dict:
        raise Unavailable(f"the stored document {path} is damaged: it has no fields")
    return fields
