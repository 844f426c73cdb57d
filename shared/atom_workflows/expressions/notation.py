"""How types are written in files and documents.

Examples: `int`, `[text]` (a list), `{size: int}` (a map), `text or null`.
"""

from __future__ import annotations

import re
from typing import Final

from atom_workflows.errors import TypeNotationError
from atom_workflows.expressions.kinds import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    OrNull,
    Scalar,
    Type,
    or_null,
)
from atom_workflows.expressions.names import nearest
from atom_workflows.expressions.syntax import is_member_name

MAX_TYPE_DEPTH: Final = 8
MAX_FIELDS: Final = 100

_BY_NAME: Final = {
    scalar.name: scalar for scalar in (TEXT, INT, NUMBER, BOOL, DATE, TIME, INSTANT, DURATION, GS_URI, ANY)
}
_OTHER_NAMES: Final = {
    "string": "text", "str": "text", "integer": "int", "long": "int", "float": "number", "double": "number",
    "boolean": "bool", "timestamp": "instant", "datetime": "instant", "uri": "gsUri", "file": "gsUri",
    "object": "{name: text}", "map": "{name: text}", "dict": "{name: text}", "array": "[text]", "list": "[text]",
}  # fmt: skip
"""The names of these types in other systems."""


def write_type(type: Type) -> object:  # noqa: A002 -- the parameter's name is part of the interface
    """Return the type in the notation that `read_type` reads, as JSON.

    The words of an enum are not included.
    """
    match type:
        case ListOf(item):
            return [write_type(item)]
        case MapOf(fields):
            return {name: write_type(of) for name, of in fields.items()}
        case OrNull(of):
            return f"{_inline(write_type(of))} or null"
        case _:
            return type.name if isinstance(type, Scalar) else TEXT.name


def _inline(notation: object) -> str:
    """Return a notation as a single string, such as `[{a: int}]`."""
    if isinstance(notation, list):
        return f"[{_inline(notation[0])}]"
    if isinstance(notation, dict):
        return "{" + ", ".join(f"{name}: {_inline(of)}" for name, of in notation.items()) + "}"
    return str(notation)


def read_type(notation: object) -> Type:
    """Read the notation of a type. Raises TypeNotationError."""
    return _read(notation, MAX_TYPE_DEPTH)


def _read(notation: object, depth: int) -> Type:
    if not depth:
        raise TypeNotationError(f"the type has more than {MAX_TYPE_DEPTH} levels of lists and maps")
    match notation:
        case str():
            return _InText(notation, depth).read()
        case [item]:
            return ListOf(_read(item, depth - 1))
        case dict() if notation:
            return _read_map(notation, depth)
        case None:
            raise TypeNotationError("null by itself is not a type", "write `T or null`, where T is a type")
        case list():
            raise TypeNotationError("a list type must have exactly one item type", "write `[text]`")
        case dict():
            raise TypeNotationError("a map type must name its members", "write `{name: text}`, or `any`")
        case _:
            raise TypeNotationError(f"`{notation!s:.40}` is not a type", f"the types are {', '.join(_BY_NAME)}")


def _read_map(notation: dict[object, object], depth: int) -> Type:
    if len(notation) > MAX_FIELDS:
        raise TypeNotationError(f"the map has more than {MAX_FIELDS} members")
    for name in notation:
        if not isinstance(name, str) or not is_member_name(name):
            raise TypeNotationError(
                f"`{name!s:.40}` is not a valid member name", "names consist of letters, digits, `_` and `-`"
            )
    return MapOf({str(name): _read(of, depth - 1) for name, of in notation.items()})


_SIGNS: Final = re.compile(r"\s*([\[\]{}:,?]|[^\s\[\]{}:,?]+)")


class _InText:
    """Reads a single-string notation, such as `[text] or null`."""

    def __init__(self, text: str, depth: int) -> None:
        self._text = text
        self._signs = [found[1] for found in _SIGNS.finditer(text)]
        self._next = 0
        self._depth = depth

    def read(self) -> Type:
        """Read the whole text."""
        found = self._type(self._depth)
        if self._peek():
            raise self._refuse()
        return found

    def _peek(self) -> str:
        return self._signs[self._next] if self._next < len(self._signs) else ""

    def _take(self) -> str:
        sign = self._peek()
        self._next += 1
        return sign

    def _refuse(self) -> TypeNotationError:
        instead = ""
        if "?" in self._text:
            instead = f"write `{self._text.replace('?', '').strip():.40} or null`"
        return TypeNotationError(f"`{self._text:.40}` is not a type", instead)

    def _type(self, depth: int) -> Type:
        if not depth:
            raise TypeNotationError(f"the type has more than {MAX_TYPE_DEPTH} levels of lists and maps")
        sign = self._take()
        if sign == "[":
            found: Type = ListOf(self._type(depth - 1))
            if self._take() != "]":
                raise self._refuse()
        elif sign == "{":
            found = self._members(depth)
        else:
            found = self._named(sign)
        if self._peek() != "or":
            return found
        self._take()
        if self._take() != "null":
            raise TypeNotationError(f"`{self._text:.40}` is not a type", "only `or null` may follow a type")
        return or_null(found)

    def _members(self, depth: int) -> Type:
        fields: dict[str, Type] = {}
        while True:
            name = self._take()
            if not is_member_name(name) or name in fields or self._take() != ":" or len(fields) >= MAX_FIELDS:
                raise self._refuse()
            fields[name] = self._type(depth - 1)
            sign = self._take()
            if sign == "}":
                return MapOf(fields)
            if sign != ",":
                raise self._refuse()

    def _named(self, name: str) -> Type:
        if name in _BY_NAME:
            return _BY_NAME[name]
        if not name or name in "[]{}:,?":
            raise self._refuse()
        near = _OTHER_NAMES.get(name.lower()) or nearest(name, [*_BY_NAME, *_OTHER_NAMES])
        raise TypeNotationError(
            f"there is no type `{name:.40}`",
            f"did you mean `{_OTHER_NAMES.get(near, near)}`?" if near else f"the types are {', '.join(_BY_NAME)}",
        )
