"""The writes of a commit, and the effect of each on one document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from atom_emulator.firestore.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from atom_emulator.firestore.paths import MISSING, FieldPath, look_up, put, remove
from atom_emulator.firestore.values import NAN_RANK, Fields, from_micros, order_key


@dataclass(frozen=True, slots=True)
class Record:
    """A stored document. Times are microseconds since 1970; a document's update time is its version."""

    path: str
    segments: tuple[str, ...]
    fields: Fields
    created: int
    updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """The condition on a document before it is written; `updated` is the update time it must have."""

    exists: bool | None = None
    updated: int | None = None


ANY: Final = Precondition()
ABSENT: Final = Precondition(exists=False)
PRESENT: Final = Precondition(exists=True)


class TransformKind(StrEnum):
    """The kinds of values that the server computes."""

    REQUEST_TIME = "request_time"
    INCREMENT = "increment"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    APPEND_MISSING = "append_missing"
    REMOVE_ALL = "remove_all"


@dataclass(frozen=True, slots=True)
class Transform:
    """A field's new value, computed from its old one and an operand."""

    field: FieldPath
    kind: TransformKind
    operand: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a whole document, or only the fields in `mask`; masked fields without a value are deleted."""

    path: str
    fields: Fields = field(default_factory=dict)
    mask: tuple[FieldPath, ...] | None = None
    transforms: tuple[Transform, ...] = ()
    precondition: Precondition = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete a document."""

    path: str
    precondition: Precondition = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Only check the precondition."""

    path: str
    precondition: Precondition = ANY


Write: TypeAlias = Put | Remove | Verify


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a write: the document's update time (None if it was deleted) and each transform's new value."""

    updated: int | None
    transformed: tuple[Any, ...] = ()


def check(precondition: Precondition, path: str, record: Record | None) -> None:
    """Raise Firestore's error if the precondition does not hold."""
    if precondition.exists is True and record is None:
        raise NotFound(f"No document to update: {path}")
    if precondition.exists is False and record is not None:
        raise AlreadyExists(f"Document already exists: {path}")
    if precondition.updated is None:
        return
    stored = 0 if record is None else record.updated
    if stored != precondition.updated:
        raise FailedPrecondition(
            f"the stored version ({stored}) does not match the required base version ({precondition.updated})"
        )


def apply(write: Put, record: Record | None, now: int) -> tuple[Fields, tuple[Any, ...]]:
    """Return the document's new fields and the transforms' results.

    The old fields stay untouched.
    """
    if write.mask is None:
        fields = dict(write.fields)
    else:
        fields = {} if record is None else dict(record.fields)
        for path in write.mask:
            value = look_up(write.fields, path)
            if value is MISSING:
                remove(fields, path)
            else:
                put(fields, path, value)
    if not write.transforms:
        return fields, ()
    results = []
    for transform in write.transforms:
        new = _COMPUTE[transform.kind](look_up(fields, transform.field), transform.operand, now)
        put(fields, transform.field, new)
        results.append(None if transform.kind in _LIST_KINDS else new)
    return fields, tuple(results)


_LIST_KINDS: Final = frozenset({TransformKind.APPEND_MISSING, TransformKind.REMOVE_ALL})
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _require_number(operand: Any) -> Any:
    if not _is_number(operand):
        raise InvalidArgument("The operand of a numeric transform must be an integer or a double.")
    return operand


def _increment(old: Any, operand: Any, _: int) -> Any:
    new = _require_number(operand) if not _is_number(old) else old + _require_number(operand)
    return new if type(new) is float else max(_LOWEST, min(_HIGHEST, new))


def _take_larger(old: Any, operand: Any, _: int) -> Any:
    """Return the larger number, or the old one if they are equal.

    NaN counts as larger than every number, whether old or new.
    """
    if not _is_number(old):
        return _require_number(operand)
    if order_key(_require_number(operand))[0] == NAN_RANK:
        return operand
    return operand if order_key(old)[0] != NAN_RANK and operand > old else old


def _take_smaller(old: Any, operand: Any, _: int) -> Any:
    if not _is_number(old):
        return _require_number(operand)
    return operand if order_key(_require_number(operand)) < order_key(old) else old


def _append_missing(old: Any, operand: Iterable[Any], _: int) -> list[Any]:
    new = list(old) if type(old) is list else []
    seen = {order_key(value) for value in new}
    for value in operand:
        key = order_key(value)
        if key not in seen:
            seen.add(key)
            new.append(value)
    return new


def _remove_all(old: Any, operand: Iterable[Any], _: int) -> list[Any]:
    unwanted = {order_key(value) for value in operand}
    return [value for value in old if order_key(value) not in unwanted] if type(old) is list else []


def _request_time(_old: Any, _operand: Any, now: int) -> datetime:
    """Return the commit's time in whole milliseconds, as the service does."""
    return from_micros(now // 1000 * 1000)


_COMPUTE: Final[Mapping[TransformKind, Callable[[Any, Any, int], Any]]] = {
    TransformKind.REQUEST_TIME: _request_time,
    TransformKind.INCREMENT: _increment,
    TransformKind.MAXIMUM: _take_larger,
    TransformKind.MINIMUM: _take_smaller,
    TransformKind.APPEND_MISSING: _append_missing,
    TransformKind.REMOVE_ALL: _remove_all,
}
