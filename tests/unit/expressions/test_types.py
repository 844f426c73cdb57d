"""Types, their notation, and values of a type from JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from atom_workflows.errors import TypeNotationError, ValueMismatch
from atom_workflows.expressions.types import (
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
    Type,
    Words,
    describe,
    or_null,
    read_type,
    read_value,
    write_type,
    write_value,
)


@pytest.mark.parametrize(
    ("notation", "of", "words"),
    [
        *(
            ("text", TEXT, "a text"),
            ("int", INT, "a whole number"),
            ("number", NUMBER, "a number"),
            ("any", ANY, "any value"),
        ),
        *(("bool", BOOL, "true or false"), ("date", DATE, "a date"), ("time", TIME, "a time of day")),
        *(
            ("instant", INSTANT, "an instant"),
            ("duration", DURATION, "a duration"),
            ("gsUri", GS_URI, "a gs:// address"),
        ),
        *((["text"], ListOf(TEXT), "a list of texts"), ("[int]", ListOf(INT), "a list of whole numbers")),
        *((["any"], ListOf(ANY), "a list"), ([["int"]], ListOf(ListOf(INT)), "a list of lists")),
        ({"name": "text", "size": "int"}, MapOf({"name": TEXT, "size": INT}), "a map with `name`, `size`"),
        ("{name: text,size: [int]}", MapOf({"name": TEXT, "size": ListOf(INT)}), "a map with `name`, `size`"),
        ([{"name": "text"}], ListOf(MapOf({"name": TEXT})), "a list of maps"),
        ("text or null", OrNull(TEXT), "a text or null"),
        (" [ text ] or  null", OrNull(ListOf(TEXT)), "a list of texts or null"),
        (["text or null"], ListOf(OrNull(TEXT)), "a list of texts or nulls"),
        (
            "{a: {b: int or null} or null} or null",
            OrNull(MapOf({"a": OrNull(MapOf({"b": OrNull(INT)}))})),
            "a map with `a` or null",
        ),
        (
            dict.fromkeys("abcdefg", "int"),
            MapOf(dict.fromkeys("abcdefg", INT)),
            "a map with `a`, `b`, `c`, `d`, `e`, …",
        ),
    ],
)
def test_a_type_is_read_and_written(notation: object, of: Type, words: str) -> None:
    """A notation has one type, which is written so that it is read again, and has words for messages."""
    assert read_type(notation) == of
    assert read_type(write_type(of)) == of
    assert describe(of) == words


def test_types_that_have_no_notation_have_words() -> None:
    """Enums and null are types without a notation of their own."""
    assert describe(Words(("eu", "us"))) == "one of eu, us"
    assert describe(Words(("eu",))) == "a text"
    assert write_type(OrNull(Words(("eu", "us")))) == "text or null"
    assert describe(NULL) == "null"


def test_why_a_value_may_be_missing_makes_no_other_type() -> None:
    """The reason for a null is not part of the type."""
    assert OrNull(INT, "as it may be skipped", "do that") == OrNull(INT)
    assert or_null(OrNull(INT)) == OrNull(INT)
    assert or_null(ANY) == ANY


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("integr", "there is no type `integr`; did you mean `int`?"),
        ("string", "there is no type `string`; did you mean `text`?"),
        ("Text", "there is no type `Text`; did you mean `text`?"),
        ("list", "there is no type `list`; did you mean `[text]`?"),
        (
            "zzz",
            "there is no type `zzz`; the types are text, int, number, bool, date, time, instant, duration, gsUri, any",
        ),
        ("text?", "`text?` is not a type; write `text or null`"),
        ("text or nil", "`text or nil` is not a type; only `or null` may follow a type"),
        (
            "null",
            "there is no type `null`; the types are text, int, number, bool, date, time, instant, duration, gsUri, any",
        ),
        ("[text", "`[text` is not a type"),
        ("[text]]", "`[text]]` is not a type"),
        ("{a}", "`{a}` is not a type"),
        ("{a: text b}", "`{a: text b}` is not a type"),
        ("{a: text, a: text}", "`{a: text, a: text}` is not a type"),
        ("", "`` is not a type"),
        ([], "a list type must have exactly one item type; write `[text]`"),
        (["text", "int"], "a list type must have exactly one item type; write `[text]`"),
        ({}, "a map type must name its members; write `{name: text}`, or `any`"),
        ({"a b": "text"}, "`a b` is not a valid member name; names consist of letters, digits, `_` and `-`"),
        ({1: "text"}, "`1` is not a valid member name; names consist of letters, digits, `_` and `-`"),
        (None, "null by itself is not a type; write `T or null`, where T is a type"),
        (
            True,
            "`True` is not a type; the types are text, int, number, bool, date, time, instant, duration, gsUri, any",
        ),
        ([[[[[[[["text"]]]]]]]], "the type has more than 8 levels of lists and maps"),
        ("[" * 900, "the type has more than 8 levels of lists and maps"),
        ({f"n{number}": "int" for number in range(101)}, "the map has more than 100 members"),
    ],
)
def test_what_is_no_type_is_refused(notation: object, message: str) -> None:
    """What is not a type is refused with what to write."""
    with pytest.raises(TypeNotationError) as caught:
        read_type(notation)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "of", "read", "written"),
    [
        *((3, INT, 3, 3), (3.0, INT, 3, 3), (2.5, NUMBER, 2.5, 2.5), (3, NUMBER, 3, 3), (True, BOOL, True, True)),
        *(("a", TEXT, "a", "a"), ("eu", Words(("eu", "us")), "eu", "eu"), ("gs://b/o", GS_URI, "gs://b/o", "gs://b/o")),
        *(("2026-01-31", DATE, date(2026, 1, 31), "2026-01-31"), ("06:00", TIME, time(6), "06:00")),
        *(("06:00:30.5", TIME, time(6, 0, 30, 500_000), "06:00:30.500000"),),
        ("2026-01-31T06:00:00Z", INSTANT, datetime(2026, 1, 31, 6, tzinfo=UTC), "2026-01-31T06:00:00Z"),
        ("2026-01-31t06:00+0130", INSTANT, datetime(2026, 1, 31, 4, 30, tzinfo=UTC), "2026-01-31T04:30:00Z"),
        ("2026-01-31 06:00", INSTANT, datetime(2026, 1, 31, 5, tzinfo=UTC), "2026-01-31T05:00:00Z"),
        ("2026-01-31", INSTANT, datetime(2026, 1, 30, 23, tzinfo=UTC), "2026-01-30T23:00:00Z"),
        (date(2026, 1, 31), INSTANT, datetime(2026, 1, 30, 23, tzinfo=UTC), "2026-01-30T23:00:00Z"),
        (date(2026, 1, 31), DATE, date(2026, 1, 31), "2026-01-31"),
        ("1d 2h30m", DURATION, timedelta(days=1, minutes=150), "1d2h30m"),
        ("-1.5s", DURATION, timedelta(seconds=-1.5), "-1.5s"),
        ("0s", DURATION, timedelta(), "0s"),
        (None, OrNull(INT), None, None),
        ([1, 2.0], ListOf(INT), [1, 2], [1, 2]),
        (
            {"a": "2026-01-31"},
            MapOf({"a": DATE, "b": OrNull(INT)}),
            {"a": date(2026, 1, 31), "b": None},
            {"a": "2026-01-31", "b": None},
        ),
        ({"a": [1, None, {"b": "x"}]}, ANY, {"a": [1, None, {"b": "x"}]}, {"a": [1, None, {"b": "x"}]}),
    ],
)
def test_a_value_is_read_and_written(value: object, of: Type, read: Any, written: Any) -> None:
    """A JSON value becomes a value of its type, and JSON again."""
    found = read_value(value, of, zone="Europe/Paris")
    assert found == read
    assert type(found) is type(read)
    assert write_value(found) == written
    assert read_value(found, of) == found


@pytest.mark.parametrize(
    ("value", "of", "path", "message"),
    [
        ("8", INT, "", "is text, not a whole number; send 8"),
        ("x", INT, "", "is text, not a whole number"),
        (3.5, INT, "", "is 3.5, not a whole number"),
        (True, INT, "", "is true or false, not a whole number"),
        (2**63, INT, "", "is too large: whole numbers are limited to 64 bits"),
        (1e19, INT, "", "is too large: whole numbers are limited to 64 bits"),
        (float("inf"), NUMBER, "", "is not a finite number"),
        (8, TEXT, "", 'is a whole number, not text; send "8"'),
        (None, TEXT, "", "is null, not text"),
        ("\ud800", TEXT, "", "contains half of a surrogate pair, which cannot be stored"),
        ("true", BOOL, "", "is text, not true or false; send true"),
        (1, BOOL, "", "is a whole number, not true or false"),
        ("apac", Words(("eu", "us")), "", "is `apac`, not one of eu, us"),
        ("2026-1-31", DATE, "", "is `2026-1-31`, which is not a date; a date is written like 2026-01-31"),
        ("2026-02-30", DATE, "", "is `2026-02-30`, which is not a date; day is out of range for month"),
        (20260131, DATE, "", "is a whole number, not a date"),
        (datetime(2026, 1, 31, tzinfo=UTC), DATE, "", "is an instant, not a date"),
        ("6:00", TIME, "", "is `6:00`, which is not a time of day; a time of day is written like 06:00"),
        ("25:00", TIME, "", "is `25:00`, which is not a time of day; hour must be in 0..23"),
        (
            "0001-01-01",
            INSTANT,
            "",
            ("is `0001-01-01`, which is not an instant; the time is out of range: the year must be from 1 to 9999"),
        ),
        (
            "1m1h",
            DURATION,
            "",
            "is `1m1h`, which is not a duration; a duration is a number with a unit, such as 30s, 10m, 2h, 1d or 1h30m",
        ),
        (
            "999999999w",
            DURATION,
            "",
            "is `999999999w`, which is not a duration; a duration may be at most 999,999,999 days",
        ),
        (90, DURATION, "", "is a whole number, not a duration"),
        ("s3://a/b", GS_URI, "", "is `s3://a/b`, which is not a gs:// address; send gs://BUCKET/OBJECT"),
        ("gs://a", GS_URI, "", "is `gs://a`, which is not a gs:// address; send gs://BUCKET/OBJECT"),
        ("x", NUMBER, "", "is text, not a number"),
        (1, NULL, "", "is a whole number, not null"),
        (1, Words(("eu", "us")), "", "is a whole number, not text"),
        ([], MapOf({"a": INT}), "", "is a list, not a map with `a`"),
        ({}, ListOf(INT), "", "is a map, not a list of whole numbers"),
        ([1, "a"], ListOf(INT), "[1]", "is text, not a whole number"),
        ([{"a": [0]}], ListOf(MapOf({"a": ListOf(TEXT)})), "[0].a[0]", 'is a whole number, not text; send "0"'),
        ({}, MapOf({"a": INT}), ".a", "is missing"),
        ({"a": 1, "aa": 2}, MapOf({"a": INT, "ab": OrNull(INT)}), "", "has no member `aa`"),
        ([(1,)], ANY, "[0]", "a tuple such as (1,) cannot be used in an expression"),
        ({"a": {1: 2}}, ANY, ".a", 'is a whole number, not text; send "1"'),
        ([2**64], ANY, "[0]", "is too large: whole numbers are limited to 64 bits"),
        ((1,), INT, "", "is a tuple such as (1,) cannot be used in an expression, not a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(value: object, of: Type, path: str, message: str) -> None:
    """A value of another type is refused with the place within it, and nothing is converted."""
    with pytest.raises(ValueMismatch) as caught:
        read_value(value, of, zone="Europe/Paris")
    assert (caught.value.path, str(caught.value)) == (path, message)


def test_unknown_members_can_be_dropped() -> None:
    """What a job says besides its declared outputs can be dropped, on every level."""
    of = MapOf({"a": ListOf(MapOf({"b": INT}))})
    assert read_value({"a": [{"b": 1, "c": 2}], "d": 3}, of, drop_unknown=True) == {"a": [{"b": 1}]}


def test_depth_of_values_has_a_limit() -> None:
    """A value that is nested too deeply is refused before it can exhaust Python's own limit."""
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueMismatch, match="nested too deeply"):
        read_value(deep, ANY)


@pytest.mark.parametrize(
    "type_",
    [
        or_null(MapOf({f"member_{number}": TEXT for number in range(100)})),
        or_null(ListOf(or_null(MapOf({"a": INT, "b": or_null(ListOf(TEXT))})))),
        ListOf(MapOf({"or": or_null(DATE), "null-ish": GS_URI})),
    ],
)
def test_what_is_written_can_be_read(type_: Type) -> None:
    """A stored notation may be longer than a file's."""
    assert read_type(write_type(type_)) == type_


@pytest.mark.parametrize("text", ["99999999w", "-99999999w", "99999999h", "0.000001s", "99999999d23h59m59.999999s"])
def test_each_duration_that_is_read_can_be_read_again(text: str) -> None:
    """Otherwise a job's output could never be read by a later step."""
    duration = read_value(text, DURATION)
    assert read_value(write_value(duration), DURATION) == duration
