"""The types of values, and their names in messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atom_workflows.expressions.frozen import Frozen


class Type(Frozen):
    """The type of a value. Types are values themselves: frozen, and compared by their fields."""


class Scalar(Type):
    """A type without parts, such as `int`."""

    name: str


TEXT: Final = Scalar("text")
INT: Final = Scalar("int")
NUMBER: Final = Scalar("number")
BOOL: Final = Scalar("bool")
DATE: Final = Scalar("date")
TIME: Final = Scalar("time")
INSTANT: Final = Scalar("instant")
DURATION: Final = Scalar("duration")
GS_URI: Final = Scalar("gsUri")
ANY: Final = Scalar("any")
NULL: Final = Scalar("null")

NOTHING: Final = Scalar("nothing")
"""The type of the items of an empty list. It is compatible with every other type, and no value has it."""


class Words(Type):
    """Text that is one of a fixed set of words."""

    words: tuple[str, ...]


class ListOf(Type):
    """A list whose items all have the same type."""

    item: Type


class MapOf(Type):
    """A map with exactly these members."""

    fields: Mapping[str, Type]

    def __hash__(self) -> int:
        return hash(tuple(self.fields))


class OrNull(Type):
    """A value that may be null or missing.

    `reason` says why it may be missing ("because `quality` may be skipped (line 31)"), and `remedy` suggests a fix
    other than `??` ("`trigger: all-succeeded`"). Both may be empty, and neither matters when types are compared.
    """

    of: Type
    reason: str = ""
    remedy: str = ""

    def _compared(self) -> tuple[object, ...]:
        return (self.of,)


class Unavailable(Type):
    """A name or member that exists but cannot be read here.

    `message` and `suggestion` are reported if an expression reads it.
    """

    message: str
    suggestion: str = ""


# Each type in the singular and the plural.
_DESCRIPTIONS: Final = {
    "text": ("a text", "texts"),
    "int": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "bool": ("true or false", "booleans"),
    "date": ("a date", "dates"),
    "time": ("a time of day", "times of day"),
    "instant": ("an instant", "instants"),
    "duration": ("a duration", "durations"),
    "gsUri": ("a gs:// address", "gs:// addresses"),
    "any": ("any value", "values"),
    "null": ("null", "nulls"),
    "nothing": ("no value", "values"),
}
_WORDS_SHOWN: Final = 5


def or_null(of: Type, reason: str = "", remedy: str = "") -> Type:
    """Return the type of values that may also be null."""
    is_null_already = isinstance(of, OrNull) or of == NULL or (of == ANY and not reason)
    return of if is_null_already else OrNull(of, reason, remedy)


def describe(type: Type) -> str:  # noqa: A002 -- the parameter's name is part of the interface
    """Describe the type in words, such as `a list of whole numbers`."""
    match type:
        case ListOf(item):
            return "a list" if item in (ANY, NOTHING) else f"a list of {_several(item)}"
        case MapOf(fields) if fields:
            shown = ", ".join(f"`{name}`" for name in list(fields)[:_WORDS_SHOWN])
            return f"a map with {shown}{', …' if len(fields) > _WORDS_SHOWN else ''}"
        case Words((_, _, *_) as words):
            return f"one of {', '.join(words[:_WORDS_SHOWN])}{', …' if len(words) > _WORDS_SHOWN else ''}"
        case OrNull(of):
            return f"{describe(of)} or null"
        case _:
            return _DESCRIPTIONS[_name(type)][0] if not isinstance(type, MapOf) else "a map"


def _several(item: Type) -> str:
    match item:
        case ListOf():
            return "lists"
        case MapOf():
            return "maps"
        case OrNull(of):
            return f"{_several(of)} or nulls"
        case _:
            return _DESCRIPTIONS[_name(item)][1]


def _name(type: Type) -> str:  # noqa: A002 -- as above
    return type.name if isinstance(type, Scalar) else "text"
