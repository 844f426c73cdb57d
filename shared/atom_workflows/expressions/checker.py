"""Find faults in expressions before they run.

`check` is for a single expression, and `check_template` for text that contains expressions. Only the start function
needs this module; the code that runs steps only evaluates expressions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from atom_workflows.errors import EvaluationError, OverBudget, ValueMismatch
from atom_workflows.expressions import faults
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.compatibility import family, fits, is_text, is_unknown, without_null
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.faults import TIMES
from atom_workflows.expressions.inference import infer
from atom_workflows.expressions.kinds import (
    ANY,
    BOOL,
    GS_URI,
    INT,
    NOTHING,
    NULL,
    NUMBER,
    TEXT,
    ListOf,
    MapOf,
    OrNull,
    Type,
    Unavailable,
    Words,
    describe,
)
from atom_workflows.expressions.names import printable
from atom_workflows.expressions.proofs import prove
from atom_workflows.expressions.scope import Fault, Scope, fault_at
from atom_workflows.expressions.syntax import Expression, Literal, Path, reads, spelled, start_of
from atom_workflows.expressions.templates import Placeholder, Template
from atom_workflows.expressions.values import read_value

__all__ = ["Checked", "Fault", "Scope", "Unavailable", "check", "check_template"]

STEPS_OF_CONSTANTS: Final = 100
"""The maximum number of steps for evaluating a constant expression to find faults such as `int('x')`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of checking an expression.

    `faults` are in the order in which they occur in the text. `proves` holds the paths that are neither null nor
    missing if the expression is true.
    """

    type: Type
    faults: list[Fault]
    proves: frozenset[Path] = frozenset()


def check(expression: Expression, scope: Scope, *, expected: Type | None = None) -> Checked:
    """Return the type of an expression and any faults in it.

    If the result may be missing and the reason is known, that is a fault unless `expected` allows null; a plain
    `T or null` is a fault only if `expected` is a type without null. Text is accepted where a date, an address or an
    enum's word is expected, since `read_value` converts it.
    """
    of, found = infer(expression, scope)
    if not found and not reads(expression):
        try:
            evaluate(expression, {}, zone=scope.zone, budget=Budget(STEPS_OF_CONSTANTS))
        except OverBudget:
            pass
        except EvaluationError as error:
            found = [Fault(at=error.at, message=error.message, suggestion=error.suggestion)]
    if not found:
        found = _check_expected(expression, of, expected)
    printed = (
        replace(fault, message=printable(fault.message), suggestion=printable(fault.suggestion)) for fault in found
    )
    in_order = sorted(dict.fromkeys(printed), key=lambda fault: fault.at)
    return Checked(type=_public(of), faults=in_order, proves=prove(expression))


def check_template(template: Template, scope: Scope, *, expected: Type | None = None) -> Checked:
    """Return the type of a template and any faults in it.

    Offsets are relative to the whole text.
    """
    if template.lone:
        return _shifted(check(template.lone.expression, scope, expected=expected), template.lone)
    found: list[Fault] = []
    for placeholder in template.placeholders:
        checked, at = check(placeholder.expression, scope), start_of(placeholder.expression)
        of = checked.type
        if not checked.faults and (of == NULL or isinstance(of, ListOf | MapOf)):
            checked = replace(checked, faults=[fault_at(at, faults.no_insertion(of))])
        elif not checked.faults and isinstance(of, OrNull):
            advice = faults.may_be_missing(spelled(placeholder.expression), of.reason, of.remedy)
            checked = replace(checked, faults=[fault_at(at, advice)])
        found += _shifted(checked, placeholder).faults
    if not found and expected is not None and not fits(TEXT, expected, reads_text=True):
        found.append(Fault(at=0, message=f"{describe(expected)} is expected here, not text"))
    return Checked(type=TEXT, faults=found)


def _shifted(checked: Checked, placeholder: Placeholder) -> Checked:
    return replace(checked, faults=[replace(fault, at=placeholder.offset + fault.at) for fault in checked.faults])


def _check_expected(expression: Expression, of: Type, expected: Type | None) -> list[Fault]:
    if isinstance(of, OrNull) and not isinstance(expected, OrNull) and (of.reason or expected not in (None, ANY)):
        message, suggestion = faults.may_be_missing(spelled(expression), of.reason, of.remedy)
    elif expected is None or is_unknown(of):
        return []
    elif isinstance(expression, Literal) and is_text(of) and without_null(expected) in {*TIMES, GS_URI}:
        try:
            read_value(expression.value, expected)
        except ValueMismatch as error:
            return [Fault(at=expression.at, message=f"the text {error.message}", suggestion=error.suggestion)]
        return []
    elif fits(of, expected, reads_text=True):
        return []
    else:
        message, suggestion = _mismatch(of, expected)
    return [fault_at(start_of(expression), (message, suggestion))]


def _mismatch(of: Type, expected: Type) -> faults.Advice:
    """Return the fault to report for a result of the wrong type."""
    due = without_null(expected)
    if due == BOOL:
        return faults.no_condition(family(of))
    if isinstance(of, Words) and isinstance(due, Words):
        return faults.unknown_word(of.words[0], "", due.words)
    suggestion = ""
    if due == INT:
        suggestion = "write `//` or `int(…)`" if of == NUMBER else "write `int(…)`" if is_text(of) else ""
    elif due == TEXT:
        suggestion = "write `json(…)`" if isinstance(of, ListOf | MapOf) else "write `text(…)`"
    elif due == NUMBER and is_text(of):
        suggestion = "write `number(…)`"
    return f"{describe(due)} is expected here, not {faults.in_words(of)}", suggestion


def _public(of: Type) -> Type:
    """Return the type with `any` in place of `NOTHING`."""
    if isinstance(of, ListOf):
        return ListOf(_public(of.item))
    if isinstance(of, OrNull):
        return OrNull(_public(of.of), of.reason, of.remedy)
    return ANY if of == NOTHING else of
