"""Values of expressions, and what has none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from atom_workflows.errors import EvaluationError, MissingMember
from atom_workflows.expressions.evaluator import MAX_NAMES_READ, names_read
from atom_workflows.expressions.parser import parse
from support.expressions import VALUES, fault_of, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Values keep their types.
        *(("1", 1), ("1.0", 1.0), ("'1'", "1"), ("true", True), ("null", None), ("[1, 'a', null]", [1, "a", None])),
        *(("params.n", 8), ("params.day", date(2026, 1, 31)), ("params.wait", timedelta(minutes=90))),
        *(("steps['a.b'].state", "X"), ("steps.load-sales.outputs.n - 1", 4), ("params.options.deep[1].er", "x")),
        *(("params.xs[0]", 3), ("params.xs[-1]", 2), ("'abc' == 'abc'", True), ("(params).n", 8)),
        # Numbers.
        *(
            ("1 + 2 * 3 - 4", 3),
            ("7 // 2", 3),
            ("-7 // 2", -4),
            ("7 % 3", 1),
            ("6 / 2", 3.0),
            ("0.5 + 1", 1.5),
            ("--1", 1),
        ),
        *(("9223372036854775806 + 1", 2**63 - 1), ("-9223372036854775807 - 1", -(2**63)), ("1 == 1.0", True)),
        *(("2 < 10", True), ("2 <= 2", True), ("2 >= 3", False), ("2 > 1.5", True), ("1 != 2", True)),
        # Texts, lists and maps.
        *(("'a' + 'b'", "ab"), ("'a' < 'b'", True), ("[1] + [2]", [1, 2]), ("'ä' in params.word", True)),
        *(("2 in params.xs", True), ("9 not in params.xs", True), ("null in [1, null]", True), ("'n' in params", True)),
        *(("[1, [2]] == [1, [2]]", True), ("params == params", True), ("[1] == [1, 2]", False), ("[] == []", True)),
        # A text that is written out beside a time is one.
        *(("params.day == '2026-01-31'", True), ("'2026-02-01' > params.day", True), ("params.at < '06:30'", True)),
        *(
            ("params.wait >= '1h'", True),
            ("run.createdAt < '2026-10-25'", False),
            ("params.day in ['2026-01-31']", True),
        ),
        *(("run.createdAt == '2026-10-25T02:30:00+02:00'", True), ("run.createdAt == '2026-10-25T00:30Z'", True)),
        *(("'2026-01-31' in [params.day]", True), ("'2026-01-31' in [day('2026-01-30')]", False)),
        # Conditions.
        *(("not params.on", False), ("params.on and 1 == 1", True), ("params.on or 1 / 0 == 1", True)),
        *(("false and 1 / 0 == 1", False), ("1 if params.on else 1 / 0", 1), ("1 / 0 if not params.on else 2", 2)),
        # What may be missing.
        *(
            ("params.limit ?? 3", 3),
            ("params.n ?? (1 / 0)", 8),
            ("params.nope ?? 3", 3),
            ("params.a.b['c'][0] ?? 3", 3),
        ),
        *(("run.window.start ?? 'none'", "none"), ("params.xs[9] ?? 0", 0), ("params.limit ?? params.no ?? 4", 4)),
        *(
            ("(params.limit ?? params.since) ?? 5", 5),
            ("(params.a if params.on else 1) ?? 6", 6),
            ("null ?? null", None),
        ),
        *(
            ("has(params.n)", True),
            ("has(params.limit)", False),
            ("has(run.window.start)", False),
            ("has(params.xs[3])", False),
        ),
        *(
            ("params.limit == null", True),
            ("params.n != null", True),
            ("params.limit == 3", False),
            ("null == null", True),
        ),
        # Lists from lists.
        *(("[x * 2 for x in params.xs]", [6, 2, 4]), ("[x for x in params.xs if x > 1]", [3, 2])),
        *(("[[x + y for y in [1, 2]] for x in [10, 20]]", [[11, 12], [21, 22]]), ("[n for n in []]", [])),
        *(("[f.size ?? 0 for f in steps.load-sales.outputs.files]", [0, 3]),),
        *(("[x for x in [[1], [2]] if [x[0] for x in [x]] == [2]]", [[2]]), ("[run for run in [1]][0]", 1)),
    ],
)
def test_an_expression_has_its_value(text: str, value: Any) -> None:
    """An expression computes with values as they are, and its value keeps its type."""
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("params.regoin", "7: `params` has no `regoin`; did you mean `region`?"),
        ("params.n-1", "7: `params` has no `n-1`; for a minus sign, add spaces: `params.n - 1`"),
        ("parms.n", "0: there is no `parms` here; did you mean `params`?"),
        ("zzz", "0: there is no `zzz` here; the names are params, run, steps"),
        ("zzz ?? 1", "0: there is no `zzz` here; the names are params, run, steps"),
        ("run.window.start", "11: `run.window` is null; write `… ?? value`"),
        ("params.xs[params.zz] ?? 1", "17: `params` has no `zz`"),
        (
            "params.xs[3]",
            "9: `params.xs` has 3 items, so this index is out of range; the first item is `[0]`, the last `[-1]`",
        ),
        (
            "params.xs.n",
            "10: `params.xs` is a list and has no members; write `params.xs[0]`, or `[x.… for x in params.xs]`",
        ),
        ("params.xs['a']", "9: the index of `params.xs` must be a whole number, not text"),
        ("params.xs[true]", "9: the index of `params.xs` must be a whole number, not true or false"),
        ("params[0]", "6: the index of `params` must be text, not a number"),
        ("params.n.x", "9: `params.n` is a number and has no members"),
        ("params.n.x ?? 3", "9: `params.n` is a number and has no members"),
        ("params.word[0]", "11: `params.word` is text and has no members"),
        ("params.n == '8'", "9: text is never equal to a number; convert one of them, for example with `int(…)`"),
        ("params.on == 'true'", "10: text is never equal to true or false; write true and false without quotes"),
        ("true == 1", "5: true or false is never equal to a number"),
        ("[1] == ['a']", "4: text is never equal to a number; convert one of them, for example with `int(…)`"),
        ("'a' in params.xs", "4: text is never equal to a number; convert one of them, for example with `int(…)`"),
        (
            "params.day == run.createdAt",
            "11: a date is never equal to an instant; convert the instant to a date: `day(…)`",
        ),
        (
            "params.day == '31.1.2026'",
            "14: the text is `31.1.2026`, which is not a date; a date is written like 2026-01-31",
        ),
        ("params.day == text(params.day)", "11: text is never equal to a date; convert the text to a date: `day(…)`"),
        ("'a' < 1", "4: text and a number cannot be ordered; convert one of them, for example with `int(…)`"),
        ("params.limit > 3", "13: null cannot be ordered; write `… ?? value`"),
        ("true < false", "5: true or false cannot be ordered"),
        ("1 in 'a'", "2: a number is never in text; convert one of them, for example with `int(…)`"),
        ("1 in params", "2: a number is never in a map; convert one of them, for example with `int(…)`"),
        ("1 in 2", "2: `in` works on lists, text and maps, not on a number"),
        ("params.n and true", "0: a condition must be true or false, not a number; write `… != 0`"),
        ("not params.word", "4: a condition must be true or false, not text; write `… != ''`, or `… == 'true'`"),
        ("1 if params.xs else 2", "5: a condition must be true or false, not a list; write `len(…) > 0`"),
        ("params.limit or true", "0: a condition must be true or false, not null; write `… ?? value`"),
        ("[x for x in params.xs if x]", "25: a condition must be true or false, not a number; write `… != 0`"),
        ("[x for x in 'abc']", "12: `for` iterates over a list, not text"),
        ("[x for x in params.limit]", "12: `for` iterates over a list, not null; write `… ?? value`"),
        ("[x for x in params.on or params.on]", "12: `for` iterates over a list, not true or false"),
        ("params." + "x" * 61, f"7: `params` has no `{'x' * 60}`"),
        ("'a' + 1", "4: `+` takes numbers, text or lists, not text and a number; write `text(…)`"),
        ("'a' + [1]", "4: `+` takes numbers, text or lists, not text and a list; write `json(…)`"),
        ("'3' * 2", "4: `*` takes numbers, not text and a number; write `int(…)`"),
        ("params.limit + 1", "13: `+` takes numbers, text or lists, not null and a number; write `… ?? value`"),
        (
            "params.day + 1",
            "11: `+` takes numbers, text or lists, not a date and a number; write `day(…, 1)` or `add(…, '2h')`",
        ),
        ("params.day - params.day", "11: `-` takes numbers, not a date; write `days(from, to)`"),
        ("true + true", "5: `+` takes numbers, text or lists, not true or false"),
        ("-'a'", "0: `-` takes numbers, not text; write `int(…)`"),
        ("1 / 0", "2: division by zero; write `a / b if b != 0 else value`"),
        ("1 % 0", "2: division by zero; write `a / b if b != 0 else value`"),
        ("9223372036854775807 + 1", "20: the number is too large: whole numbers are limited to 64 bits"),
        ("-9223372036854775807 - 2", "21: the number is too large: whole numbers are limited to 64 bits"),
        ("1e308 * 10", "6: the number is too large"),
    ],
)
def test_a_mistake_is_an_error(text: str, fault: str) -> None:
    """What could be a mistake is an error at its place, never another value."""
    assert fault_of(text) == fault


@pytest.mark.parametrize("text", ["params.zz", "run.window.start", "params.xs[3]"])
def test_missing_members_can_be_told_from_other_errors(text: str) -> None:
    """A member that is missing has an error of its own."""
    with pytest.raises(MissingMember):
        value_of(text)


@pytest.mark.parametrize("value", [(1,), {1}, b"x", datetime(2026, 1, 1), float("nan"), object()])  # noqa: DTZ001 -- no zone
def test_values_of_other_kinds_are_refused(value: object) -> None:
    """A value that is none of the language is an error where it is used."""
    with pytest.raises(EvaluationError, match="cannot be used in an expression"):
        value_of("item == 1", item=value)


@pytest.mark.parametrize("text", ["item == other", "len(unique([item, other]))", "json(item)", "item"])
def test_values_that_are_too_deep_are_refused(text: str) -> None:
    """A value from outside that is deeper than allowed is an error, not the end of Python's stack."""
    deep: list[Any] = []
    other: list[Any] = []
    for _ in range(150):
        deep, other = [deep], [other]
    with pytest.raises(EvaluationError, match="nested too deeply"):
        value_of(text, item=deep, other=other)


