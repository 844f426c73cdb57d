"""Whatever the text, there is a value or one of the language's own errors.

Run as a script to try more: `PYTHONPATH=shared:tests python tests/unit/expressions/test_fuzz.py 200000`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final, TypeVar

import pytest

from atom_workflows.errors import EvaluationError, ExpressionError, ExpressionSyntaxError, OverBudget, ValueMismatch
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.checker import Scope, check, check_template
from atom_workflows.expressions.evaluator import MAX_NAMES_READ, evaluate, names_read
from atom_workflows.expressions.functions import FUNCTION_NAMES
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.syntax import Expression, reads
from atom_workflows.expressions.templates import parse_template, render
from atom_workflows.expressions.types import read_type, read_value, write_type, write_value
from support.expressions import TYPES, VALUES, ZONE

Result = TypeVar("Result")

SEEDS: Final = 40
TEXTS_A_SEED: Final = 100
STEPS: Final = 20_000

_NAMES: Final = """
params.n params.rate params.word params.region params.on params.day params.at params.wait params.limit params.since
params.xs params.words params.options params.options.deep[1].er params.zz run.id run.createdAt run.window run.state
run.window.start steps.load-sales.outputs.n steps.load-sales.outputs.files steps.load-sales.state item item.name x y
steps['a.b'].outputs.n steps.quality.outputs.ok steps.quality.outputs.rows steps.far.state nope
"""
_LITERALS: Final = r"""
0 1 2 7 -1 1.5 1e308 9223372036854775807 true false null '' 'a' 'eu' 'apac' "b" '2026-01-31' '06:00' '1h' '-2h' '3' 'ß'
'%Y%m%d' '%' ',' '2026-01-31T06:00:00Z' '[1,{"a":2}]' 'SUCCEEDED' '${{' '}}' '\n' [] [1] ['a']
"""
_OPERATORS: Final = "and or == != < <= > >= in + - * / // % ??"
_SIGNS: Final = (
    """( ) [ ] , . if else for not in && || ! = === ? : ?. ** { } $ ` # ; ' " None True 01 1h .5 5. 1__ a-b \\"""
)
_OTHERS: Final = (
    " ",
    "\n",
    "\t",
    "\x00",
    "\u00a0",
    "\u201c",
    "é",
    "\ud800",
    "\U0001f600",
    "not in",
    "${{ ",
    " }}",
    "$${{",
)

NAMES: Final = _NAMES.split()
LITERALS: Final = _LITERALS.split()
OPERATORS: Final = _OPERATORS.split()
PIECES: Final = [*NAMES, *LITERALS, *OPERATORS, *FUNCTION_NAMES, *_SIGNS.split(), *_OTHERS]
"""What garbage is made of."""

# What makes a value of several types, so that only the value itself shows which.
_MIXED: Final = re.compile(r"\?\?| if |\[.*,|options|fromJson", re.DOTALL)

# What a value alone can show, in an expression whose types are all right.
_ONLY_AT_RUN_TIME: Final = (
    "by zero", "too large", "is not a whole number", "is not a number", "calendar", "is empty", "out of range",
    "an empty list", "cannot read this text", "is written like", "is a number with a unit", "has no `%",
    "is not a directive", "at the end of a pattern", "step of a range", "must be in", "half of a surrogate",
)  # fmt: skip


