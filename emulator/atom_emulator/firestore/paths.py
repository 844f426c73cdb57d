"""Names: document paths, and field paths into nested maps."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, TypeAlias

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.values import Fields

FieldPath: TypeAlias = tuple[str, ...]

NAME: Final[FieldPath] = ("__name__",)
"""The field path that means the document's own name."""

MISSING: Final = object()
"""What `look_up` returns for a missing field."""

MAX_ID_BYTES: Final = 1500
_RESERVED: Final = re.compile(r"__.*__", re.DOTALL)
_PART: Final = re.compile(r"`((?:[^`\\]|\\.)*)`|([^.`]+)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=4096)
def parse_field_path(text: str) -> FieldPath:
    r"""Return the names in ``a.`b.c` ``, where a quoted name may contain dots and escaped back-quotes."""
    names: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise InvalidArgument(f"Invalid property path: {text!r}")
        quoted, plain = match.groups()
        names.append(plain if quoted is None else _ESCAPE.sub(r"\1", quoted))
        position = match.end()
        if position == len(text):
            return tuple(names)
        if text[position] != ".":
            raise InvalidArgument(f"Invalid property path: {text!r}")
        position += 1


def look_up(fields: Fields, path: FieldPath) -> Any:
    """Return the value at a field path, or `MISSING`."""
    value: Any = fields
    for name in path:
        if type(value) is not dict or name not in value:
            return MISSING
        value = value[name]
    return value


def put(fields: Fields, path: FieldPath, value: Any) -> None:
    """Set the value at a field path, copying the nested maps.

    `fields` itself is changed.
    """
    for name in path[:-1]:
        inner = fields.get(name)
        fields[name] = dict(inner) if type(inner) is dict else {}
        fields = fields[name]
    fields[path[-1]] = value


def remove(fields: Fields, path: FieldPath) -> None:
    """Remove the value at a field path, copying the nested maps.

    `fields` itself is changed.
    """
    if look_up(fields, path) is MISSING:
        return
    for name in path[:-1]:
        fields[name] = dict(fields[name])
        fields = fields[name]
    del fields[path[-1]]


@lru_cache(maxsize=65536)
def document_segments(path: str) -> tuple[str, ...]:
    """Check a document's path, and return its parts."""
    segments = tuple(path.split("/"))
    if len(segments) % 2:
        raise InvalidArgument(f"Document name {path!r} lacks a document id at its end.")
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise InvalidArgument(f"Document name {path!r} has an invalid segment {segment!r}.")
        if _RESERVED.fullmatch(segment):
            raise InvalidArgument(f'Resource id "{segment}" is invalid because it is reserved.')
        if len(segment) * 4 > MAX_ID_BYTES and len(segment.encode()) > MAX_ID_BYTES:
            raise InvalidArgument(f"A segment of document name {path[:100]!r}... is longer than {MAX_ID_BYTES} bytes.")
    return segments
