"""Expressions within texts."""

from __future__ import annotations

from typing import Any

import pytest

from atom_workflows.errors import EvaluationError, ExpressionSyntaxError
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.checker import Scope, check_template
from atom_workflows.expressions.templates import parse_template, render
from atom_workflows.expressions.types import INT, TEXT, Type
from support.expressions import TYPES, VALUES, ZONE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # A lone expression keeps its type.
        *(
            ("${{ params.n }}", 8),
            ("${{params.xs}}", [3, 1, 2]),
            ("${{ params.limit }}", None),
            ("${{ params.n }}\n", 8),
        ),
        # Mixed with text, values are inserted.
        *(
            (" ${{ params.n }}", " 8"),
            ("${{ params.n }}\n\n", "8\n\n"),
            ("${{ 1 }}${{ 2 }}", "12"),
            ("a", "a"),
            ("", ""),
        ),
        *(("${{ params.day }}/${{ params.on }}/${{ params.rate }}", "2026-01-31/true/0.5"),),
        *(("at ${{ run.createdAt }}, ${{ params.at }}, ${{ params.wait }}", "at 2026-10-25T00:30:00Z, 06:00, 1h30m"),),
        # What only looks like an expression.
        *(
            ("${VAR} $(x) {{ x }} $ {{ x }}", "${VAR} $(x) {{ x }} $ {{ x }}"),
            ("$${{ x }}", "${{ x }}"),
            ("$$${{ 1 }}", "$${{ 1 }}"),
        ),
        *(("$${{ ${{ 1 }} }}", "${{ 1 }}"), ("$${{ x }}$${{", "${{ x }}${{"), ("}}", "}}")),
        # Braces and quotes within texts of the expression.
        *(
            ("${{ '}}' }}", "}}"),
            ('${{ "}}\\"}}" + \'${{\' }}!', '}}"}}${{!'),
            ("it's ${{ 'a' }}, isn't it", "it's a, isn't it"),
        ),
        *(("${{\n  params.n\n}}", 8),),
    ],
)
def test_a_text_is_rendered(text: str, value: Any) -> None:
    """A lone expression keeps its type; within a text, its value is inserted."""
    assert render(parse_template(text), VALUES, zone=ZONE) == value


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a ${{ b", 2, "this `${{` is never closed; write `}}` after the expression, and close any quoted text in it"),
        (
            "a ${{ 'b }}",
            2,
            "this `${{` is never closed; write `}}` after the expression, and close any quoted text in it",
        ),
        ("a ${{ }}", 6, "the expression is empty"),
        ("ab ${{ x && y }}", 9, "`&&` is not an operator here; write `and`"),
        ("${{ 1 }} ${{ None }}", 13, "there is no `None`; write `null`"),
        ("${{ ${{ 1 }} }}", 4, "`$` is not an operator here; names need no `$` inside `${{ … }}`"),
    ],
)
def test_a_mistake_has_its_place_in_the_text(text: str, at: int, message: str) -> None:
    """The place of a mistake is that in the whole text."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse_template(text)
    assert (caught.value.at, str(caught.value)) == (at, message)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("ab ${{ params.zz }}", 14, "`params` has no `zz`"),
        ("${{ params.zz }}", 11, "`params` has no `zz`"),
        ("x ${{ params.limit }}", 6, "null cannot be inserted into text; write `… ?? value`"),
        ("x ${{ params.xs }}", 6, "a list cannot be inserted into text; use `json(…)`"),
        ("x ${{ run }}", 6, "a map cannot be inserted into text; use `json(…)`"),
    ],
)
def test_what_cannot_be_inserted_has_its_place(text: str, at: int, message: str) -> None:
    """An expression that has no value, or one that is no text, is an error at its place in the whole text."""
    with pytest.raises(EvaluationError) as caught:
        render(parse_template(text), VALUES, zone=ZONE)
    assert (caught.value.at, str(caught.value)) == (at, message)


@pytest.mark.parametrize(
    ("text", "expected", "faults"),
    [
        ("${{ params.n }}", INT, []),
        ("${{ params.n }}", TEXT, ["4: a text is expected here, not a whole number"]),
        ("n=${{ params.n }}", TEXT, []),
        ("n=${{ params.n }}", INT, ["0: a whole number is expected here, not text"]),
        (
            "a ${{ params.xs }} ${{ params.zz }}",
            TEXT,
            ["6: a list of whole numbers cannot be inserted into text", "30: `params` has no `zz`"],
        ),
        ("a ${{ params.limit }}", TEXT, ["6: `params.limit` may be null"]),
        ("a ${{ null }}", TEXT, ["6: null cannot be inserted into text"]),
        ("a ${{ params.options }}", TEXT, []),
    ],
)
def test_a_text_is_checked(text: str, expected: Type, faults: list[str]) -> None:
    """Each expression of a text is checked, and whether its value can be inserted."""
    checked = check_template(parse_template(text), Scope(names=TYPES), expected=expected)
    assert [f"{fault.at}: {fault.message}" for fault in checked.faults] == faults


def test_several_texts_can_share_a_budget() -> None:
    """Many small expressions together may cost no more than one."""
    template = parse_template("${{ len([x for x in range(9000)]) }} " * 20)
    with pytest.raises(EvaluationError, match="more than 100,000 evaluation steps"):
        render(template, {})
    budget = Budget()
    cheaper = parse_template("${{ len([x for x in range(9000)]) }}")
    assert render(cheaper, {}, budget=budget) == render(cheaper, {}, budget=budget)
    with pytest.raises(EvaluationError, match="more than 100,000 evaluation steps"):
        render(cheaper, {}, budget=budget)


def test_a_rendered_text_has_a_limit() -> None:
    """A text of many values is no larger than a text may be."""
    with pytest.raises(EvaluationError, match="larger than 64 KiB"):
        render(parse_template("${{ item }} " * 100), {"item": "x" * 1000})
