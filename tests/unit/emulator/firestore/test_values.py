"""Values: their order across types, when they are the same, how large they are."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.paths import MISSING, document_segments, look_up, parse_field_path, put, remove
from atom_emulator.firestore.values import (
    GeoPoint,
    Reference,
    document_size,
    from_micros,
    identical,
    order_key,
    to_micros,
)

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
DATABASE = "projects/p/databases/d"

IN_ORDER: list[Any] = [
    None,
    False,
    True,
    float("nan"),
    float("-inf"),
    -5,
    -1.5,
    0,
    1,
    1.5,
    2**53 + 1,
    float("inf"),
    MOMENT,
    MOMENT + timedelta(microseconds=1),
    "",
    "Z",
    "a",
    "a\x00",
    "ab",
    "é",
    "\U0001f600",
    b"",
    b"\x00",
    b"a",
    Reference(DATABASE, "a/b"),
    Reference(DATABASE, "a/b/c/d"),
    Reference(DATABASE, "a/c"),
    GeoPoint(-1.0, 5.0),
    GeoPoint(1.0, 2.0),
    GeoPoint(1.0, 3.0),
    [],
    [1],
    [1, 2],
    [2],
    ["a"],
    {},
    {"a": 1},
    {"a": 1, "b": 0},
    {"a": 2},
    {"b": 0},
]


def test_values_of_all_types_have_one_order() -> None:
    """Types are ordered as Firestore orders them."""
    for earlier, later in itertools.combinations(IN_ORDER, 2):
        assert order_key(earlier) < order_key(later), (earlier, later)


def test_equal_numbers_have_equal_keys() -> None:
    """An integer and a double of the same value compare as equal."""
    assert order_key(1) == order_key(1.0)
    assert order_key([0.0]) == order_key([-0.0])


@pytest.mark.parametrize("value", IN_ORDER, ids=repr)
def test_a_value_is_identical_to_itself_alone(value: Any) -> None:
    """Only the same type and content is the same value, NaN included."""
    assert [other for other in IN_ORDER if identical(value, other)] == [value] or value != value  # noqa: PLR0124 - NaN


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (True, 1), ([1], [1.0]), ({"a": 0}, {"a": False})])
def test_equal_values_of_different_types_are_not_identical(one: Any, other: Any) -> None:
    """Writing 1.0 over 1 is a change."""
    assert one == other
    assert not identical(one, other)


def test_the_order_of_a_maps_fields_is_no_content() -> None:
    """Two maps with the same fields are equal in any order."""
    assert identical({"a": 1, "b": [2]}, {"b": [2], "a": 1})


def test_size_follows_the_published_rules() -> None:
    """Firestore's own example has the size that its documentation says."""
    fields = {"type": "Personal", "done": False, "priority": 1, "description": "Learn Cloud Firestore"}
    assert document_size("users/jeff/tasks/my_task_id", fields) == 147


@pytest.mark.parametrize("value", [[[1]], {"a": [{"b": [[2]]}]}, 2**63, -(2**63) - 1, {"": 1}, object()])
def test_what_no_document_may_hold_is_refused(value: Any) -> None:
    """Nested arrays, large integers, empty names and foreign types are refused."""
    with pytest.raises(InvalidArgument):
        document_size("a/b", {"field": value})


def test_nesting_has_a_limit() -> None:
    """More than 20 levels of maps are refused."""
    value: Any = 1
    for _ in range(30):
        value = {"a": value}
    with pytest.raises(InvalidArgument, match="deeper"):
        document_size("a/b", {"field": value})


def test_micros_round_trip() -> None:
    """A time keeps its microseconds."""
    moment = MOMENT + timedelta(microseconds=123_457)
    assert from_micros(to_micros(moment)) == moment


@pytest.mark.parametrize(
    ("text", "names"),
    [("a", ("a",)), ("a.b", ("a", "b")), ("a.`b.c`.d", ("a", "b.c", "d")), (r"`\`\\`", ("`\\",)), ("`a b`", ("a b",))],
)
def test_field_paths_are_parsed(text: str, names: tuple[str, ...]) -> None:
    """Dots part names; a quoted name may hold anything."""
    assert parse_field_path(text) == names


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "`a", "`a`b"])
def test_broken_field_paths_are_refused(text: str) -> None:
    """An empty or unfinished name is an error."""
    with pytest.raises(InvalidArgument):
        parse_field_path(text)


def test_nested_maps_are_copied_on_change() -> None:
    """Changing a copy leaves the original's nested maps unchanged."""
    original = {"a": {"b": {"c": 1}}, "d": 2}
    copy = dict(original)
    put(copy, ("a", "b", "x"), 5)
    remove(copy, ("a", "b", "c"))
    remove(copy, ("a", "nowhere", "c"))
    put(copy, ("d", "e"), 3)
    assert original == {"a": {"b": {"c": 1}}, "d": 2}
    assert copy == {"a": {"b": {"x": 5}}, "d": {"e": 3}}
    assert look_up(copy, ("d", "e", "f")) is MISSING


@pytest.mark.parametrize("path", ["a", "a/b/c", "", "a/", "/b", "a/.", "a/..", "a/__x__", "__x__/b", "a/" + "x" * 1501])
def test_bad_document_names_are_refused(path: str) -> None:
    """Reserved, overlong or incomplete document names are refused."""
    with pytest.raises(InvalidArgument):
        document_segments(path)
