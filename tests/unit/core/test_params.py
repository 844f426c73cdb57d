"""The parameters of a run are bound once, and everything that is wrong with them is reported at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from atom_workflows.core.params import MAX_BYTES, Bound, bind, read_option, read_options
from atom_workflows.core.workflow import Param, Template
from atom_workflows.errors import InvalidParams, ValueMismatch
from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    OrNull,
    Type,
)
from atom_workflows.language.parser import parse_workflow

_RUN = {"id": "r-1", "scheduledAt": datetime(2026, 3, 2, 0, 30, tzinfo=UTC)}


def _params(text: str) -> tuple[Param, ...]:
    return parse_workflow(f"params:\n{text}\nsteps: [{{id: a}}]", filename="f.yaml").params


def _problems(params: tuple[Param, ...], given: dict[str, Any], zone: str = "UTC") -> tuple[str, ...]:
    with pytest.raises(InvalidParams) as caught:
        bind(params, given, run=_RUN, zone=zone)
    assert str(caught.value) == "; ".join(caught.value.problems)
    return caught.value.problems


_SALES = """
  day: {type: date, default: "${{ day(run.scheduledAt, -1) }}"}
  region: {type: text, enum: [eu, us], default: eu}
  shards: {type: int, default: 8, min: 1, max: 64}
  prefix: {type: text, default: "${{ params.region }}/${{ params.day }}"}
  limit: {type: int, default: null}
  tables: {type: [text], default: [orders]}
"""


def test_defaults_fill_in_what_is_not_given() -> None:
    """Defaults are computed from the run and the parameters above, in the zone of the file."""
    bound = bind(_params(_SALES), {"region": "us", "shards": 3.0}, run=_RUN, zone="UTC")
    assert bound == Bound(
        values={
            "day": "2026-03-01",
            "region": "us",
            "shards": 3,
            "prefix": "us/2026-03-01",
            "limit": None,
            "tables": ["orders"],
        },
        defaults=frozenset({"day", "prefix", "limit", "tables"}),
    )
    west = bind(_params(_SALES), {}, run=_RUN, zone="America/New_York")
    assert west.values["day"] == "2026-02-28"


def test_all_problems_are_reported_at_once() -> None:
    """Unknown names, wrong types, broken constraints and missing values are listed together."""
    params = _params(_SALES + "  must: {type: {depth: int}}\n  too: {type: bool}")
    given = {"shards": 128, "regoin": "eu", "region": "apac", "tables": ["a", 1], "limit": "8", "too": 1, "x": 1}
    assert _problems(params, given) == (
        "there is no param `regoin`; did you mean `region`?",
        "there is no param `x`; the params are day, region, shards, prefix, limit, tables, must, too",
        "`params.region` is `apac`, not one of eu, us",
        "`params.shards` is 128, but at most 64 is allowed",
        "`params.limit` is text, not a whole number; send 8",
        '`params.tables[1]` is a whole number, not text; send "1"',
        "`params.must` is required",
        "`params.too` is a whole number, not true or false",
    )


def test_a_workflow_without_params_takes_none() -> None:
    """A name is unknown if there are no parameters at all."""
    assert _problems((), {"a": 1}) == ("there is no param `a`; the workflow has no params",)


def test_a_default_that_reads_a_wrong_value_is_not_reported() -> None:
    """A problem of one parameter is not reported again for those whose defaults read it."""
    params = _params('  a: {type: int}\n  b: {type: int, default: "${{ params.a + 1 }}"}')
    assert _problems(params, {"a": "x"}) == ("`params.a` is text, not a whole number",)


def test_a_default_that_cannot_be_computed_is_a_problem() -> None:
    """An error of a default names the parameter."""
    params = _params('  a: {type: int}\n  b: {type: int, default: "${{ 1 // params.a }}"}')
    (problem,) = _problems(params, {"a": 0})
    assert problem.startswith("`params.b` has a default that cannot be computed: ")


def test_a_computed_default_has_to_keep_the_constraints() -> None:
    """Constraints hold for computed defaults, too."""
    params = _params('  a: {type: int}\n  b: {type: int, max: 3, default: "${{ params.a }}"}')
    assert _problems(params, {"a": 4}) == ("`params.b` is 4, but at most 3 is allowed",)


@pytest.mark.parametrize(
    ("declared", "value", "problem"),
    [
        ("{type: int, min: 5}", 4, "is 4, but at least 5 is required"),
        ("{type: number, max: 0.5}", 0.75, "is 0.75, but at most 0.5 is allowed"),
        ("{type: date, min: 2026-01-01}", "2025-12-31", "is 2025-12-31, but at least 2026-01-01 is required"),
        ("{type: time, max: 06:00}", "06:01", "is 06:01, but at most 06:00 is allowed"),
        ("{type: duration, max: 1h}", "90m", "is 1h30m, but at most 1h is allowed"),
        ("{type: text, minLength: 2}", "a", "has 1 character, but at least 2 are required"),
        ("{type: text, maxLength: 2}", "abc", "has 3 characters, but at most 2 are allowed"),
        ("{type: [int], minItems: 1}", [], "has 0 items, but at least 1 is required"),
        ("{type: [int], maxItems: 1}", [1, 2], "has 2 items, but at most 1 is allowed"),
        ("{type: int, enum: [1, 2]}", 3, "is `3`, not one of 1, 2"),
        ("{type: text, enum: [full, delta]}", "detla", "is `detla`, not one of full, delta; did you mean `delta`?"),
    ],
)
def test_each_constraint_is_kept(declared: str, value: Any, problem: str) -> None:
    """Each constraint is compared by the parameter's type."""
    assert _problems(_params(f"  a: {declared}"), {"a": value}) == (f"`params.a` {problem}",)


