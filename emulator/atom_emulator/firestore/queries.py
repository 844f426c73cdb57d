"""Queries as values, and the predicate that matches one document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.paths import MISSING, NAME, FieldPath, look_up
from atom_emulator.firestore.values import NAN_KEY, NULL_KEY, OrderKey, Reference, order_key
from atom_emulator.firestore.writes import Record

MAX_DISJUNCTIONS: Final = 30

_NUMERIC_ID: Final = re.compile(r"__id-?\d+__")
"""A numeric Datastore id in a document name. None is stored here, but clients use the smallest one as a lower bound."""


class Op(StrEnum):
    """The comparison operators for a field."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "array_contains"
    CONTAINS_ANY = "array_contains_any"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"
    IS_NAN = "is_nan"
    IS_NOT_NAN = "is_not_nan"


RANGES: Final = frozenset({Op.LESS, Op.AT_MOST, Op.GREATER, Op.AT_LEAST})
INEQUALITIES: Final = RANGES | {Op.NOT_EQUAL, Op.NOT_IN, Op.IS_NOT_NULL, Op.IS_NOT_NAN}
_LISTS: Final = frozenset({Op.IN, Op.NOT_IN, Op.CONTAINS_ANY})


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against a value; the value of IN, NOT_IN and CONTAINS_ANY is a list."""

    field: FieldPath
    op: Op
    value: Any = None


@dataclass(frozen=True, slots=True)
class All:
    """Every condition must hold."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one condition must hold."""

    filters: tuple[Filter, ...]


Filter: TypeAlias = "Compare | All | Either"


@dataclass(frozen=True, slots=True)
class Order:
    """One field to sort by."""

    field: FieldPath
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the results: values for the first sort fields, just before or after the documents with them."""

    values: tuple[Any, ...]
    before: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Documents of one collection under `parent` (a document's path, or empty), or of a whole group.

    A `collection` of None means every collection. If `select` is given, only its fields are returned.
    """

    collection: str | None
    parent: str = ""
    group: bool = False
    where: Filter | None = None
    order_by: tuple[Order, ...] = ()
    start: Cursor | None = None
    end: Cursor | None = None
    offset: int = 0
    limit: int | None = None
    select: tuple[FieldPath, ...] | None = None


Predicate: TypeAlias = Callable[[Record], bool]


def comparisons(where: Filter | None) -> Iterator[Compare]:
    """Yield the comparisons in a filter, at any depth."""
    if isinstance(where, Compare):
        yield where
    elif where is not None:
        for inner in where.filters:
            yield from comparisons(inner)


def find_required(where: Filter | None) -> tuple[Compare, ...]:
    """Return the comparisons that every match must satisfy."""
    if isinstance(where, Compare):
        return (where,)
    if isinstance(where, All):
        return tuple(one for inner in where.filters for one in find_required(inner))
    return ()


def full_order(query: Query) -> tuple[Order, ...]:
    """Return the sort order, including what Firestore adds.

    Firestore adds the other fields that have inequalities, then the name.
    """
    orders = list(query.order_by)
    descending = orders[-1].descending if orders else False
    ordered = {order.field for order in orders}
    unequal = {one.field for one in comparisons(query.where) if one.op in INEQUALITIES}
    orders += [Order(field, descending) for field in sorted(unequal - ordered - {NAME})]
    if NAME not in ordered:
        orders.append(Order(NAME, descending))
    return tuple(orders)


def field_key(record: Record, field: FieldPath) -> OrderKey | None:
    """Return a field's sort key, or None if the field is missing.

    The key of a document's name is the tuple of its parts.
    """
    if field == NAME:
        return record.segments
    value = look_up(record.fields, field)
    return None if value is MISSING else order_key(value)


def value_key(field: FieldPath, value: Any) -> OrderKey:
    """Return the sort key of an operand."""
    if field != NAME:
        return order_key(value)
    if not isinstance(value, Reference):
        raise InvalidArgument("__key__ filter value must be a Key")
    return tuple("" if _NUMERIC_ID.fullmatch(part) else part for part in value.path.split("/"))


def compile_filter(where: Filter) -> Predicate:
    """Return the predicate that a matching document satisfies.

    Raises `InvalidArgument` for a filter that Firestore rejects, such as an empty IN.
    """
    if isinstance(where, Compare):
        if where.op in _LISTS:
            return _compile_list(where)
        if where.op is Op.CONTAINS:
            return _contains(where.field, frozenset({order_key(where.value)}))
        key = _UNARY.get(where.op) or value_key(where.field, where.value)
        return _on_key(where.field, _TESTS[where.op](key))
    inner = tuple(map(compile_filter, where.filters))
    if len(inner) == 1:
        return inner[0]
    if isinstance(where, All):
        return lambda record: all(test(record) for test in inner)
    return lambda record: any(test(record) for test in inner)


def _compile_list(one: Compare) -> Predicate:
    if type(one.value) is not list or not one.value:
        raise InvalidArgument(f"'{one.op.upper()}' requires a non-empty array.")
    if len(one.value) > MAX_DISJUNCTIONS:
        raise InvalidArgument(f"'{one.op.upper()}' supports up to {MAX_DISJUNCTIONS} comparison values.")
    keys = frozenset(value_key(one.field, value) for value in one.value)
    if one.op is Op.CONTAINS_ANY:
        return _contains(one.field, keys)
    if one.op is Op.IN:
        return _on_key(one.field, lambda key: key in keys)
    if NULL_KEY in keys:
        return lambda _: False
    return _on_key(one.field, lambda key: key not in keys and key != NULL_KEY)


def _on_key(field: FieldPath, test: Callable[[OrderKey], bool]) -> Predicate:
    def holds(record: Record) -> bool:
        key = field_key(record, field)
        return key is not None and test(key)

    return holds


def _contains(field: FieldPath, keys: frozenset[OrderKey]) -> Predicate:
    def holds(record: Record) -> bool:
        value = look_up(record.fields, field)
        return type(value) is list and any(order_key(item) in keys for item in value)

    return holds


_UNARY: Final = {Op.IS_NULL: NULL_KEY, Op.IS_NOT_NULL: NULL_KEY, Op.IS_NAN: NAN_KEY, Op.IS_NOT_NAN: NAN_KEY}


def _unequal(key: OrderKey) -> Callable[[OrderKey], bool]:
    """Return the predicate for `!=`, which never matches null."""
    return lambda own: own not in (key, NULL_KEY)


# A range matches only values of the operand's type. A name's key has no type rank, since its parts are strings.
_TESTS: Final[dict[Op, Callable[[OrderKey], Callable[[OrderKey], bool]]]] = {
    Op.EQUAL: lambda key: lambda own: own == key,
    Op.IS_NULL: lambda key: lambda own: own == key,
    Op.IS_NAN: lambda key: lambda own: own == key,
    Op.NOT_EQUAL: _unequal,
    Op.IS_NOT_NULL: _unequal,
    Op.IS_NOT_NAN: _unequal,
    Op.LESS: lambda key: lambda own: own < key and _comparable(own, key),
    Op.AT_MOST: lambda key: lambda own: own <= key and _comparable(own, key),
    Op.GREATER: lambda key: lambda own: own > key and _comparable(own, key),
    Op.AT_LEAST: lambda key: lambda own: own >= key and _comparable(own, key),
}


def _comparable(own: OrderKey, key: OrderKey) -> bool:
    return own[0] == key[0] or type(key[0]) is str
