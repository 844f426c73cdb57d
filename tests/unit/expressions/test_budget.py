"""Hostile expressions: whatever an expression asks for, it is refused before it is done.

Work and memory are counted, not timed, so these tests hold on any machine.
"""

from __future__ import annotations

import sys
import tracemalloc
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from atom_workflows.errors import EvaluationError, OverBudget
from atom_workflows.expressions.budget import MAX_ITEMS, MAX_STEPS, Budget
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.parser import parse

CALLS_A_STEP: Final = 20
MOST_BYTES: Final = 20_000_000

SCOPE: Final[dict[str, Any]] = {
    "big": "x" * 100_000,
    "as_big": "x" * 50_000 + "x" * 50_000,
    "text": "y" * 60_000,
    "texts": ["y" * 60_000 + str(number) for number in range(5)],
    "xs": list(range(10_000)),
    "map": {f"k{number}": number for number in range(1_000)},
    "same": {f"k{number}": number for number in range(1_000)},
    "at": datetime(2026, 1, 1, tzinfo=UTC),
}


def lists_in_lists(levels: int) -> str:
    """Return an expression whose value doubles with each level, though it takes no memory."""
    text = "[1]"
    for level in range(levels):
        text = f"[[a{level}, a{level}] for a{level} in {text}]"
    return text


def doubled(levels: int) -> str:
    """Return an expression that doubles a text on each level."""
    text = "text"
    for level in range(levels):
        text = f"[t{level} + t{level} for t{level} in [{text}]][0]"
    return text


HOSTILE: Final = {
    "doubling of a text": doubled(9),
    "doubling of a list": "[" + lists_in_lists(12) + " for x in xs]",
    "doubling as JSON": "json([[" + lists_in_lists(10) + " for x in range(99)] for y in xs])",
    "doubling, compared": f"[{lists_in_lists(9)} == {lists_in_lists(9)} for x in xs]",
    "nested loops": "[[[x * y * z for x in range(1000)] for y in range(1000)] for z in range(1000)]",
    "a loop within a function": "[x for x in xs if any([y == x for y in xs])]",
    "a long list": "range(100000000000)",
    "a longer list": "range(-9223372036854775807, 9223372036854775807)",
    "long lists": "[range(10000) for x in xs]",
    "lists added": "[x for x in range(6000)] + [x for x in range(6000)]",
    "the same list": "[" + "xs, " * 300 + "xs]",
    "the same text": "[big for x in xs]",
    "repetition": "[text + text for x in xs]",
    "join": "join([big for x in range(1000)], big)",
    "joins": "[join([text(x) for x in range(9000)], '-') for y in xs]",
    "replace": "replace(text, 'y', text)",
    "replacements": "[replace(text, 'z', 'q') for x in xs]",
    "split": "split(big, 'x')",
    "splits": "[split(text, 'z') for x in xs]",
    "sorts": "[sort(xs) for x in xs]",
    "sorts of texts": "[sort(texts) for x in xs]",
    "unique": "[unique(xs) for x in xs]",
    "sums": "[sum(xs) for x in xs]",
    "searches in lists": "[-1 in xs for x in xs]",
    "searches in texts": "['z' in big for x in xs]",
    "equal texts": "[big == as_big for x in xs]",
    "equal maps": "[map == same for x in xs]",
    "capitals": "[upper(text) for x in xs]",
    "JSON": "[json(map) for x in xs]",
    "from JSON": "[fromJson('[" + "1," * 600 + "1]') for x in xs]",
    "format": "[format(at, '" + "%Y" * 500 + "') for x in xs]",
    "a long format": "[format(at, text) for x in xs]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_expressions_are_refused(text: str) -> None:
    """An expression that asks for too much is over its budget."""
    with pytest.raises(OverBudget):
        evaluate(parse(text), SCOPE)


@pytest.mark.parametrize(
    "text",
    [
        *("'x' * 1000000000", "format(at, '%99999999d')", "day(at, 999999999999)", "add(at, '99999999w')"),
        *("*".join(["999999999"] * 150), "*".join(["1e300"] * 100), "int('" + "9" * 1900 + "')", "number('1e999')"),
        *("fromJson('" + "[" * 1900 + "')", "fromJson('" + "9" * 1900 + "')", "map" + ".k1" * 600, "[] * 1000000"),
    ],
)
def test_what_has_no_small_value_has_none(text: str) -> None:
    """Huge numbers, widths, depths and repetitions do not exist in the language."""
    with pytest.raises(EvaluationError):
        evaluate(parse(text), SCOPE)


@pytest.mark.parametrize(
    "name", ["nested loops", "doubling as JSON", "doubling, compared", "sorts", "joins", "format", "JSON"]
)
def test_work_is_bounded(name: str) -> None:
    """Each step of the costliest expressions makes a bounded number of calls, and all allocate little."""
    calls, steps = 0, 10_000

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    expression = parse(HOSTILE[name])
    tracemalloc.start()
    sys.setprofile(count)
    try:
        evaluate(expression, SCOPE, budget=Budget(steps))
    except OverBudget:
        pass
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert 100 < calls < CALLS_A_STEP * steps
    assert peak < MOST_BYTES


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1", 2),
        ("1 + 2", 4),
        ("map.k1", 4),
        ("[x for x in range(100)]", 606),
        ("sort(xs)[0]", 60_007),
        ("len(unique(xs))", 40_005),
        ("upper(big)", None),
    ],
)
def test_ordinary_work_fits(text: str, steps: int | None) -> None:
    """What people compute takes as many steps as it has parts, and lists of the greatest length can be sorted."""
    budget = Budget()
    if steps is None:
        with pytest.raises(OverBudget):
            evaluate(parse(text), SCOPE, budget=budget)
        return
    evaluate(parse(text), SCOPE, budget=budget)
    assert MAX_STEPS - budget.left == steps


def test_limits_are_exact() -> None:
    """A list or text of the greatest size can be made, and one item or character more cannot."""
    assert len(evaluate(parse(f"range({MAX_ITEMS})"), {}) or []) == MAX_ITEMS  # type: ignore[arg-type]  # It is a list.
    with pytest.raises(OverBudget, match="more than 10,000 items"):
        evaluate(parse(f"range({MAX_ITEMS + 1})"), {})
    for letter, count in (("a", 65_536), ("ä", 32_768), ("\U0001f600", 16_384)):
        half = letter * (count // 2)
        assert evaluate(parse("h + h"), {"h": half}) == half * 2
        with pytest.raises(OverBudget, match="larger than 64 KiB"):
            evaluate(parse("h + h + x"), {"h": half, "x": letter})


def test_a_budget_can_be_shared() -> None:
    """Several evaluations with one budget take no more than one."""
    budget = Budget()
    for _ in range(3):
        evaluate(parse("len([x for x in range(6000)])"), {}, budget=budget)
    with pytest.raises(OverBudget):
        evaluate(parse("len([x for x in range(6000)])"), {}, budget=budget)
