"""A scope for tests of expressions: names, their types and values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions.checker import Checked, Scope, check
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    OrNull,
    Type,
    Unavailable,
    Words,
)

ZONE: Final = "Europe/Paris"
REASON: Final = "because `quality` may be skipped (line 31)"
REMEDY: Final = "`trigger: all-succeeded`"

_FILE: Final = MapOf({"name": TEXT, "size": OrNull(INT)})

TYPES: Final[dict[str, Type]] = {
    "params": MapOf(
        {
            "n": INT,
            "rate": NUMBER,
            "word": TEXT,
            "region": Words(("eu", "us")),
            "on": BOOL,
            "day": DATE,
            "at": TIME,
            "wait": DURATION,
            "limit": OrNull(INT),
            "since": OrNull(DATE),
            "xs": ListOf(INT),
            "words": ListOf(TEXT),
            "options": ANY,
        }
    ),
    "run": MapOf(
        {
            "id": TEXT,
            "createdAt": INSTANT,
            "window": OrNull(MapOf({"start": INSTANT, "end": INSTANT})),
            "state": Unavailable("`run.state` is known in `finally` alone"),
        }
    ),
    "steps": MapOf(
        {
            "load-sales": MapOf(
                {
                    "outputs": MapOf({"n": INT, "files": ListOf(_FILE)}),
                    "state": Words(("SUCCEEDED", "FAILED")),
                }
            ),
            "a.b": MapOf({"outputs": MapOf({"n": INT}), "state": TEXT}),
            "quality": MapOf({"outputs": OrNull(MapOf({"ok": BOOL, "rows": INT}), REASON, REMEDY)}),
            "far": Unavailable("`far` is not behind this step", "add it to dependsOn"),
        }
    ),
    "item": Unavailable("`item` is known in a forEach alone"),
}

VALUES: Final[dict[str, Any]] = {
    "params": {
        "n": 8,
        "rate": 0.5,
        "word": "gräßlich",
        "region": "eu",
        "on": True,
        "day": date(2026, 1, 31),
        "at": time(6, 0),
        "wait": timedelta(minutes=90),
        "limit": None,
        "since": None,
        "xs": [3, 1, 2],
        "words": ["b", "a"],
        "options": {"deep": [1, {"er": "x"}], "none": None, "text": "t"},
    },
    "run": {"id": "r-1", "createdAt": datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "window": None},
    "steps": {
        "load-sales": {
            "outputs": {"n": 5, "files": [{"name": "a", "size": None}, {"name": "b", "size": 3}]},
            "state": "SUCCEEDED",
        },
        "a.b": {"outputs": {"n": 1}, "state": "X"},
        "quality": {"outputs": None},
    },
}


def value_of(text: str, **names: Any) -> Any:
    """Return the value of an expression, with more names than those above."""
    return evaluate(parse(text), {**VALUES, **names}, zone=ZONE)


def fault_of(text: str, **names: Any) -> str:
    """Return the offset and the message of an expression that has no value."""
    try:
        value = value_of(text, **names)
    except EvaluationError as error:
        return f"{error.at}: {error}"
    return f"no fault, but {value!r}"


def checked(text: str, *, expected: Type | None = None, **names: Type) -> Checked:
    """Check an expression, with more names than those above."""
    return check(parse(text), Scope(names={**TYPES, **names}, zone=ZONE), expected=expected)


def faults_of(text: str, *, expected: Type | None = None, **names: Type) -> list[str]:
    """Return the offsets and messages of what is wrong with an expression."""
    found = checked(text, expected=expected, **names).faults
    return [f"{each.at}: {each.message}" + (f"; {each.suggestion}" if each.suggestion else "") for each in found]
