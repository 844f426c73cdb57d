"""Compute the value of an expression: `evaluate`.

There are no implicit conversions, and anything that could be a mistake is an error. Every part costs a step of the
budget, and anything that builds a string or a list is charged to the budget beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from atom_workflows.errors import EvaluationError, MissingMember, OverBudget, ValueMismatch
from atom_workflows.expressions import faults
from atom_workflows.expressions.arithmetic import calculate, is_number
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.calls import call
from atom_workflows.expressions.faults import TIMES, refusal
from atom_workflows.expressions.functions import HAS
from atom_workflows.expressions.names import printable
from atom_workflows.expressions.order import equal, kind_at, less
from atom_workflows.expressions.syntax import (
    Arithmetic,
    Call,
    Chain,
    Coalesce,
    Comparison,
    Comprehension,
    Conditional,
    Expression,
    Index,
    ListLiteral,
    Literal,
    Logic,
    Member,
    Name,
    Negative,
    Not,
    Path,
    path_of,
    places_of_reads,
    spell,
    start_of,
)
from atom_workflows.expressions.values import Value, read_value, write_value

MAX_NAMES_READ: Final = 300
"""The maximum length, in characters, of the names and values that explain a decision."""

_LONGEST_SHOWN: Final = 60
_STEPS_TO_SHOW: Final = 5_000


def evaluate(
    expression: Expression, scope: Mapping[str, Any], *, zone: str = "UTC", budget: Budget | None = None
) -> Value:
    """Return the value of an expression. Raises EvaluationError.

    The values in the scope are as described in `values`, and at most 64 levels deep. Several evaluations may share a
    budget.
    """
    budget = Budget() if budget is None else budget
    value = _Evaluation(scope, zone, budget).value(expression)
    budget.require_result(value, expression.at)
    return value


def names_read(expression: Expression, scope: Mapping[str, Any]) -> str:
    """Return the names and values that explain a decision.

    The text looks like "`rows` = 12, `ok` = null" and is at most 300 characters long.
    """
    paths = list(dict.fromkeys(path for path, _ in places_of_reads(expression)))
    last_names = [path[-1] for path in paths]
    text = ""
    for path in paths:
        # `steps.a.state` and `steps.b.state` can be told apart only by their whole paths.
        shown = spell(path if last_names.count(path[-1]) > 1 else path[-1:])
        text += f"{', ' if text else ''}`{shown}` {_show(path, scope)}"
        if len(text) > MAX_NAMES_READ:
            text = text[: MAX_NAMES_READ - 1] + "…"
            break
    return printable(text)


def _show(path: Path, scope: Mapping[str, Any]) -> str:
    value: Any = scope
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return "is missing"
        value = value[name]
    try:
        Budget(_STEPS_TO_SHOW).require_result(value, 0)
        text = json.dumps(write_value(value), ensure_ascii=False)
    except (OverBudget, ValueError):
        return "is too large to show"
    return f"= {text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + '…'}"


class _Missing:
    """The result of a chain in which a member is missing. It never becomes the value of an expression."""


_MISSING: Final = _Missing()


class _Evaluation:
    def __init__(self, scope: Mapping[str, Any], zone: str, budget: Budget) -> None:
        self._scope = scope
        self._items: dict[str, Value] = {}  # keyed by the names that comprehensions give them
        self._zone = zone
        self._budget = budget

    def value(self, expression: Expression) -> Value:
        self._budget.charge(1, expression.at)
        return _METHODS[type(expression)](self, expression)

    def value_if_any(self, expression: Expression) -> Value | _Missing:
        """Return the value to the left of `??`, or `_MISSING`."""
        self._budget.charge(1, expression.at)
        match expression:
            case Chain():
                value = self.value_if_any(expression.base)
                for number, link in enumerate(expression.links):
                    if value is None or isinstance(value, _Missing):
                        return _MISSING
                    value = self._member(value, self._key(link), expression, number)
                return value
            case Coalesce(value=first, default=default):
                value = self.value_if_any(first)
                return self.value_if_any(default) if value is None or value is _MISSING else value
            case Conditional(value=chosen, condition=condition, otherwise=otherwise):
                return self.value_if_any(chosen if self.condition(condition) else otherwise)
            case _:
                return self.value(expression)

    def condition(self, expression: Expression) -> bool:
        """Return the value of an expression that must be true or false."""
        value = self.value(expression)
        if not isinstance(value, bool):
            at = start_of(expression)
            raise refusal(faults.no_condition(kind_at(value, at)), at)
        return value

    # -- names and members -------------------------------------------------------------------------------------------

    def literal(self, literal: Literal) -> Value:
        return literal.value

    def name(self, name: Name) -> Value:
        if name.name in self._items:
            return self._items[name.name]
        if name.name not in self._scope:
            raise refusal(faults.unknown_name(name.name, [*self._scope, *self._items]), name.at)
        value: Value = self._scope[name.name]
        return value

    def chain(self, chain: Chain) -> Value:
        value = self.value(chain.base)
        for number, link in enumerate(chain.links):
            key = self._key(link)
            found = self._member(value, key, chain, number)
            if isinstance(found, _Missing):
                before = _spell_before(chain, number)
                if isinstance(value, dict):
                    message, suggestion = faults.unknown_member(before, str(key), value)
                else:
                    message, suggestion = faults.no_item(before, len(value) if isinstance(value, list) else 0)
                raise MissingMember(message, link.at, suggestion)
            value = found
        return value

    def _key(self, link: Member | Index) -> Value:
        self._budget.charge(1, link.at)
        return link.name if isinstance(link, Member) else self.value(link.index)

    def _member(self, value: Value, key: Value, chain: Chain, number: int) -> Value | _Missing:
        """Return a member or `_MISSING`. Raise if the value cannot have members."""
        if isinstance(value, dict) and isinstance(key, str):
            member: Value | _Missing = value.get(key, _MISSING)
            return member
        link = chain.links[number]
        if isinstance(value, list) and isinstance(link, Index) and isinstance(key, int) and not isinstance(key, bool):
            item: Value | _Missing = value[key] if -len(value) <= key < len(value) else _MISSING
            return item
        before, kind = _spell_before(chain, number), kind_at(value, link.at)
        if isinstance(value, list | dict) and isinstance(link, Index):
            raise refusal(faults.no_index(before, kind, kind_at(key, link.at)), link.at)
        if value is None:
            raise MissingMember(faults.no_members(before, kind)[0], link.at, faults.NULL_REMEDY)
        raise refusal(faults.no_members(before, kind), link.at)

    # -- operators ---------------------------------------------------------------------------------------------------

    def coalesce(self, coalesce: Coalesce) -> Value:
        value = self.value_if_any(coalesce.value)
        return self.value(coalesce.default) if value is None or isinstance(value, _Missing) else value

    def negative(self, negative: Negative) -> Value:
        value = self.value(negative.operand)
        if not is_number(value):
            raise refusal(
                faults.no_operation("-", kind_at(value, negative.at), kind_at(value, negative.at)), negative.at
            )
        return calculate("-", 0, value, self._budget, negative.at)

    def arithmetic(self, arithmetic: Arithmetic) -> Value:
        value = self.value(arithmetic.first)
        for operand in arithmetic.rest:
            value = calculate(operand.operator, value, self.value(operand.value), self._budget, operand.at)
        return value

    def comparison(self, comparison: Comparison) -> bool:
        left, right = self.value(comparison.left), self.value(comparison.right)
        at, operator = comparison.at, comparison.operator
        if operator in ("in", "not in"):
            if isinstance(right, list) and right:
                if isinstance(comparison.right, ListLiteral):
                    items = zip(comparison.right.items, right, strict=True)
                    right = [self._beside(item, each, left) for item, each in items]
                beside = next((each for each in right if each is not None), None)
                left = self._beside(comparison.left, left, beside)
            return self._contains(right, left, at) == (operator == "in")
        left, right = self._beside(comparison.left, left, right), self._beside(comparison.right, right, left)
        match operator:
            case "==" | "!=":
                return equal(left, right, self._budget, at) == (operator == "==")
            case "<":
                return less(left, right, self._budget, at)
            case ">":
                return less(right, left, self._budget, at)
            case "<=":
                return not less(right, left, self._budget, at)
            case _:
                return not less(left, right, self._budget, at)

    def _beside(self, expression: Expression, value: Value, other: Value) -> Value:
        """Convert literal text to the kind of time it is compared with."""
        if not isinstance(expression, Literal) or not isinstance(value, str):
            return value
        kind = kind_at(other, expression.at)
        if kind not in TIMES:
            return value
        try:
            return read_value(value, kind, zone=self._zone)
        except ValueMismatch as error:
            raise EvaluationError(f"the text {error.message}", expression.at, error.suggestion) from error

    def _contains(self, container: Value, value: Value, at: int) -> bool:
        if isinstance(container, list):
            return any(equal(item, value, self._budget, at) for item in container)
        if isinstance(container, str) and isinstance(value, str):
            self._budget.charge_text(container, at)
            return value in container
        if isinstance(container, dict) and isinstance(value, str):
            return value in container
        if isinstance(container, str | dict):
            raise refusal(faults.never_in(kind_at(value, at), kind_at(container, at)), at)
        raise refusal(faults.no_container(kind_at(container, at)), at)

    def logic(self, logic: Logic) -> bool:
        stops_at = logic.operator == "or"
        return stops_at if any(self.condition(each) is stops_at for each in logic.operands) else not stops_at

    def negation(self, negation: Not) -> bool:
        return not self.condition(negation.operand)

    def conditional(self, conditional: Conditional) -> Value:
        return self.value(conditional.value if self.condition(conditional.condition) else conditional.otherwise)

    # -- functions and lists -----------------------------------------------------------------------------------------

    def call(self, node: Call) -> Value:
        if node.function != HAS:
            values = [self.value(argument) for argument in node.arguments]
            return call(node.function, values, budget=self._budget, zone=self._zone, at=node.at)
        if len(node.arguments) != 1:
            raise EvaluationError(f"`has` takes 1 argument, not {len(node.arguments)}", node.at)
        value = self.value_if_any(node.arguments[0])
        return value is not None and value is not _MISSING

    def list_literal(self, literal: ListLiteral) -> Value:
        return [self.value(item) for item in literal.items]

    def comprehension(self, comprehension: Comprehension) -> Value:
        items = self.value(comprehension.items)
        if not isinstance(items, list):
            at = start_of(comprehension.items)
            raise refusal(faults.no_list(kind_at(items, at)), at)
        outer = dict(self._items)
        made: list[Value] = []
        for item in items:
            self._budget.charge(1, comprehension.at)
            self._items[comprehension.name] = item
            if comprehension.condition is None or self.condition(comprehension.condition):
                made.append(self.value(comprehension.item))
        self._items = outer
        self._budget.require_items(len(made), comprehension.at)
        return made


def _spell_before(chain: Chain, number: int) -> str:
    """Return a chain as it is written, up to the given link."""
    before = Chain(at=chain.at, base=chain.base, links=chain.links[:number])
    path = path_of(before)
    return spell(path) if path else ""


_METHODS: Final[dict[type[Expression], Callable[[_Evaluation, Any], Value]]] = {
    Literal: _Evaluation.literal,
    Name: _Evaluation.name,
    Chain: _Evaluation.chain,
    Coalesce: _Evaluation.coalesce,
    Negative: _Evaluation.negative,
    Arithmetic: _Evaluation.arithmetic,
    Comparison: _Evaluation.comparison,
    Logic: _Evaluation.logic,
    Not: _Evaluation.negation,
    Conditional: _Evaluation.conditional,
    Call: _Evaluation.call,
    ListLiteral: _Evaluation.list_literal,
    Comprehension: _Evaluation.comprehension,
}