class Generator:
    """Makes expressions, most of which make sense."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 -- a seeded test

    def text(self) -> str:
        """Return an expression, a damaged one, or garbage."""
        kind = self._random.random()
        if kind < 0.15:
            return "".join(self._random.choice(PIECES) for _ in range(self._random.randrange(25)))
        text = self._expression(self._random.randrange(1, 6))
        return self._damaged(text) if kind < 0.35 else text

    def notation(self) -> object:
        """Return what may be the notation of a type."""
        words = ["text", "int", "[", "]", "{", "}", "a", ":", ",", "or", "null", "any", "text?", "integr"]
        text = " ".join(self._random.choice(words) for _ in range(self._random.randrange(1, 9)))
        return self._random.choice([text, [text], {"a": text}, [[{"b": [text]}]], {}, [], 3, None])

    def _damaged(self, text: str) -> str:
        for _ in range(self._random.randrange(1, 4)):
            at, gap = self._random.randrange(len(text) + 1), self._random.randrange(3)
            text = text[:at] + self._random.choice(["", *PIECES]) + text[at + gap :]
        return text

    def _expression(self, depth: int) -> str:
        if depth == 0 or self._random.random() < 0.15:
            return self._random.choice(self._random.choice([NAMES, LITERALS]))

        def part() -> str:
            return self._expression(depth - 1)

        makers: list[Callable[[], str]] = [
            lambda: f"{part()} {self._random.choice(OPERATORS)} {part()}",
            lambda: f"({part()}) {self._random.choice(OPERATORS)} ({part()})",
            lambda: f"{self._random.choice(FUNCTION_NAMES)}({', '.join(self._arguments(depth))})",
            lambda: f"({part()} if {part()} else {part()})",
            lambda: f"[{part()} for {self._random.choice('xy')} in {part()}]",
            lambda: f"[{part()} for {self._random.choice('xy')} in {part()} if {part()}]",
            lambda: f"[{', '.join(self._arguments(depth))}]",
            lambda: f"not {part()}",
            lambda: f"-({part()})",
            lambda: f"({part()}){self._random.choice(['[0]', '[-1]', '.name', '.a-b', '[x]'])}",
            lambda: f"{self._random.choice(NAMES)} ?? {part()}",
        ]
        return self._random.choice(makers)()

    def _arguments(self, depth: int) -> list[str]:
        return [self._expression(depth - 1) for _ in range(self._random.choice([1, 1, 1, 2, 2, 3, 0]))]


def try_text(text: str) -> str:
    """Do all that can be done with a text, and return what became of it."""
    _try_template(text)
    _try_template(f"a ${{{{ {text} }}}}")
    expression, error = _attempt(text, lambda: parse(text), ExpressionSyntaxError)
    return "syntax" if error or expression is None else _try_expression(text, expression)


def _try_expression(text: str, expression: Expression) -> str:
    checked = check(expression, Scope(names=TYPES, zone=ZONE))
    assert all(0 <= fault.at <= len(text) and fault.message.isprintable() for fault in checked.faults)
    assert all(len(path) >= 1 for path in reads(expression))
    assert len(names_read(expression, VALUES)) <= MAX_NAMES_READ
    assert names_read(expression, VALUES).isprintable()
    value, error = _attempt(
        text, lambda: evaluate(expression, VALUES, zone=ZONE, budget=Budget(STEPS)), EvaluationError
    )
    if error:
        # The checker has found all that types show.
        is_expected = isinstance(error, OverBudget) or _MIXED.search(text) or _is_only_seen_at_run_time(error)
        assert checked.faults or is_expected, error
        return "faulty" if checked.faults else "no value"
    write_value(value)
    # The checker is right about the type, and about null.
    assert checked.faults or read_value(value, checked.type, zone=ZONE) == value
    return "value, though faulty" if checked.faults else "value"


def _attempt(
    text: str, do: Callable[[], Result], refusal: type[ExpressionSyntaxError | EvaluationError]
) -> tuple[Result | None, ExpressionError | None]:
    """Return the result, or the error, which has a place in the text and a message of one line."""
    try:
        return do(), None
    except refusal as error:
        refused = error
    assert 0 <= refused.at <= len(text), text
    assert str(refused).isprintable(), text
    return None, refused


def _is_only_seen_at_run_time(error: ExpressionError) -> bool:
    return any(words in str(error) for words in _ONLY_AT_RUN_TIME)


def _try_template(text: str) -> None:
    template, _ = _attempt(text, lambda: parse_template(text), ExpressionSyntaxError)
    if template:
        check_template(template, Scope(names=TYPES, zone=ZONE))
        _attempt(text, lambda: render(template, VALUES, zone=ZONE, budget=Budget(STEPS)), EvaluationError)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_only_the_languages_own_errors_are_raised(seed: int) -> None:
    """A generated text has a value or an error of the language, and the checker knows which as far as types show it."""
    generator = Generator(seed)
    ends = {try_text(generator.text()) for _ in range(TEXTS_A_SEED)}
    assert {"syntax", "faulty", "value"} <= ends


def test_only_the_languages_own_errors_are_raised_for_types() -> None:
    """A generated notation is a type that can be written and read again, or an error of the language."""
    generator = Generator(0)
    for _ in range(3_000):
        notation = generator.notation()
        try:
            of = read_type(notation)
        except ExpressionError:
            continue
        assert read_type(write_type(of)) == of
        for value in (None, 1, 1.5, "a", "2026-01-31", [], [1], {"a": 1}, True):
            with suppress(ValueMismatch):
                read_value(value, of)


def main(count: int) -> None:
    """Try so many texts, and report what became of them."""
    generator, ends = Generator(count), dict[str, int]()
    for _ in range(count):
        text = generator.text()
        try:
            end = try_text(text)
        except BaseException:
            sys.stderr.write(f"{text!r}\n")
            raise
        ends[end] = ends.get(end, 0) + 1
    sys.stdout.write(f"{dict(sorted(ends.items()))}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
