"""Values in the form that expressions compute with, and as JSON.

They are plain Python objects: str, int, float, bool, None, date, time, aware datetime (an instant), timedelta (a
duration), list and dict. In JSON, the four kinds of times are strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any, Final, TypeAlias

from atom_workflows.errors import ValueMismatch
from atom_workflows.expressions import times
from atom_workflows.expressions.faults import in_words
from atom_workflows.expressions.kinds import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NULL,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    OrNull,
    Scalar,
    Type,
    Words,
    describe,
)
from atom_workflows.expressions.names import did_you_mean

Value: TypeAlias = str | int | float | bool | date | time | datetime | timedelta | list[Any] | dict[str, Any] | None

MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1
MAX_VALUE_DEPTH: Final = 64
"""The maximum number of levels of lists and maps in a value from outside."""

LIST: Final = ListOf(ANY)
MAP: Final = MapOf({})
"""A map with any members, for values that only have to be maps."""

_BY_CLASS: Final[dict[type, Type]] = {
    str: TEXT, bool: BOOL, int: INT, float: NUMBER, type(None): NULL, datetime: INSTANT, date: DATE, time: TIME,
    timedelta: DURATION, list: LIST, dict: MAP,
}  # fmt: skip
"""Subclasses come before their base classes."""


def kind_of(value: object) -> Type:
    """Return the type of a value without looking at its parts.

    Raises ValueError if an expression cannot have such a value.
    """
    kind = _BY_CLASS.get(type(value)) or next((kind for of, kind in _BY_CLASS.items() if isinstance(value, of)), None)
    is_naive = kind is INSTANT and getattr(value, "tzinfo", None) is None
    if kind is None or is_naive or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a {type(value).__name__} such as {value!s:.40} cannot be used in an expression")
    return kind


def as_text(value: Value) -> str:
    """Return a non-null scalar as it appears when inserted into text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return str(write_value(value))


def write_value(value: Value) -> Any:
    """Return the value as JSON, with times as strings.

    A duration looks like `1h30m`. An instant is in UTC.
    """
    if isinstance(value, list):
        return [write_value(item) for item in value]
    if isinstance(value, dict):
        return {name: write_value(item) for name, item in value.items()}
    write = _WRITERS.get(kind_of(value))
    return write(value) if write else value


_WRITERS: Final[dict[Type, Callable[[Any], str]]] = {
    INSTANT: times.write_instant,
    DATE: date.isoformat,
    TIME: times.write_time,
    DURATION: times.write_duration,
}


def read_value(value: object, type: Type, *, zone: str = "UTC", drop_unknown: bool = False) -> Value:  # noqa: A002 -- part of the interface
    """Convert a JSON value to a value of the type.

    A member that may be null may also be missing. Members that the type does not have are refused, or dropped if
    `drop_unknown` is set. Instants without an offset are local times in the zone. Values that already have the type are
    returned unchanged. Raises ValueMismatch.
    """
    return _Reader(zone=zone, drop_unknown=drop_unknown).read(value, type, "")


