"""The functions of expressions."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.functions import FUNCTION_NAMES
from atom_workflows.expressions.parser import parse
from support.expressions import fault_of, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("len('äö')", 2),
            ("len([1, 2])", 2),
            ("len(run)", 3),
            ("int('-12')", -12),
            ("int(' 7 ')", 7),
            ("int(-3.9)", -3),
        ),
        *(("number('1.5')", 1.5), ("number('12')", 12), ("number('-1e3')", -1000.0), ("number(3)", 3)),
        *(
            ("text(3)", "3"),
            ("text(0.5)", "0.5"),
            ("text(true)", "true"),
            ("text('a')", "a"),
            ("text(params.day)", "2026-01-31"),
        ),
        *(
            ("text(params.at)", "06:00"),
            ("text(params.wait)", "1h30m"),
            ("text(run.createdAt)", "2026-10-25T00:30:00Z"),
        ),
        *(
            ("json(params.xs)", "[3,1,2]"),
            ("json('ä\"')", '"ä\\""'),
            ("json(null)", "null"),
            ("json([params.day])", '["2026-01-31"]'),
        ),
        *(
            ("fromJson('{\"a\": [1, 2.5, null, true]}').a", [1, 2.5, None, True]),
            ("fromJson(json(params.xs)) == params.xs", True),
        ),
        *(
            ("lower('ÄB')", "äb"),
            ("upper('aß')", "ASS"),
            ("trim(' a\\n')", "a"),
            ("split('a,b,', ',')", ["a", "b", ""]),
        ),
        *(("join(['a', 'b'], '-')", "a-b"), ("join([], '-')", ""), ("replace('aXbX', 'X', 'yy')", "ayybyy")),
        *(("startsWith('abc', 'ab')", True), ("startsWith('abc', 'b')", False), ("endsWith('abc', 'bc')", True)),
        *(
            ("sum([])", 0),
            ("sum([1, 2.5])", 3.5),
            ("min([3, 1.5])", 1.5),
            ("max(['b', 'a'])", "b"),
            ("sort([3, 1, 2])", [1, 2, 3]),
        ),
        *(("sort(['b', 'a'])", ["a", "b"]), ("min([params.day, day('2025-01-01')])", date(2025, 1, 1))),
        *(
            ("unique([1, 1.0, 'a', [1], [1], null, null])", [1, "a", [1], None]),
            ("unique([true, 1])", [True, 1]),
            ("len(unique([run, run]))", 1),
        ),
        *(("range(3)", [0, 1, 2]), ("range(1, 3)", [1, 2]), ("range(5, 0, -2)", [5, 3, 1]), ("range(0)", [])),
        *(("any([false, true])", True), ("any([])", False), ("all([true, false])", False), ("all([])", True)),
        *(
            ("day(params.day, 1)", date(2026, 2, 1)),
            ("day('2026-03-01', -1)", date(2026, 2, 28)),
            ("day(params.day)", date(2026, 1, 31)),
        ),
        *(("days('2026-01-01', params.day)", 30), ("days(params.day, '2026-01-01')", -30)),
        *(("add(run.createdAt, '-2h')", datetime(2026, 10, 24, 22, 30, tzinfo=UTC)),),
        *(("add(run.createdAt, params.wait)", datetime(2026, 10, 25, 2, 0, tzinfo=UTC)),),
        *(("add('2026-01-01T00:00:00Z', '1d')", datetime(2026, 1, 2, tzinfo=UTC)),),
        *(
            ("format(params.day, '%Y%m%d')", "20260131"),
            ("format(params.at, '%H.%M')", "06.00"),
            ("format('2026-01-05', '%d.%m.%y')", "05.01.26"),
        ),
        *(
            (
                "format(params.day, '%a %A %b %B %j %u %w %V %G %F %%')",
                "Sat Saturday Jan January 031 6 6 05 2026 2026-01-31 %",
            ),
        ),
        *(("format(run.createdAt, '%H:%M:%S.%f %I%p %T')", "02:30:00.000000 02AM 02:30:00"),),
    ],
)
def test_a_function_computes(text: str, value: Any) -> None:
    """A function's value has its type."""
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Paris goes back from +02:00 to +01:00 at 01:00 UTC on 25 October 2026.
        ("format(run.createdAt, '%F %T %z %Z')", "2026-10-25 02:30:00 +0200 CEST"),
        ("format(add(run.createdAt, '1h'), '%F %T %z %Z')", "2026-10-25 02:30:00 +0100 CET"),
        ("day('2026-10-24T22:30:00Z')", date(2026, 10, 25)),
        ("day('2026-10-24T21:30:00Z')", date(2026, 10, 24)),
        ("days('2026-10-24T21:30:00Z', '2026-10-24T22:30:00Z')", 1),
        ("add('2026-10-25', '25h') == '2026-10-26'", True),
        ("add('2026-07-01T00:00', '0s')", datetime(2026, 6, 30, 22, 0, tzinfo=UTC)),
    ],
)
def test_days_are_those_of_the_zone(text: str, value: Any) -> None:
    """Days, and instants without an offset, are local ones; `d` of a duration has 24 hours."""
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lenn('a')", "0: there is no function `lenn`; did you mean `len`?"),
        ("toJSON(1)", "0: there is no function `toJSON`; write `json(…)`"),
        ("contains('ab', 'a')", "0: there is no function `contains`; write `part in whole`"),
        ("now()", "0: there is no function `now`; expressions have no clock; use `run.scheduledAt`"),
        ("split('a')", "0: `split` takes 2 arguments, not 1; write `split(text, separator)`"),
        ("range()", "0: `range` takes 1 to 3 arguments, not 0; write `range(from, to?, step?)`"),
        ("has()", "0: `has` takes 1 argument, not 0"),
        ("len(3)", "0: `len` takes a text, a list or a map, not a number"),
        ("lower(3)", "0: `lower` takes a text, not a number; write `text(…)`"),
        ("lower(params.limit)", "0: `lower` takes a text, not null; write `… ?? value`"),
        (
            "text([1])",
            (
                "0: `text` takes a text, a number, true or false, a date, a time of day, an instant or a duration, "
                "not a list"
            ),
        ),
        ("int('x')", "0: `x` is not a whole number"),
        ("int('1.5')", "0: `1.5` is not a whole number"),
        ("int('9223372036854775808')", "0: the number is too large: whole numbers are limited to 64 bits"),
        ("int(1e300)", "0: the number is too large: whole numbers are limited to 64 bits"),
        ("number('1e999')", "0: the number is too large"),
        ("number('nan')", "0: `nan` is not a number"),
        (
            "fromJson('x')",
            "0: `fromJson` cannot read this text: it is not JSON",
        ),
        ("fromJson('NaN')", "0: `fromJson` cannot read this text: its value is not a finite number"),
        (
            "fromJson('9223372036854775808')",
            "0: `fromJson` cannot read this text: its value is too large: whole numbers are limited to 64 bits",
        ),
        (
            r"""fromJson('"\\ud800"')""",
            "0: `fromJson` cannot read this text: its value contains half of a surrogate pair, which cannot be stored",
        ),
        ("split('a', '')", "0: the separator is empty"),
        ("replace('a', '', 'b')", "0: the text to be replaced is empty"),
        ("join([1], '-')", "0: `join` takes a list of texts, not a list containing a number"),
        ("join(['a'], 1)", "0: `join` takes a text, not a number; write `text(…)`"),
        ("sum(['a'])", "0: `sum` takes a list of numbers, not a list containing text"),
        ("sum([9223372036854775807, 1])", "0: the number is too large: whole numbers are limited to 64 bits"),
        ("min([])", "0: an empty list has no `min`; write `min(xs) if len(xs) > 0 else value`"),
        (
            "sort([1, 'a'])",
            (
                "0: `sort` takes a list of numbers, texts, dates, times of day, instants or durations, "
                "not a list of mixed types"
            ),
        ),
        ("max([])", "0: an empty list has no `max`; write `max(xs) if len(xs) > 0 else value`"),
        ("any([1])", "0: `any` takes a list of booleans, not a list containing a number"),
        ("range(1, 2, 0)", "0: the step of a range must not be 0"),
        ("range(1.0)", "0: `range` takes a whole number, not a number; write `//` or `int(…)`"),
        ("day(params.day, 9999999)", "0: the day is outside the calendar, which runs from year 1 to year 9999"),
        ("day(params.at)", "0: `day` takes a date or an instant, not a time of day"),
        ("day('31.1.2026')", "0: `day`: a date is written like 2026-01-31, an instant like 2026-01-31T06:00:00Z"),
        ("day('2026-02-30')", "0: `day`: day is out of range for month"),
        ("add(params.day, '2h')", "0: `add` takes an instant, not a date; use `day(…, 1)` to shift a date"),
        (
            "add(run.createdAt, '2 hours')",
            "0: `add`: a duration is a number with a unit, such as 30s, 10m, 2h, 1d or 1h30m",
        ),
        (
            "add(run.createdAt, '99999999w')",
            "0: the time is out of range: the year must be from 1 to 9999",
        ),
        ("add(run.createdAt, '999999999w')", "0: `add`: a duration may be at most 999,999,999 days"),
        ("format(params.at, '%Y')", "0: `format`: a time of day has no `%Y`"),
        ("format(params.day, '%H')", "0: `format`: a date has no `%H`"),
        ("format(params.day, '50%')", "0: `format`: write a `%` at the end of a pattern as `%%`"),
    ],
)
def test_an_argument_that_does_not_fit_is_an_error(text: str, fault: str) -> None:
    """A function takes what it says, and nothing is converted for it."""
    assert fault_of(text) == fault


def test_a_number_of_thousands_of_digits_is_explained() -> None:
    """The message says what is wrong with the text, not how Python could be made to read it."""
    message = "0: `fromJson` cannot read this text: a number in it has too many digits"
    assert fault_of("fromJson(digits)", digits="9" * 5_000) == message


def test_every_function_of_the_language_is_there() -> None:
    """The functions are those that the language names, and no others."""
    names = """len int number text json fromJson has lower upper trim split join replace startsWith endsWith sum min max
    sort unique range any all day add format days"""
    assert sorted(FUNCTION_NAMES) == sorted(names.split())


def test_an_unknown_zone_is_an_error() -> None:
    """A zone that does not exist is an error of what needs it, and of nothing else."""
    for zone in ("Europe/Pariss", "../etc/passwd", "Europe", ""):
        assert evaluate(parse("1 + 1"), {}, zone=zone) == 2
        with pytest.raises(EvaluationError, match="there is no time zone"):
            evaluate(parse("day('2026-01-01T00:00:00Z')"), {}, zone=zone)
