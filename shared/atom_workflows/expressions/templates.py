"""Find the expressions in a string, and insert their values.

Expressions are enclosed in `${{` and `}}`; `$${{` is the literal text `${{`. A string that consists of a single
expression has that expression's value, whatever its type; otherwise the values are inserted into the text. An inserted
value is never searched for expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from atom_workflows.errors import EvaluationError, ExpressionSyntaxError
from atom_workflows.expressions import faults
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.frozen import Frozen
from atom_workflows.expressions.order import kind_at
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.syntax import Expression
from atom_workflows.expressions.tokens import skip_text
from atom_workflows.expressions.values import Value, as_text

_OPEN: Final = "${{"
_CLOSE: Final = "}}"


class Placeholder(NamedTuple):
    """An expression in a string, and the offset at which it begins."""

    expression: Expression
    offset: int


class Template(Frozen):
    """The parts of a string, in order.

    They are expressions and non-empty pieces of literal text.
    """

    parts: tuple[str | Placeholder, ...]

    @property
    def lone(self) -> Placeholder | None:
        """The expression, if the string contains nothing else."""
        first = self.parts[0] if len(self.parts) == 1 else None
        return first if isinstance(first, Placeholder) else None

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The expressions, in order."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))


def parse_template(text: str) -> Template:
    """Split a string into its parts. Raises ExpressionSyntaxError."""
    parts: list[str | Placeholder] = []
    literal, at = "", 0
    while (start := text.find(_OPEN, at)) >= 0:
        if start > at and text[start - 1] == "$":
            literal += text[at : start - 1] + _OPEN
            at = start + len(_OPEN)
            continue
        literal += text[at:start]
        parts += [literal] if literal else []
        end = _find_end(text, start)
        begin = start + len(_OPEN)
        try:
            parts.append(Placeholder(parse(text[begin:end]), begin))
        except ExpressionSyntaxError as error:
            raise ExpressionSyntaxError(error.message, begin + error.at, error.suggestion) from error
        literal, at = "", end + len(_CLOSE)
    literal += text[at:]
    # YAML ends a block scalar with a line break that the author did not intend.
    is_lone = len(parts) == 1 and isinstance(parts[0], Placeholder)
    if literal and not (is_lone and literal in ("\n", "\r\n")):
        parts.append(literal)
    return Template(parts=tuple(parts))


def render(template: Template, scope: Mapping[str, Any], *, zone: str = "UTC", budget: Budget | None = None) -> Value:
    """Return the text with its values inserted, or a lone expression's value.

    Raises EvaluationError with an offset in the whole text. Several templates may share a budget.
    """
    budget = Budget() if budget is None else budget
    if template.lone:
        return _value(template.lone, scope, zone, budget)
    pieces: list[str] = []
    size = 0
    for part in template.parts:
        if isinstance(part, str):
            piece = part
        else:
            value = _value(part, scope, zone, budget)
            at = part.offset + part.expression.at
            if value is None or isinstance(value, list | dict):
                raise faults.refusal(faults.no_insertion(kind_at(value, at)), at)
            piece = as_text(value)
        pieces.append(piece)
        size += len(piece)
        budget.require_characters(size, part.offset if isinstance(part, Placeholder) else 0)
    return budget.require_text("".join(pieces), 0)


def _find_end(text: str, start: int) -> int:
    """Return the offset of the `}}` that ends an expression."""
    at = start + len(_OPEN)
    while at < len(text):
        if text.startswith(_CLOSE, at):
            return at
        at = skip_text(text, at) if text[at] in "'\"" else at + 1
    raise ExpressionSyntaxError(
        "this `${{` is never closed", start, "write `}}` after the expression, and close any quoted text in it"
    )


def _value(placeholder: Placeholder, scope: Mapping[str, Any], zone: str, budget: Budget) -> Value:
    try:
        return evaluate(placeholder.expression, scope, zone=zone, budget=budget)
    except EvaluationError as error:
        raise type(error)(error.message, placeholder.offset + error.at, error.suggestion) from error