def test_null_keeps_every_constraint() -> None:
    """A parameter whose default is null may be null in spite of its constraints."""
    params = _params("  a: {type: int, default: null, min: 1}")
    assert bind(params, {"a": None}, run=_RUN) == Bound(values={"a": None})


def test_values_that_are_too_large_together_are_refused() -> None:
    """All values together have a limit of bytes."""
    params = _params("  a: {type: text}\n  b: {type: text}")
    (problem,) = _problems(params, {"a": "é" * (MAX_BYTES // 4), "b": "é" * (MAX_BYTES // 4)})
    assert problem.endswith("bytes as JSON, more than the 100,000 allowed")


@pytest.mark.parametrize(
    ("text", "of", "value"),
    [
        ("8", TEXT, "8"),
        ("-8", INT, -8),
        ("8", NUMBER, 8),
        ("0.5", NUMBER, 0.5),
        ("1e3", NUMBER, 1000.0),
        ("true", BOOL, True),
        ("2026-01-31", DATE, "2026-01-31"),
        ("06:00", TIME, "06:00"),
        ("2h", DURATION, "2h"),
        ("2026-01-31T06:00:00Z", INSTANT, "2026-01-31T06:00:00Z"),
        ("gs://b/o", GS_URI, "gs://b/o"),
        ('["a"]', ListOf(TEXT), ["a"]),
        ('{"a": 1}', MapOf({"a": INT}), {"a": 1}),
        ("[1, null]", ANY, [1, None]),
        ("null", OrNull(INT), None),
        ("3", OrNull(INT), 3),
        ("null", TEXT, "null"),
    ],
)
def test_texts_of_the_command_line_are_read_by_type(text: str, of: Type, value: Any) -> None:
    """`--param` needs no quotes for texts and no JSON for single values."""
    assert read_option(text, of) == value


@pytest.mark.parametrize(
    ("text", "of", "message"),
    [
        ("eight", INT, "is `eight`, which is not a whole number"),
        ("1.5", INT, "is `1.5`, which is not a whole number"),
        ("nan", NUMBER, "is `nan`, which is not a number"),
        ("True", BOOL, "is `True`, which is not true or false; write true or false"),
        ("a", ListOf(TEXT), 'is `a`, which is not JSON; write it as JSON: \'["a", "b"]\''),
        ("a", MapOf({"a": INT}), "is `a`, which is not JSON; write it as JSON: '{\"a\": 1}'"),
        ("a", ANY, "is `a`, which is not JSON; even text must be written as JSON: '\"text\"'"),
        ("[" * 100_000, ANY, f"is `{'[' * 60}`, which is not JSON; even text must be written as JSON: '\"text\"'"),
    ],
)
def test_texts_of_another_type_are_refused(text: str, of: Type, message: str) -> None:
    """A text that is not of the type is refused, with its right form."""
    with pytest.raises(ValueMismatch) as caught:
        read_option(text, of)
    assert str(caught.value) == message


def test_options_are_read_together() -> None:
    """All options are read, or all problems reported; unknown names are left to `bind`."""
    params = _params(_SALES)
    assert read_options(params, {"shards": "9", "day": "2026-01-01", "x": "1"}) == {
        "shards": 9,
        "day": "2026-01-01",
        "x": "1",
    }
    with pytest.raises(InvalidParams) as caught:
        read_options(params, {"shards": "a", "tables": "b"})
    assert [problem.partition(" is ")[0] for problem in caught.value.problems] == ["`params.shards`", "`params.tables`"]


def test_a_default_is_a_value_or_a_template() -> None:
    """A template is computed at the start; a value needs nothing."""
    param = Param(name="a", type=INT, required=False, default=Template(path=(), text="${{ 1 + 1 }}\n"))
    assert bind([param], {}, run=_RUN).values == {"a": 2}
