"""Call a function with the values of its arguments."""

from __future__ import annotations

from collections.abc import Sequence

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions import faults
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.functions import FUNCTION_NAMES, FUNCTIONS, Parameter
from atom_workflows.expressions.kinds import ANY, INT, TEXT, ListOf, Type, describe
from atom_workflows.expressions.library import Context
from atom_workflows.expressions.order import kind_at
from atom_workflows.expressions.values import MAP, Value, kind_of


def call(name: str, values: Sequence[Value], *, budget: Budget, zone: str, at: int) -> Value:
    """Return the value that a function computes. Raises EvaluationError."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise faults.refusal(faults.unknown_function(name, FUNCTION_NAMES), at)
    if fault := function.arity_fault(len(values)):
        raise EvaluationError(fault, at, f"write `{function.signature}`")
    for parameter, value in zip(function.parameters, values, strict=False):
        if isinstance(value, list):
            budget.charge(len(value), at)
        if any(_fits(value, of, at) for of in parameter.takes):
            continue
        kind, remedy = kind_at(value, at), ""
        if isinstance(value, list) and any(isinstance(of, ListOf) for of in parameter.takes):
            misfits = [item for item in value if not any(_fits([item], of, at) for of in parameter.takes)]
            odd = faults.in_words(kind_at(misfits[0], at)) if misfits else ""
            found = f"a list containing {odd}" if misfits else "a list of mixed types"
        else:
            found, remedy = faults.in_words(kind), faults.argument_remedy(kind, parameter.takes)
        raise EvaluationError(f"`{name}` takes {takes_in_words(parameter)}, not {found}", at, remedy)
    try:
        return function.run(Context(budget=budget, zone=zone, at=at), *values)
    except EvaluationError:
        raise
    except ValueError as error:  # The text is not a time, or the time lies outside the calendar.
        raise EvaluationError(f"`{name}`: {error}", at) from error


def takes_in_words(parameter: Parameter) -> str:
    """Describe the types that a parameter accepts.

    Example: `a date or an instant`.
    """
    # A time may be given as text, but naming the time type alone is clearer.
    shown = [of for of in parameter.takes if of != TEXT or not parameter.read_literal] or [TEXT]
    first, *others = (describe(of) for of in shown)
    others = [other.removeprefix("a list of ") for other in others]
    return ", ".join([first, *others[:-1]]) + (f" or {others[-1]}" if others else "")


def _fits(value: Value, of: Type, at: int) -> bool:
    if isinstance(of, ListOf):
        return isinstance(value, list) and (of.item == ANY or all(_fits(item, of.item, at) for item in value))
    if of == ANY:
        return True
    if of == MAP:
        return isinstance(value, dict)
    kind = kind_at(value, at)
    return kind_of(value) == INT if of == INT else kind == of
