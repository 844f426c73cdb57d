"""Find which values must exist if a condition is true or false.

For example, `has(x) and x.y > 3` reads `x` safely.
"""

from __future__ import annotations

from functools import reduce
from typing import Final

from atom_workflows.expressions.functions import HAS
from atom_workflows.expressions.syntax import (
    Call,
    Coalesce,
    Comparison,
    Expression,
    Literal,
    Logic,
    Not,
    Path,
    path_of,
)

_NOTHING: Final = frozenset[Path]()


def prove(condition: Expression, *, is_true: bool = True) -> frozenset[Path]:
    """Return the paths that are certain to exist if a condition holds."""
    match condition:
        case Call(function=function, arguments=(argument,)) if function == HAS and is_true:
            return _prefixes(argument)
        case Comparison(operator="!=" | "==" as operator, left=left, right=right) if (operator == "!=") is is_true:
            return _prefixes(left if _is_null(right) else right) if _is_null(left) or _is_null(right) else _NOTHING
        case Coalesce(value=value, default=Literal(value=bool() as default)) if default is not is_true:
            # `x ?? false` is true only if `x` exists and is true.
            return _prefixes(value)
        case Not(operand=operand):
            return prove(operand, is_true=not is_true)
        case Logic(operator=operator, operands=operands):
            proofs = [prove(operand, is_true=is_true) for operand in operands]
            all_hold = (operator == "and") is is_true
            return _NOTHING.union(*proofs) if all_hold else reduce(frozenset.intersection, proofs)
        case _:
            return _NOTHING


def _is_null(expression: Expression) -> bool:
    return isinstance(expression, Literal) and expression.value is None


def _prefixes(expression: Expression) -> frozenset[Path]:
    path = path_of(expression) or ()
    return frozenset(path[:length] for length in range(1, len(path) + 1))
