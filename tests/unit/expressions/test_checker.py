"""What is found wrong with an expression before it runs."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from atom_workflows.expressions.checker import Scope, check
from atom_workflows.expressions.parser import parse
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
    ListOf,
    MapOf,
    OrNull,
    Type,
    Words,
)
from support.expressions import REASON, TYPES, checked, faults_of

HAS = "it has `n`, `rate`, `word`, `region`, `on`, `day`, `at`, `wait` and 5 more"


@pytest.mark.parametrize(
    ("text", "of"),
    [
        *(("1", INT), ("1.5", NUMBER), ("'a'", Words(("a",))), ("true", BOOL), ("null", NULL), ("[]", ListOf(ANY))),
        *(("params.day", DATE), ("steps['a.b'].outputs.n", INT), ("steps.load-sales.outputs.n - 1", INT)),
        *(("1 + 2", INT), ("1 + 2.5", NUMBER), ("4 / 2", NUMBER), ("4 // 2", INT), ("-params.rate", NUMBER)),
        *(("'a' + params.word", TEXT), ("params.xs + []", ListOf(INT)), ("params.options + 1", NUMBER)),
        *(("params.options + params.options", ANY), ("params.options.a[0].b", ANY), ("params.options * 2", NUMBER)),
        *(("1 < 2", BOOL), ("not params.on", BOOL), ("1 in params.xs", BOOL), ("params.on and params.options", BOOL)),
        *(
            ("'a' if params.on else 'b'", Words(("a", "b"))),
            ("1 if params.on else 2.5", NUMBER),
            ("1 if params.on else 'b'", ANY),
        ),
        *(("1 if params.on else null", OrNull(INT)), ("params.limit", OrNull(INT)), ("params.limit ?? 3", INT)),
        *(
            ("params.limit ?? null", OrNull(INT)),
            ("params.limit ?? params.word", ANY),
            ("params.xs ?? []", ListOf(INT)),
        ),
        *(
            ("[1, 2.5]", ListOf(NUMBER)),
            ("[1, 'a']", ListOf(ANY)),
            ("[1, null]", ListOf(OrNull(INT))),
            ("[[1], []]", ListOf(ListOf(INT))),
        ),
        *(
            ("[x > 1 for x in params.xs]", ListOf(BOOL)),
            ("[f.name for f in steps.load-sales.outputs.files]", ListOf(TEXT)),
        ),
        *(
            ("params.xs[0]", INT),
            ("len(params.xs)", INT),
            ("sum(params.xs)", INT),
            ("sum([1.5])", NUMBER),
            ("sum([])", NUMBER),
        ),
        *(
            ("max(params.words)", TEXT),
            ("sort(params.xs)", ListOf(INT)),
            ("unique([])", ListOf(ANY)),
            ("split('a,b', ',')", ListOf(TEXT)),
        ),
        *(
            ("day(run.createdAt, -1)", DATE),
            ("add(run.createdAt, '1h')", INSTANT),
            ("fromJson('1')", ANY),
            ("text(1)", TEXT),
        ),
        *(("has(run.window.start)", BOOL), ("run.window.start ?? run.createdAt", INSTANT), ("params.wait", DURATION)),
        *(("-params.options", NUMBER), ("(params.limit if params.on else 1) ?? 2", INT)),
        *(("len([x for x in range(99)])", INT), ("run == run", BOOL)),
        ("format(add('2026-01-01T00:00:00Z', '1h'), '%Y')", TEXT),
        *(("steps.quality.outputs.ok ?? false", BOOL), ("(params.limit ?? params.limit) ?? 1", INT)),
    ],
)
def test_an_expression_has_a_type(text: str, of: Type) -> None:
    """The type of an expression is known from the types of what it reads."""
    assert checked(text).type == of
    assert faults_of(text) == []


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        # Names.
        ("parms.n", ["0: there is no `parms` here; did you mean `params`?"]),
        ("params.regoin", ["7: `params` has no `regoin`; did you mean `region`?"]),
        ("params['regoin']", ["6: `params` has no `regoin`; did you mean `region`?"]),
        ("params.regoin ?? 'eu'", ["7: `params` has no `regoin`; did you mean `region`?"]),
        ("has(params.regoin)", ["11: `params` has no `regoin`; did you mean `region`?"]),
        ("params.n-1", ["7: `params` has no `n-1`; for a minus sign, add spaces: `params.n - 1`"]),
        ("steps.load_sales.state", ["6: `steps` has no `load_sales`; did you mean `load-sales`?"]),
        ("[f.nam for f in steps.load-sales.outputs.files]", ["3: `f` has no `nam`; did you mean `name`?"]),
        ("run.state == 'FAILED'", ["4: `run.state` is known in `finally` alone"]),
        ("steps.far.outputs.n", ["6: `far` is not behind this step; add it to dependsOn"]),
        ("item.name", ["0: `item` is known in a forEach alone"]),
        ("lenn('a')", ["0: there is no function `lenn`; did you mean `len`?"]),
        ("[params for params in params.xs]", ["12: the name `params` is already taken; choose another name"]),
        (
            "params[params.word]",
            ["6: the name of a member of `params` cannot be computed; write it out: `params['name']`"],
        ),
        ("params.word.x", ["12: `params.word` is text and has no members"]),
        (
            "params.xs.x",
            [
                (
                    "10: `params.xs` is a list of whole numbers and has no members; "
                    "write `params.xs[0]`, or `[x.… for x in params.xs]`"
                )
            ],
        ),
        ("params.xs['0']", ["9: the index of `params.xs` must be a whole number, not text"]),
        ("params[0]", ["6: the index of `params` must be text, not a number"]),
        # Types.
        ("params.n == '8'", ["9: text is never equal to a number; convert one of them, for example with `int(…)`"]),
        (
            "params.n != params.word",
            ["9: text is never equal to a number; convert one of them, for example with `int(…)`"],
        ),
        ("params.region == 3", ["14: text is never equal to a number; convert one of them, for example with `int(…)`"]),
        ("params.xs == ['a']", ["10: a list of whole numbers is never equal to a list of texts"]),
        (
            "params.day == run.createdAt",
            ["11: a date is never equal to an instant; convert the instant to a date: `day(…)`"],
        ),
        (
            "params.day == '31.1.26'",
            ["14: the text is `31.1.26`, which is not a date; a date is written like 2026-01-31"],
        ),
        (
            "params.at < '6:00'",
            ["12: the text is `6:00`, which is not a time of day; a time of day is written like 06:00"],
        ),
        (
            "params.day in ['2026-01-31', '2026-1-1']",
            ["29: the text is `2026-1-1`, which is not a date; a date is written like 2026-01-31"],
        ),
        ("params.n < 'a'", ["9: a number and text cannot be ordered; convert one of them, for example with `int(…)`"]),
        ("params.on < true", ["10: true or false cannot be ordered"]),
        (
            "params.n in params.words",
            ["9: text is never equal to a number; convert one of them, for example with `int(…)`"],
        ),
        ("params.n in params.word", ["9: a number is never in text; convert one of them, for example with `int(…)`"]),
        ("1 in 2", ["2: `in` works on lists, text and maps, not on a whole number"]),
        ("null in params.rate", ["5: `in` works on lists, text and maps, not on a number"]),
        ("null in params.word", ["5: null is never in text"]),
        ("params.word + 1", ["12: `+` takes numbers, text or lists, not text and a number; write `text(…)`"]),
        ("params.word * 2", ["12: `*` takes numbers, not text and a number; write `int(…)`"]),
        (
            "params.day + 1",
            ["11: `+` takes numbers, text or lists, not a date and a number; write `day(…, 1)` or `add(…, '2h')`"],
        ),
        ("params.on - params.options", ["10: `-` takes numbers, not true or false"]),
        ("-params.word", ["0: `-` takes numbers, not text; write `int(…)`"]),
        ("params.n and params.on", ["0: a condition must be true or false, not a number; write `… != 0`"]),
        ("not params.word", ["4: a condition must be true or false, not text; write `… != ''`, or `… == 'true'`"]),
        (
            "1 if params.xs else 2",
            ["5: a condition must be true or false, not a list of whole numbers; write `len(…) > 0`"],
        ),
        ("[x for x in params.n]", ["12: `for` iterates over a list, not a whole number"]),
        ("[x for x in params.xs if x + 1]", ["25: a condition must be true or false, not a number; write `… != 0`"]),
        ("split('a')", ["0: `split` takes 2 arguments, not 1; write `split(text, separator)`"]),
        ("lower(params.n)", ["6: `lower` takes a text, not a whole number; write `text(…)`"]),
        ("sum(params.words)", ["4: `sum` takes a list of numbers, not a list of texts"]),
        ("range(params.n / 2)", ["6: `range` takes a whole number, not a number; write `//` or `int(…)`"]),
        ("day('2026-1-1')", ["4: `day`: a date is written like 2026-01-31, an instant like 2026-01-31T06:00:00Z"]),
        (
            "add(run.createdAt, '2x')",
            ["19: `add`: a duration is a number with a unit, such as 30s, 10m, 2h, 1d or 1h30m"],
        ),
        (
            "has(params.n, 1) and has('a')",
            [
                "0: `has` takes 1 argument, not 2",
                "14: `has` takes a name or a path to a member; write `has(steps.a.outputs.b)`",
                "25: `has` takes a name or a path to a member; write `has(steps.a.outputs.b)`",
            ],
        ),
        (
            "text(1) == run.createdAt",
            ["8: text is never equal to an instant; convert the text to an instant: `add(…, '0s')`"],
        ),
        ("format(params.day, '50%')", ["19: `format`: write a `%` at the end of a pattern as `%%`"]),
        # Words of enums.
        ("params.region == 'apac'", ["17: `params.region` is never `apac`; it is one of eu, us"]),
        ("'uss' != params.region", ["0: `params.region` is never `uss`; did you mean `us`?"]),
        ("params.region in ['eu', 'uk']", ["24: `params.region` is never `uk`; it is one of eu, us"]),
        (
            "steps.load-sales.state == 'SUCCEDED'",
            ["26: `steps.load-sales.state` is never `SUCCEDED`; did you mean `SUCCEEDED`?"],
        ),
        (
            "params.region == steps.load-sales.state",
            ["14: these values are never equal; `params.region` is one of eu, us"],
        ),
        # What has no value.
        ("1 / 0", ["2: division by zero; write `a / b if b != 0 else value`"]),
        ("int('x')", ["0: `x` is not a whole number"]),
        ("null + 1", ["0: null cannot be used here; write `… ?? value`"]),
        # One mistake is reported once, and all mistakes are.
        (
            "params.zz + 1 > 2 and not params.zz.y",
            [f"7: `params` has no `zz`; {HAS}", f"33: `params` has no `zz`; {HAS}"],
        ),
        (
            "foo(params.zz) + params.yy",
            ["0: there is no function `foo`", f"11: `params` has no `zz`; {HAS}", f"24: `params` has no `yy`; {HAS}"],
        ),
    ],
)
def test_a_mistake_is_found_at_its_place(text: str, faults: list[str]) -> None:
    """Every mistake is found where it is written, with what helps, and each is reported once."""
    assert faults_of(text) == faults


MISSING = f"`steps.quality.outputs.ok` may be missing, {REASON}; write `… ?? value`, or `trigger: all-succeeded`"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("steps.quality.outputs.ok", [f"0: {MISSING}"]),
        ("not steps.quality.outputs.ok", [f"4: {MISSING}"]),
        ("steps.quality.outputs.ok == true", [f"0: {MISSING}"]),
        ("steps.quality.outputs.ok ?? false", []),
        ("has(steps.quality.outputs.ok)", []),
        ("params.limit + 1", ["0: `params.limit` may be null; write `… ?? value`"]),
        ("params.limit == 3", ["0: `params.limit` may be null; write `… ?? value`"]),
        ("params.limit in [3]", ["0: `params.limit` may be null; write `… ?? value`"]),
        ("params.limit == null", []),
        ("params.limit", []),
        ("json(params.limit)", []),
        ("len(params.words + [params.limit])", []),
        ("text(params.limit)", ["5: `params.limit` may be null; write `… ?? value`"]),
        ("run.window.start", ["0: `run.window` may be null; write `… ?? value`"]),
        ("[f.size + 1 for f in steps.load-sales.outputs.files]", ["1: `f.size` may be null; write `… ?? value`"]),
        ("(params.limit if params.on else 1) + 1", ["1: this value may be null; write `… ?? value`"]),
    ],
)
def test_what_may_be_missing_is_not_used(text: str, faults: list[str]) -> None:
    """A value that may be missing is used only before `??`, in `has`, or beside null."""
    assert faults_of(text) == faults


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params.limit != null and params.limit > 3", True),
        ("null != params.limit and params.limit > 3", True),
        ("has(params.limit) and params.on and params.limit > 3", True),
        ("params.limit > 3 and has(params.limit)", False),
        ("params.limit == null or params.limit > 3", True),
        ("has(params.limit) or params.limit > 3", False),
        ("not has(params.limit) or params.limit > 3", True),
        ("not (params.limit == null or params.since == null) and params.limit > 3", True),
        ("(has(params.limit) or has(params.since)) and params.limit > 3", False),
        ("(has(params.limit) or has(params.limit)) and params.limit > 3", True),
        ("params.limit + 1 if has(params.limit) else 0", True),
        ("0 if params.limit == null else params.limit + 1", True),
        ("params.limit + 1 if params.on else 0", False),
        ("has(run.window.start) and run.window.end > run.createdAt", True),
        ("has(run.window) and run.window.start > '2026-01-01'", True),
        ("has(steps.quality.outputs.ok) and steps.quality.outputs.rows > 3", True),
        ("(steps.quality.outputs.ok ?? false) and steps.quality.outputs.rows > 3", True),
        ("(steps.quality.outputs.ok ?? true) and steps.quality.outputs.rows > 3", False),
        ("(steps.quality.outputs.ok ?? true) or steps.quality.outputs.rows > 3", True),
        ("[f.size + 1 for f in steps.load-sales.outputs.files if f.size != null] == [4]", True),
        ("has(params.limit) and [params.limit + x for x in params.xs] == []", True),
        ("has(steps['quality'].outputs) and steps.quality.outputs.ok", True),
    ],
)
def test_conditions_prove_that_a_value_is_there(text: str, holds: bool) -> None:  # noqa: FBT001 -- a column of the table
    """What `has`, `!= null` and `??` prove holds where it must, and nowhere else."""
    assert (faults_of(text) == []) is holds


def dotted(paths: Iterable[tuple[str, ...]]) -> list[str]:
    """Return paths as texts."""
    return sorted(".".join(path) for path in paths if len(path) > 1)


@pytest.mark.parametrize(
    ("text", "proven"),
    [
        ("has(params.limit) and run.window != null", ["params.limit", "run.window"]),
        ("has(params.limit) or has(run.window)", []),
        ("has(steps.quality.outputs.ok)", ["steps.quality", "steps.quality.outputs", "steps.quality.outputs.ok"]),
        ("not (params.limit == null)", ["params.limit"]),
        ("params.limit ?? 3", []),
        ("params.on", []),
    ],
)
def test_what_a_condition_proves_can_be_used_elsewhere(text: str, proven: list[str]) -> None:
    """What a condition proves is returned, and holds in a scope that is given it."""
    found = checked(text).proves
    assert dotted(found) == proven
    scope = Scope(names=TYPES).proving(found)
    for path in proven:
        assert check(parse(f"[{path}] == null or text({path} != null) == ''"), scope).faults == []


@pytest.mark.parametrize(
    ("text", "expected", "faults"),
    [
        ("params.on", BOOL, []),
        ("params.options", BOOL, []),
        ("params.n", BOOL, ["0: a condition must be true or false, not a number; write `… != 0`"]),
        ("params.word", BOOL, ["0: a condition must be true or false, not text; write `… != ''`, or `… == 'true'`"]),
        ("params.n", TEXT, ["0: a text is expected here, not a whole number; write `text(…)`"]),
        ("params.day", TEXT, ["0: a text is expected here, not a date; write `text(…)`"]),
        ("params.xs", TEXT, ["0: a text is expected here, not a list of whole numbers; write `json(…)`"]),
        ("params.region", TEXT, []),
        ("params.n / 2", INT, ["0: a whole number is expected here, not a number; write `//` or `int(…)`"]),
        ("params.word", INT, ["0: a whole number is expected here, not text; write `int(…)`"]),
        ("params.n", NUMBER, []),
        ("params.word", NUMBER, ["0: a number is expected here, not text; write `number(…)`"]),
        ("params.limit", INT, ["0: `params.limit` may be null; write `… ?? value`"]),
        ("params.limit", OrNull(INT), []),
        ("params.n", OrNull(INT), []),
        ("params.limit", ANY, []),
        ("null", INT, ["0: a whole number is expected here, not null"]),
        ("null", OrNull(INT), []),
        ("steps.quality.outputs", None, [f"0: {MISSING.replace('.ok`', '`')}"]),
        ("steps.quality.outputs", ANY, [f"0: {MISSING.replace('.ok`', '`')}"]),
        ("steps.quality.outputs", OrNull(ANY), []),
        ("'2026-01-31'", DATE, []),
        ("params.word", DATE, []),
        ("'31.1.26'", DATE, ["0: the text is `31.1.26`, which is not a date; a date is written like 2026-01-31"]),
        ("'2026-01-31'", OrNull(DATE), []),
        (
            "'31.1.26'",
            OrNull(DATE),
            ["0: the text is `31.1.26`, which is not a date; a date is written like 2026-01-31"],
        ),
        ("'x'", GS_URI, ["0: the text is `x`, which is not a gs:// address; send gs://BUCKET/OBJECT"]),
        ("'apac'", Words(("eu", "us")), ["0: this value is never `apac`; it is one of eu, us"]),
        ("params.region", Words(("eu", "us", "uk")), []),
        ("params.words", ListOf(DATE), []),
        ("params.xs", ListOf(TEXT), ["0: a list of texts is expected here, not a list of whole numbers"]),
        ("[]", ListOf(TEXT), []),
        ("steps.load-sales.outputs.files[0]", MapOf({"name": TEXT, "size": OrNull(INT)}), []),
        (
            "steps.load-sales.outputs.files[0]",
            MapOf({"name": TEXT}),
            ["0: a map with `name` is expected here, not a map with `name`, `size`"],
        ),
        ("steps.load-sales.outputs.files[0]", MapOf({"name": TEXT, "size": OrNull(INT), "x": OrNull(INT)}), []),
        ("1 + params.zz", TEXT, [f"11: `params` has no `zz`; {HAS}"]),
    ],
)
def test_a_result_is_of_the_expected_type(text: str, expected: Type | None, faults: list[str]) -> None:
    """A result of another type than expected is a fault, unless there is one already."""
    assert faults_of(text, expected=expected) == faults


def test_maps_with_the_same_members_have_a_common_type() -> None:
    """A list of maps is a list of maps that have the members of all."""
    one, other = MapOf({"a": INT, "b": TEXT}), MapOf({"a": NUMBER, "b": OrNull(TEXT)})
    assert checked("[one, other]", one=one, other=other).type == ListOf(other)
    assert checked("[one, params]", one=one).type == ListOf(ANY)


def test_a_caller_may_limit_the_search_for_names() -> None:
    """The search for similar names is the caller's, so that it can limit what all of a file cost."""
    scope = Scope(names=TYPES, guess=lambda word, names: f"{word} of {len(list(names))}")
    assert [fault.suggestion for fault in check(parse("params.zz + zz + zz()"), scope).faults] == [
        "zz of 13",
        "zz of 4",
        "zz of 27",
    ]


def test_messages_are_one_printable_line() -> None:
    """Whatever a text contains, a message about it is one line."""
    found = faults_of(r"params['a\nb'] == 1 or params.region == 'e\tu'")
    assert [line.partition(":")[2] for line in found] == [
        f" `params` has no `a?b`; {HAS}",
        " `params.region` is never `e?u`; did you mean `eu`?",
    ]
