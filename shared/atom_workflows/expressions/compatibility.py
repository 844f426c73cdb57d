"""How types relate to each other.

This module decides whether a type fits where another is expected, whether values of two types can be equal, and which
type covers several others.
"""

from __future__ import annotations

from collections.abc import Iterable

from atom_workflows.expressions.faults import TIMES
from atom_workflows.expressions.kinds import (
    ANY,
    GS_URI,
    INT,
    NOTHING,
    NULL,
    NUMBER,
    TEXT,
    ListOf,
    MapOf,
    OrNull,
    Type,
    Words,
    or_null,
)
from atom_workflows.expressions.values import MAP


def without_null(of: Type) -> Type:
    """Return the type without null."""
    if of == NULL:
        return NOTHING
    return of.of if isinstance(of, OrNull) else of


def is_text(of: Type) -> bool:
    """Return True if every value of the type is text."""
    return of in (TEXT, GS_URI) or isinstance(of, Words)


def is_unknown(of: Type) -> bool:
    """Return True if only a value can reveal the actual type."""
    return of in (ANY, NOTHING)


def family(of: Type) -> Type:
    """Return a type's broad kind: text, number or the type itself."""
    return TEXT if is_text(of) else NUMBER if of == INT else of


def join(types: Iterable[Type]) -> Type:
    """Return the narrowest type that covers all the given ones."""
    joined: Type = NOTHING
    for of in types:
        joined = _join(joined, of)
    return joined


def _join(left: Type, right: Type) -> Type:
    if left == right:
        return left
    nullable = next((of for of in (left, right) if isinstance(of, OrNull)), None)
    joined = _join_values(without_null(left), without_null(right))
    if nullable:
        return or_null(joined, nullable.reason, nullable.remedy)
    return or_null(joined) if NULL in (left, right) else joined


def _join_values(left: Type, right: Type) -> Type:
    if NOTHING in (left, right) or left == right:
        return right if left == NOTHING else left
    if isinstance(left, Words) and isinstance(right, Words):
        return Words(tuple(dict.fromkeys(left.words + right.words)))
    if isinstance(left, ListOf) and isinstance(right, ListOf):
        return ListOf(_join(left.item, right.item))
    if isinstance(left, MapOf) and isinstance(right, MapOf) and left.fields.keys() == right.fields.keys():
        return MapOf({name: _join(of, right.fields[name]) for name, of in left.fields.items()})
    same = family(left) == family(right) and family(left) in (TEXT, NUMBER)
    return family(left) if same else ANY


def fits(found: Type, due: Type, *, reads_text: bool = False) -> bool:
    """Return True if one type may be used where another is expected.

    With `reads_text`, the value will be converted to the expected type, as parameters are; text may then turn out to be
    a word of an enum, a date or an address.
    """
    if isinstance(found, OrNull) or found == NULL:
        inner = without_null(found)
        return due == ANY or (isinstance(due, OrNull) and fits(inner, due.of, reads_text=reads_text))
    if isinstance(due, OrNull):
        return fits(found, due.of, reads_text=reads_text)
    if is_unknown(found) or due == ANY:
        return True
    if isinstance(due, ListOf) and isinstance(found, ListOf):
        return fits(found.item, due.item, reads_text=reads_text)
    if isinstance(due, MapOf) and isinstance(found, MapOf):
        return due == MAP or (
            found.fields.keys() <= due.fields.keys()
            and all(isinstance(due.fields[name], OrNull) for name in due.fields.keys() - found.fields.keys())
            and all(fits(of, due.fields[name], reads_text=reads_text) for name, of in found.fields.items())
        )
    return _scalar_fits(found, due, reads_text=reads_text)


def _scalar_fits(found: Type, due: Type, *, reads_text: bool) -> bool:
    if isinstance(due, Words) and isinstance(found, Words):
        return not {*due.words}.isdisjoint(found.words) if reads_text else {*found.words} <= {*due.words}
    if is_text(found) and found != due:
        return due == TEXT or (reads_text and (due in TIMES or is_text(due)))
    return found == due or (found == INT and due == NUMBER)


def can_be_equal(left: Type, right: Type) -> bool:
    """Return True if non-null values of the two types can be equal."""
    left, right = without_null(left), without_null(right)
    if is_unknown(left) or is_unknown(right):
        return True
    if isinstance(left, ListOf) and isinstance(right, ListOf):
        return can_be_equal(left.item, right.item)
    if isinstance(left, MapOf) and isinstance(right, MapOf):
        return True
    return family(left) == family(right)


def have_common_word(left: Type, right: Type) -> bool:
    """Return False for two enums that have no word in common."""
    return not (isinstance(left, Words) and isinstance(right, Words) and {*left.words}.isdisjoint(right.words))
