"""Values as Firestore sees them: their order across types, their identity and their size.

A value is None, bool, int, float, str, bytes, an aware `datetime` (microseconds), `Reference`, `GeoPoint`,
a list or a dict with string keys. Values are never changed once they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, TypeAlias

from atom_emulator.firestore.errors import InvalidArgument

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
MAX_DEPTH: Final = 20
_INT64: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Reference:
    """A document's name: `database` is `projects/P/databases/D`, `path` is relative to it."""

    database: str
    path: str


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A point on the earth, in degrees."""

    latitude: float
    longitude: float


Fields: TypeAlias = dict[str, Any]
OrderKey: TypeAlias = tuple[Any, ...]
"""A value's place in Firestore's order of all values: a rank for its type, then what compares within it."""

NULL_RANK: Final = 0
NAN_RANK: Final = 2
_NUMBER_RANK: Final = 3
NULL_KEY: Final[OrderKey] = (NULL_RANK,)
NAN_KEY: Final[OrderKey] = (NAN_RANK,)


def _float_key(value: float) -> OrderKey:
    return NAN_KEY if math.isnan(value) else (_NUMBER_RANK, value)


def _map_key(value: Mapping[str, Any]) -> OrderKey:
    return (10, tuple((name, order_key(value[name])) for name in sorted(value)))


_KEYS: Final[dict[type, Callable[[Any], OrderKey]]] = {
    type(None): lambda _: NULL_KEY,
    bool: lambda value: (1, value),
    int: lambda value: (_NUMBER_RANK, value),
    float: _float_key,
    datetime: lambda value: (4, value),
    str: lambda value: (5, value),
    bytes: lambda value: (6, value),
    Reference: lambda value: (7, (value.database, *value.path.split("/"))),
    GeoPoint: lambda value: (8, value.latitude, value.longitude),
    list: lambda value: (9, tuple(map(order_key, value))),
    dict: _map_key,
}


def order_key(value: Any) -> OrderKey:
    """Return the key that sorts the value among all others.

    Equal values have equal keys, and so do `1` and `1.0`.
    """
    return _KEYS[type(value)](value)


def identical(one: Any, other: Any) -> bool:
    """Return True if two values are the same in type and content.

    Replacing one with the other then changes nothing.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(identical(one[name], other[name]) for name in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(identical, one, other))
    if type(one) is float and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def _text_size(value: str, _depth: int = 0) -> int:
    return (len(value) if value.isascii() else len(value.encode())) + 1


def _int_size(value: int, _depth: int) -> int:
    if not -_INT64 <= value < _INT64:
        raise InvalidArgument(f"the integer {value} does not fit into 64 bits")
    return 8


def _list_size(value: list[Any], depth: int) -> int:
    size = 0
    for item in value:
        if type(item) is list:
            raise InvalidArgument("Cannot convert an array value in an array value.")
        size += _SIZES[type(item)](item, depth + 1)
    return size


def _map_size(value: Mapping[str, Any], depth: int) -> int:
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"a value is nested deeper than {MAX_DEPTH} levels")
    size = 0
    for name, item in value.items():
        if not name:
            raise InvalidArgument("a field name is empty")
        size += _text_size(name) + _SIZES[type(item)](item, depth + 1)
    return size


_KNOWN: Final[dict[type, Callable[[Any, int], int]]] = {
    type(None): lambda _value, _depth: 1,
    bool: lambda _value, _depth: 1,
    int: _int_size,
    float: lambda _value, _depth: 8,
    datetime: lambda _value, _depth: 8,
    str: _text_size,
    bytes: lambda value, _depth: len(value),
    Reference: lambda value, _depth: name_size(value.path),
    GeoPoint: lambda _value, _depth: 16,
    list: _list_size,
    dict: _map_size,
}


class _Sizes(dict[type, Callable[[Any, int], int]]):
    """The functions that measure each type of value, given its depth."""

    def __missing__(self, kind: type) -> NoReturn:
        raise InvalidArgument(f"a document cannot hold a {kind.__name__}")


_SIZES: Final = _Sizes(_KNOWN)


def name_size(path: str) -> int:
    """Return the number of bytes that a document's name counts for.

    The number is 16 plus, for each part of the name, its length and one byte.
    """
    return _text_size(path) + 15 + 1


def document_size(path: str, fields: Mapping[str, Any]) -> int:
    """Return a document's size in bytes by Firestore's published rules.

    Raises `InvalidArgument` for values that no document may contain: an array in an array, or an integer over 64 bits.
    """
    return name_size(path) + _map_size(fields, 0) + 32


def to_micros(moment: datetime) -> int:
    """Return the microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC time for microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)
