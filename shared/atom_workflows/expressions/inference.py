"""Give every part of an expression a type, and record the faults.

A part with a fault counts as `any`, so that each mistake is reported once. A value that may be null has a type `T or
null`; it can be used to the left of `??`, or where a condition has proved that it is present.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from atom_workflows.expressions import faults
from atom_workflows.expressions.calls import takes_in_words
from atom_workflows.expressions.comparisons import Side, equality_faults, membership_faults, order_faults
from atom_workflows.expressions.compatibility import (
    family,
    fits,
    is_text,
    is_unknown,
    join,
    without_null,
)
from atom_workflows.expressions.faults import NULL_REMEDY, Advice
from atom_workflows.expressions.functions import FUNCTION_NAMES, FUNCTIONS, HAS, Parameter
from atom_workflows.expressions.kinds import (
    ANY,
    BOOL,
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
    or_null,
)
from atom_workflows.expressions.proofs import prove
from atom_workflows.expressions.scope import Fault, Scope, fault_at
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
    Operand,
    Path,
    path_of,
    spell,
    spelled,
    start_of,
)
from atom_workflows.expressions.values import kind_of


def infer(expression: Expression, scope: Scope) -> tuple[Type, list[Fault]]:
    """Return the type of an expression and the faults in it.

    The items of an empty list have the type `NOTHING`.
    """
    inference = _Inference()
    of = inference.type_of(expression, scope)
    return of, inference.faults


class _Inference:
    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def type_of(self, expression: Expression, scope: Scope) -> Type:
        """Return the type of an expression."""
        return _METHODS[type(expression)](self, expression, scope)

    def type_if_any(self, expression: Expression, scope: Scope) -> Type:
        """Return the type left of `??`, where members may be missing."""
        match expression:
            case Chain():
                return self._follow(expression, scope, may_be_missing=True)
            case Coalesce(value=value, default=default):
                first = without_null(self.type_if_any(value, scope))
                return join([first, self.type_if_any(default, scope)])
            case Conditional(value=value, condition=condition, otherwise=otherwise):
                self.require_condition(condition, scope)
                first = self.type_if_any(value, scope.proving(prove(condition)))
                return join([first, self.type_if_any(otherwise, scope.proving(prove(condition, is_true=False)))])
            case _:
                return self.type_of(expression, scope)

    def require(self, expression: Expression, scope: Scope) -> Type:
        """Return the type of an expression that must not be null."""
        return self.refuse_null(expression, self.type_of(expression, scope))

    def refuse_null(self, expression: Expression, of: Type) -> Type:
        """Record a fault if null is possible. Return the type without null."""
        if of == NULL:
            self._fault(expression.at, ("null cannot be used here", NULL_REMEDY))
            return ANY
        if isinstance(of, OrNull):
            self._fault(start_of(expression), faults.may_be_missing(spelled(expression), of.reason, of.remedy))
        return without_null(of)

    def require_condition(self, expression: Expression, scope: Scope) -> None:
        """Record a fault if a condition is neither true nor false."""
        of = self.require(expression, scope)
        if of != BOOL and not is_unknown(of):
            self._fault(start_of(expression), faults.no_condition(family(of)))

    def _fault(self, at: int, advice: Advice) -> Type:
        self.faults.append(fault_at(at, advice))
        return ANY

    # -- names and members -------------------------------------------------------------------------------------------

    def literal(self, literal: Literal, _scope: Scope) -> Type:
        # A literal text is an enum of one word, so it can be compared with the words of an enum.
        return Words((literal.value,)) if isinstance(literal.value, str) else kind_of(literal.value)

    def name(self, name: Name, scope: Scope) -> Type:
        of = scope.names.get(name.name)
        if of is None:
            return self._fault(name.at, faults.unknown_name(name.name, scope.names, scope.guess))
        if isinstance(of, Unavailable):
            return self._fault(name.at, (of.message, of.suggestion))
        return without_null(of) if (name.name,) in scope.proven else of

    def chain(self, chain: Chain, scope: Scope) -> Type:
        return self._follow(chain, scope, may_be_missing=False)

    def _follow(self, chain: Chain, scope: Scope, *, may_be_missing: bool) -> Type:
        of = self.type_if_any(chain.base, scope) if may_be_missing else self.type_of(chain.base, scope)
        path, part, missing = path_of(chain.base), chain.base, None
        for number, link in enumerate(chain.links, start=1):
            if not may_be_missing:
                # A reason applies to the whole rest of the chain; without a reason, only this link may be null.
                of = self.refuse_null(chain if isinstance(of, OrNull) and of.reason else part, of)
            elif isinstance(of, OrNull):
                missing, of = missing or of, of.of
            of = self._member(of, link, path, scope)
            path = (*path, link.name) if path and link.name is not None else None
            of = without_null(of) if path in scope.proven else of
            part = Chain(at=chain.at, base=chain.base, links=chain.links[:number])
        return or_null(of, missing.reason, missing.remedy) if missing else of

    def _member(self, of: Type, link: Member | Index, path: Path | None, scope: Scope) -> Type:
        index = self.require(link.index, scope) if isinstance(link, Index) else TEXT
        if is_unknown(of) or (isinstance(of, ListOf) and isinstance(link, Index) and fits(index, INT)):
            return of.item if isinstance(of, ListOf) else ANY
        before = spell(path) if path else ""
        if isinstance(link, Index) and not fits(index, TEXT if isinstance(of, MapOf) else INT):
            return self._fault(link.at, faults.no_index(before, of, family(index)))
        if not isinstance(of, MapOf):
            return self._fault(link.at, faults.no_members(before, family(of)))
        if link.name is None:
            return self._fault(link.at, faults.computed_name(before))
        found = of.fields.get(link.name)
        if found is None:
            message, suggestion = faults.unknown_member(before, link.name, of.fields, scope.guess)
            self._fault(link.at, (message, suggestion or faults.list_members(of.fields)))
            # What other systems call it has the same values, so that these can be checked as well.
            return of.fields.get(faults.OTHER_MEMBERS.get(link.name, ""), ANY)
        return self._fault(link.at, (found.message, found.suggestion)) if isinstance(found, Unavailable) else found

    # -- operators ---------------------------------------------------------------------------------------------------

    def coalesce(self, coalesce: Coalesce, scope: Scope) -> Type:
        first = self.type_if_any(coalesce.value, scope)
        default = self.type_of(coalesce.default, scope)
        may_be_null = isinstance(first, OrNull) or first == NULL or is_unknown(first)
        is_computed = isinstance(coalesce.value, Chain | Coalesce | Conditional) and path_of(coalesce.value) is None
        # The default is never used if the first value is certain.
        return join([without_null(first), default]) if may_be_null or is_computed else first

    def negative(self, negative: Negative, scope: Scope) -> Type:
        of = self.require(negative.operand, scope)
        if is_unknown(of):
            return NUMBER
        return of if of in (INT, NUMBER) else self._fault(negative.at, faults.no_operation("-", of, of))

    def arithmetic(self, arithmetic: Arithmetic, scope: Scope) -> Type:
        of = self.require(arithmetic.first, scope)
        for operand in arithmetic.rest:
            other = self.require(operand.value, scope)
            of = self._calculate(operand, of, other)
        return of

    def _calculate(self, operand: Operand, left: Type, right: Type) -> Type:
        operator = operand.operator
        if is_unknown(left) and is_unknown(right):
            return ANY if operator == "+" else NUMBER
        if is_unknown(left) or is_unknown(right):
            # The unknown side must be of the same kind as the known one, but its items may be of any type.
            kind = family(right if is_unknown(left) else left)
            left = right = ListOf(ANY) if isinstance(kind, ListOf) else kind
        if family(left) == family(right) == NUMBER:
            return INT if left == right == INT and operator != "/" else NUMBER
        if operator == "+" and is_text(left) and is_text(right):
            return TEXT
        if operator == "+" and isinstance(left, ListOf) and isinstance(right, ListOf):
            return join([left, right])
        return self._fault(operand.at, faults.no_operation(operator, left, right))

    def comparison(self, comparison: Comparison, scope: Scope) -> Type:
        left, right, at = comparison.left, comparison.right, comparison.at
        if comparison.operator in ("in", "not in"):
            of = self.type_of(left, scope)
            first = Side(left, of if of == NULL else self.refuse_null(left, of))
            if isinstance(right, ListLiteral):
                for item in right.items:
                    self._check_equality(first, Side(item, self.type_of(item, scope)), item.at)
            else:
                self.faults += membership_faults(first, Side(right, self.require(right, scope)), at)
        elif comparison.operator in ("==", "!="):
            self._check_equality(Side(left, self.type_of(left, scope)), Side(right, self.type_of(right, scope)), at)
        else:
            first, second = Side(left, self.require(left, scope)), Side(right, self.require(right, scope))
            self.faults += order_faults(first, second, at)
        return BOOL

    def _check_equality(self, left: Side, right: Side, at: int) -> None:
        """Check both sides, unless one of them is always null."""
        if NULL not in (left.of, right.of):
            first = Side(left.expression, self.refuse_null(left.expression, left.of))
            second = Side(right.expression, self.refuse_null(right.expression, right.of))
            self.faults += equality_faults(first, second, at)

    def logic(self, logic: Logic, scope: Scope) -> Type:
        for operand in logic.operands:
            self.require_condition(operand, scope)
            # The right side of `and` is computed only if the left side is true; that of `or`, only if it is false.
            scope = scope.proving(prove(operand, is_true=logic.operator == "and"))
        return BOOL

    def negation(self, negation: Not, scope: Scope) -> Type:
        self.require_condition(negation.operand, scope)
        return BOOL

    def conditional(self, conditional: Conditional, scope: Scope) -> Type:
        condition = conditional.condition
        self.require_condition(condition, scope)
        first = self.type_of(conditional.value, scope.proving(prove(condition)))
        return join([first, self.type_of(conditional.otherwise, scope.proving(prove(condition, is_true=False)))])

    # -- functions and lists -----------------------------------------------------------------------------------------

    def call(self, call: Call, scope: Scope) -> Type:
        if call.function == HAS:
            return self._has(call, scope)
        function = FUNCTIONS.get(call.function)
        if function is None:
            for argument in call.arguments:
                self.type_of(argument, scope)
            return self._fault(call.at, faults.unknown_function(call.function, FUNCTION_NAMES, scope.guess))
        types = []
        for number, argument in enumerate(call.arguments):
            of = self.type_of(argument, scope)
            takes_null = number < len(function.parameters) and ANY in function.parameters[number].takes
            types.append(of if takes_null else self.refuse_null(argument, of))
        if fault := function.arity_fault(len(types)):
            return self._fault(call.at, (fault, f"write `{function.signature}`"))
        for parameter, argument, of in zip(function.parameters, call.arguments, types, strict=False):
            self._check_argument(function.name, parameter, argument, of)
        return function.gives if isinstance(function.gives, Type) else function.gives(types)

    def _check_argument(self, name: str, parameter: Parameter, argument: Expression, of: Type) -> None:
        if parameter.read_literal and isinstance(argument, Literal) and isinstance(argument.value, str):
            try:
                parameter.read_literal(argument.value)
            except ValueError as error:
                self._fault(argument.at, (f"`{name}`: {error}", ""))
        elif not any(fits(of, due) for due in parameter.takes):
            advice = faults.argument_remedy(family(of) if of != INT else INT, parameter.takes)
            if isinstance(of, ListOf) and any(fits(ListOf(without_null(of.item)), due) for due in parameter.takes):
                # This is how the outputs of a loop are, some items of which may have failed.
                advice = faults.NULL_ITEMS_REMEDY
            message = f"`{name}` takes {takes_in_words(parameter)}, not {faults.in_words(of)}"
            self._fault(start_of(argument), (message, advice))

    def _has(self, call: Call, scope: Scope) -> Type:
        if len(call.arguments) != 1:
            self._fault(call.at, (f"`has` takes 1 argument, not {len(call.arguments)}", ""))
        for argument in call.arguments:
            self.type_if_any(argument, scope)
            if not isinstance(argument, Name | Chain):
                self._fault(argument.at, ("`has` takes a name or a path to a member", "write `has(steps.a.outputs.b)`"))
        return BOOL

    def list_literal(self, literal: ListLiteral, scope: Scope) -> Type:
        return ListOf(join(self.type_of(item, scope) for item in literal.items))

    def comprehension(self, comprehension: Comprehension, scope: Scope) -> Type:
        items = self.require(comprehension.items, scope)
        name = comprehension.name
        if name in scope.names:
            self._fault(comprehension.name_at, (f"the name `{name}` is already taken", "choose another name"))
        if not isinstance(items, ListOf) and not is_unknown(items):
            self._fault(start_of(comprehension.items), faults.no_list(items))
        within = scope.naming(name, items.item if isinstance(items, ListOf) and items.item != NOTHING else ANY)
        if comprehension.condition is not None:
            self.require_condition(comprehension.condition, within)
            within = within.proving(prove(comprehension.condition))
        return ListOf(self.type_of(comprehension.item, within))


_METHODS: Final[dict[type[Expression], Callable[[_Inference, Any, Scope], Type]]] = {
    Literal: _Inference.literal,
    Name: _Inference.name,
    Chain: _Inference.chain,
    Coalesce: _Inference.coalesce,
    Negative: _Inference.negative,
    Arithmetic: _Inference.arithmetic,
    Comparison: _Inference.comparison,
    Logic: _Inference.logic,
    Not: _Inference.negation,
    Conditional: _Inference.conditional,
    Call: _Inference.call,
    ListLiteral: _Inference.list_literal,
    Comprehension: _Inference.comprehension,
}
