"""Apply `+ - * / // %` to two values."""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable
from typing import Any, Final

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions import faults
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.order import kind_at
from atom_workflows.expressions.values import MAX_INT, MIN_INT, Value

_OPERATIONS: Final[dict[str, Callable[[Any, Any], int | float]]] = {
    "+": operators.add,
    "-": operators.sub,
    "*": operators.mul,
    "/": operators.truediv,
    "//": operators.floordiv,
    "%": operators.mod,
}


def calculate(operator: str, left: Value, right: Value, budget: Budget, at: int) -> Value:
    """Return the value of `left operator right`. Raises EvaluationError."""
    if is_number(left) and is_number(right):
        try:
            number = _OPERATIONS[operator](left, right)
        except ZeroDivisionError:
            raise EvaluationError("division by zero", at, "write `a / b if b != 0 else value`") from None
        return require_64_bits(number, at)
    if operator == "+" and isinstance(left, str) and isinstance(right, str):
        budget.require_characters(len(left) + len(right), at)
        return budget.require_text(left + right, at)
    if operator == "+" and isinstance(left, list) and isinstance(right, list):
        budget.require_items(len(left) + len(right), at)
        return left + right
    raise faults.refusal(faults.no_operation(operator, kind_at(left, at), kind_at(right, at)), at)


def is_number(value: object) -> bool:
    """Return True for a number; true and false do not count."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_64_bits(number: float, at: int) -> int | float:
    """Return the computed number if it fits in 64 bits. Raises EvaluationError."""
    if isinstance(number, int) and not MIN_INT <= number <= MAX_INT:
        raise EvaluationError("the number is too large: whole numbers are limited to 64 bits", at)
    if not math.isfinite(number):
        raise EvaluationError("the number is too large", at)
    return number
