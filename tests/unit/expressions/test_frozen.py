"""Values with named fields."""

from __future__ import annotations

from copy import deepcopy

import pytest

from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.syntax import Literal, Member, Negative
from atom_workflows.expressions.types import INT, TEXT, ListOf, MapOf, OrNull, Scalar


def test_values_are_equal_by_their_fields() -> None:
    """Two values are equal if they are of one class and their fields are, and then they have one hash."""
    assert ListOf(INT) == ListOf(Scalar("int")) != ListOf(TEXT)
    assert hash(ListOf(INT)) == hash(ListOf(Scalar("int")))
    assert hash(MapOf({"a": INT})) == hash(MapOf({"a": INT}))
    assert OrNull(of=INT) == OrNull(INT, "a reason")
    assert ListOf(INT) != OrNull(INT)
    assert ListOf(INT) != "a list"
    assert parse("[-a.b]") == deepcopy(parse("[-a.b]")) != parse("[-a.c]")


def test_values_never_change() -> None:
    """A field can neither be set nor deleted."""
    literal = Literal(at=0, value=1)
    with pytest.raises(AttributeError, match="cannot change"):
        literal.at = 2  # type: ignore[misc]  # That is the point.
    with pytest.raises(AttributeError, match="cannot change"):
        del literal.value
    assert literal.value == 1


def test_values_show_their_fields() -> None:
    """The fields of base classes come first."""
    assert repr(Negative(at=3, operand=Literal(at=4, value="x"))) == "Negative(at=3, operand=Literal(at=4, value='x'))"
    assert repr(Member(at=1, name="b")) == "Member(at=1, name='b')"