class _Reader:
    def __init__(self, *, zone: str, drop_unknown: bool) -> None:
        self._drop_unknown = drop_unknown
        self._time_readers: dict[Type, tuple[type, Callable[[str], Value]]] = {
            DATE: (date, times.read_date),
            TIME: (time, times.read_time),
            INSTANT: (datetime, lambda text: times.read_instant(text, zone)),
            DURATION: (timedelta, times.read_duration),
        }

    def read(self, value: object, of: Type, path: str) -> Value:
        match of:
            case OrNull(inner):
                return None if value is None else self.read(value, inner, path)
            case ListOf(item):
                if not isinstance(value, list):
                    raise _mismatch(value, of, path)
                return [self.read(each, item, f"{path}[{number}]") for number, each in enumerate(value)]
            case MapOf(fields):
                return self._map(value, fields, path)
            case Words(words):
                if not isinstance(value, str):
                    raise _mismatch(value, TEXT, path)
                if value not in words:
                    message = f"is `{value:.60}`, not one of {', '.join(words)}"
                    raise ValueMismatch(path, message, did_you_mean(value, words))
                return value
            case Scalar() if of in self._time_readers:
                return self._time(value, of, path)
            case _:
                return _READERS[of](value, path)

    def _map(self, value: object, fields: dict[str, Type] | Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch(value, MapOf(fields), path)
        unknown = next((name for name in value if name not in fields), None)
        if unknown is not None and not self._drop_unknown:
            raise ValueMismatch(path, f"has no member `{unknown!s:.60}`", did_you_mean(str(unknown), fields))
        for name, of in fields.items():
            if name not in value and not isinstance(of, OrNull):
                raise ValueMismatch(f"{path}.{name}", "is missing")
        return {name: self.read(value.get(name), of, f"{path}.{name}") for name, of in fields.items()}

    def _time(self, value: object, of: Type, path: str) -> Value:
        python_type, read = self._time_readers[of]
        # In Python, a datetime is also a date, but an instant is not a date here.
        if isinstance(value, python_type) and kind_of(value) == of:
            return value  # type: ignore[return-value]  # It is an instance of one of the four classes.
        if isinstance(value, date) and of == INSTANT:
            value = value.isoformat()
        if not isinstance(value, str):
            raise _mismatch(value, of, path)
        try:
            return read(value)
        except ValueError as error:
            raise ValueMismatch(path, f"is `{value:.60}`, which is not {describe(of)}", str(error)) from error


def _mismatch(value: object, of: Type, path: str, suggestion: str = "") -> ValueMismatch:
    try:
        found = in_words(kind_of(value))
    except ValueError as error:
        found = str(error)
    return ValueMismatch(path, f"is {found}, not {in_words(of)}", suggestion)


def _read_text(value: object, path: str) -> str:
    if not isinstance(value, str):
        is_plain = isinstance(value, int | float) and not isinstance(value, bool)
        raise _mismatch(value, TEXT, path, f'send "{value!s:.40}"' if is_plain else "")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueMismatch(path, "contains half of a surrogate pair, which cannot be stored") from None
    return value


def _read_gs_uri(value: object, path: str) -> str:
    text = _read_text(value, path)
    bucket, _, name = text.removeprefix("gs://").partition("/")
    if not text.startswith("gs://") or not bucket or not name:
        raise ValueMismatch(path, f"is `{text:.60}`, which is not a gs:// address", "send gs://BUCKET/OBJECT")
    return text


def _read_number(value: object, path: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, NUMBER, path, _unquoted(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueMismatch(path, "is not a finite number")
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        raise ValueMismatch(path, "is too large: whole numbers are limited to 64 bits")
    return value


def _read_int(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, INT, path, _unquoted(value))
    number = _read_number(value, path)
    if isinstance(number, float) and not number.is_integer():
        raise ValueMismatch(path, f"is {number}, not a whole number")
    return int(_read_number(int(number), path))


def _unquoted(value: object) -> str:
    """Return advice for a number that was sent as text."""
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit():
        return f"send {value:.40}"
    return ""


def _read_bool(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, BOOL, path, f"send {value}" if value in ("true", "false") else "")
    return value


def _read_null(value: object, path: str) -> None:
    if value is not None:
        raise _mismatch(value, NULL, path)


def _read_any(value: object, path: str, depth: int = 0) -> Value:
    if depth > MAX_VALUE_DEPTH:
        raise ValueMismatch(path, f"is nested too deeply: more than {MAX_VALUE_DEPTH} levels of lists and maps")
    if isinstance(value, list):
        return [_read_any(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {_read_text(name, path): _read_any(item, f"{path}.{name}", depth + 1) for name, item in value.items()}
    if isinstance(value, str):
        return _read_text(value, path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _read_number(value, path)
    try:
        kind_of(value)
    except ValueError as error:
        raise ValueMismatch(path, str(error)) from error
    return value  # type: ignore[return-value]  # `kind_of` refuses everything that is not a Value.


_READERS: Final[dict[Type, Callable[[object, str], Value]]] = {
    TEXT: _read_text,
    GS_URI: _read_gs_uri,
    INT: _read_int,
    NUMBER: _read_number,
    BOOL: _read_bool,
    NULL: _read_null,
    ANY: _read_any,
}
