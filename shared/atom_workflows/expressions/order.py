"""Which values are equal, and which comes first.

Comparing values of different kinds is an error, since it is nearly always a mistake. Null is equal only to itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Any, Final

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions import faults, times
from atom_workflows.expressions.budget import CHARACTERS_A_STEP, MAX_RESULT_DEPTH, Budget
from atom_workflows.expressions.faults import TIMES, refusal
from atom_workflows.expressions.kinds import INT, NUMBER, TEXT, Type
from atom_workflows.expressions.values import Value, kind_of

ORDERED: Final = TIMES | {TEXT, NUMBER}


def kind_at(value: object, at: int) -> Type:
    """Return a value's kind, which is NUMBER for every number. Raises EvaluationError."""
    try:
        kind = kind_of(value)
    except ValueError as error:
        raise EvaluationError(str(error), at) from error
    return NUMBER if kind == INT else kind


def equal(left: Value, right: Value, budget: Budget, at: int, depth: int = 0) -> bool:
    """Return True if the values are equal. Raises EvaluationError for different kinds."""
    budget.charge(1, at)
    if left is right or left is None or right is None:
        return left is right
    kind, other = kind_at(left, at), kind_at(right, at)
    if kind != other:
        raise refusal(faults.never_equal(kind, other), at)
    if depth > MAX_RESULT_DEPTH:
        raise EvaluationError("the values are nested too deeply to be compared", at)
    if isinstance(left, list) and isinstance(right, list):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(equal(one, two, budget, at, depth + 1) for one, two in pairs)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[n], right[n], budget, at, depth + 1) for n in left)
    if isinstance(left, str):
        budget.charge_text(left, at)
    return bool(_in_utc(left) == _in_utc(right))


def less(left: Value, right: Value, budget: Budget, at: int) -> bool:
    """Return True if `left` comes first. Raises EvaluationError for unordered kinds."""
    budget.charge(1, at)
    kind, other = kind_at(left, at), kind_at(right, at)
    if kind != other or kind not in ORDERED:
        raise refusal(faults.no_order(kind, other), at)
    if isinstance(left, str):
        budget.charge_text(left, at)
    return bool(_in_utc(left) < _in_utc(right))


def sort_keys(items: list[Any], budget: Budget, at: int, *, looks: int = 1) -> list[Any]:
    """Return keys that Python can sort.

    The budget is charged `looks` times per item. The items must all be of the same kind, which must have an order.
    """
    for item in items:
        budget.charge(looks * (1 + (len(item) // CHARACTERS_A_STEP if isinstance(item, str) else 0)), at)
    return [_in_utc(item) for item in items]


def key_of(value: Value, budget: Budget, at: int, depth: int = 0) -> Hashable:
    """Return a key that only equal values share."""
    budget.charge(1, at)
    if depth > MAX_RESULT_DEPTH:
        raise EvaluationError("the value is nested too deeply to be compared", at)
    kind = kind_at(value, at)
    if isinstance(value, list):
        return kind, tuple([key_of(item, budget, at, depth + 1) for item in value])
    if isinstance(value, dict):
        return kind, frozenset([(name, key_of(item, budget, at, depth + 1)) for name, item in value.items()])
    if isinstance(value, str):
        budget.charge_text(value, at)
    return kind, _in_utc(value)


def _in_utc(value: Any) -> Any:
    # Python compares two instants in the same zone by wall-clock time, which repeats an hour in autumn.
    return times.to_utc(value) if isinstance(value, datetime) else value
