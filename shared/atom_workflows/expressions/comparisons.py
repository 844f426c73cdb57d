"""Find the faults that the types in a comparison reveal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atom_workflows.errors import ValueMismatch
from atom_workflows.expressions import faults
from atom_workflows.expressions.compatibility import (
    can_be_equal,
    family,
    fits,
    have_common_word,
    is_text,
    is_unknown,
    without_null,
)
from atom_workflows.expressions.faults import TIMES
from atom_workflows.expressions.frozen import Frozen
from atom_workflows.expressions.kinds import NULL, TEXT, ListOf, MapOf, Type, Words
from atom_workflows.expressions.order import ORDERED
from atom_workflows.expressions.scope import Fault, fault_at
from atom_workflows.expressions.syntax import Expression, Literal, spelled
from atom_workflows.expressions.values import read_value

_WORDS_SHOWN: Final = 8


class Side(Frozen):
    """One side of a comparison, with its type."""

    expression: Expression
    of: Type


def equality_faults(left: Side, right: Side, at: int) -> Iterator[Fault]:
    """Return the faults in `left == right`, where neither is null."""
    if _is_read_as_time(left, right) or _is_read_as_time(right, left):
        yield from _time_faults(left, right)
    elif not can_be_equal(left.of, right.of):
        yield fault_at(at, faults.never_equal(left.of, right.of))
    elif not have_common_word(left.of, right.of):
        # One side is a word that the other can never be.
        side, other = (left, right) if isinstance(left.expression, Literal) else (right, left)
        name, known = spelled(other.expression), other.of.words if isinstance(other.of, Words) else ()
        if isinstance(side.expression, Literal):
            yield fault_at(side.expression.at, faults.unknown_word(str(side.expression.value), name, known))
        else:
            advice = f"`{name}` is one of {', '.join(known[:_WORDS_SHOWN])}"
            yield fault_at(at, ("these values are never equal", advice))


def order_faults(left: Side, right: Side, at: int) -> Iterator[Fault]:
    """Return the faults in `left < right`, where neither is null."""
    if _is_read_as_time(left, right) or _is_read_as_time(right, left):
        yield from _time_faults(left, right)
        return
    known = [family(of) for of in (left.of, right.of) if not is_unknown(of)]
    if len(set(known)) > 1 or not ORDERED.issuperset(known):
        yield fault_at(at, faults.no_order(family(left.of), family(right.of)))


def membership_faults(left: Side, right: Side, at: int) -> Iterator[Fault]:
    """Return the faults in `left in right`, where `right` is not a literal list."""
    if is_unknown(right.of):
        return
    if isinstance(right.of, ListOf):
        if left.of != NULL:
            yield from equality_faults(left, Side(right.expression, without_null(right.of.item)), at)
    elif not is_text(right.of) and not isinstance(right.of, MapOf):
        yield fault_at(at, faults.no_container(right.of))
    elif not fits(left.of, TEXT):
        yield fault_at(at, faults.never_in(left.of, family(right.of)))


def _is_read_as_time(side: Side, other: Side) -> bool:
    """Return True for a literal string that is compared with a time."""
    return isinstance(side.expression, Literal) and is_text(side.of) and other.of in TIMES


def _time_faults(left: Side, right: Side) -> Iterator[Fault]:
    literal, other = (left, right) if _is_read_as_time(left, right) else (right, left)
    if isinstance(literal.expression, Literal):
        try:
            read_value(literal.expression.value, other.of)
        except ValueMismatch as error:
            yield fault_at(literal.expression.at, (f"the text {error.message}", error.suggestion))