def test_instants_are_compared_as_instants() -> None:
    """The hour that a clock shows twice in autumn is two hours."""
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert value_of("[a < b, a == b, len(unique([a, b])), max([b, a]) == b]", a=first, b=second) == [
        True,
        False,
        2,
        True,
    ]


def test_a_value_is_never_evaluated_again() -> None:
    """A value that looks like an expression stays a text."""
    assert value_of("item + '}}'", item="${{ params.n") == "${{ params.n}}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("steps.load-sales.outputs.n > 1000", "`n` = 5"),
        ("params.limit == null and params.nope ?? true", "`limit` = null, `nope` is missing"),
        (
            "steps.load-sales.state == steps['a.b'].state",
            '`steps.load-sales.state` = "SUCCEEDED", `steps[\'a.b\'].state` = "X"',
        ),
        ("params.day == day('2026-01-01') and params.n == params.n", '`day` = "2026-01-31", `n` = 8'),
        ("params.xs == []", "`xs` = [3, 1, 2]"),
        ("1 == 1", ""),
    ],
)
def test_decisions_are_explained_by_the_values_read(text: str, shown: str) -> None:
    """The values that an expression read are shown by their shortest names."""
    assert names_read(parse(text), VALUES) == shown


def test_explanations_are_short() -> None:
    """However large the values are, their explanation has a limit."""
    scope = {f"n{number}": "x" * 5000 for number in range(50)} | {"big": [[0] * 1000] * 1000}
    text = names_read(parse(" or ".join(f"{name} == 'y'" for name in scope)), scope)
    assert len(text) == MAX_NAMES_READ
    assert names_read(parse("big"), scope) == "`big` is too large to show"


@pytest.mark.parametrize(("text", "value"), [("'2026-01-31' in dates", True), ("'2026-02-01' in dates", False)])
def test_a_text_is_read_as_a_time_beside_a_list_that_begins_with_null(text: str, value: bool) -> None:  # noqa: FBT001 (a row of the table)
    """Which kind of time a literal text is compared with is seen from the first value that is not null."""
    assert value_of(text, dates=[None, date(2026, 1, 31)]) is value
