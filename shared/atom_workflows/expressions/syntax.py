"""The parts of an expression.

Each part has `at`, the offset in the text that messages point to: the operator's offset if there is one, otherwise the
offset at which the part begins. Chains of members, sums and conditions are flat, so only parts nested in the text are
nested here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Final, TypeAlias

from atom_workflows.expressions.frozen import Frozen

MAX_DEPTH: Final = 32
"""The maximum number of levels of nested parts."""

Path: TypeAlias = tuple[str, ...]
"""A name followed by its members, such as `("params", "day")`."""


class Expression(Frozen):
    """Any part that has a value."""

    at: int


class Literal(Expression):
    """A number, text, true, false or null."""

    value: str | int | float | bool | None


class Name(Expression):
    """A name from the scope, or the variable of a comprehension."""

    name: str


class Member(Frozen):
    """`.name` after a value."""

    at: int
    name: str


class Index(Frozen):
    """`[value]` after a value."""

    at: int
    index: Expression

    @property
    def name(self) -> str | None:
        """The member's name, if the index is literal text."""
        value = self.index.value if isinstance(self.index, Literal) else None
        return value if isinstance(value, str) else None


class Chain(Expression):
    """A value followed by members, such as `steps.list.outputs.files[0]`."""

    base: Expression
    links: tuple[Member | Index, ...]


class Call(Expression):
    """A function call with its arguments."""

    function: str
    arguments: tuple[Expression, ...]


class Coalesce(Expression):
    """`value ?? default`."""

    value: Expression
    default: Expression


class Negative(Expression):
    """`-operand`."""

    operand: Expression


class Operand(Frozen):
    """An operator in a sum or product, and the value after it."""

    at: int
    operator: str
    value: Expression


class Arithmetic(Expression):
    """`first + a - b` or `first * a / b`, evaluated from left to right. `at` is the offset of the first operator."""

    first: Expression
    rest: tuple[Operand, ...]


class Comparison(Expression):
    """Two values joined by `==`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `not in`."""

    operator: str
    left: Expression
    right: Expression


class Logic(Expression):
    """Two or more conditions joined by `and`, or by `or`."""

    operator: str
    operands: tuple[Expression, ...]


class Not(Expression):
    """`not operand`."""

    operand: Expression


class Conditional(Expression):
    """`value if condition else otherwise`."""

    value: Expression
    condition: Expression
    otherwise: Expression


class ListLiteral(Expression):
    """`[a, b]`."""

    items: tuple[Expression, ...]


class Comprehension(Expression):
    """`[item for name in items if condition]`."""

    item: Expression
    name: str
    name_at: int
    items: Expression
    condition: Expression | None


def children(expression: Expression) -> tuple[Expression, ...]:  # noqa: PLR0911 -- a case for each kind of part
    """Return an expression's direct parts, in order of occurrence."""
    match expression:
        case Chain(base=base, links=links):
            return (base, *(link.index for link in links if isinstance(link, Index)))
        case Call(arguments=parts) | Logic(operands=parts) | ListLiteral(items=parts):
            return parts
        case Coalesce(value=first, default=second) | Comparison(left=first, right=second):
            return (first, second)
        case Negative(operand=operand) | Not(operand=operand):
            return (operand,)
        case Arithmetic(first=first, rest=rest):
            return (first, *(operand.value for operand in rest))
        case Conditional(value=value, condition=condition, otherwise=otherwise):
            return (value, condition, otherwise)
        case Comprehension(item=item, items=items, condition=condition):
            return (item, items) if condition is None else (item, items, condition)
        case _:
            return ()


def start_of(expression: Expression) -> int:
    """Return the offset at which an expression begins."""
    match expression:
        case Comparison(left=first) | Arithmetic(first=first) | Coalesce(value=first) | Conditional(value=first):
            return start_of(first)
        case Logic(operands=(first, *_)):
            return start_of(first)
        case _:
            return expression.at


def too_deep(expression: Expression) -> Expression | None:
    """Return a part that is nested deeper than allowed, or None."""
    level = [expression]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in children(parent)]
    return level[0] if level else None


def path_of(expression: Expression) -> Path | None:
    """Return the path of a name with literal members, or None."""
    match expression:
        case Name(name=name):
            return (name,)
        case Chain(base=Name(name=name), links=links):
            members = [link.name for link in links]
            return None if None in members else (name, *(member for member in members if member is not None))
        case _:
            return None


def reads(expression: Expression) -> frozenset[Path]:
    """Return the paths that an expression reads.

    Each path is as long as can be determined: `steps[x].state` reads `steps`.
    """
    return frozenset(path for path, _ in places_of_reads(expression))


def places_of_reads(expression: Expression) -> Iterator[tuple[Path, int]]:
    """Return the paths that an expression reads, with their offsets.

    They are in order of occurrence.
    """
    return _reads(expression, frozenset())


def required_reads(expression: Expression) -> frozenset[Path]:
    """Return the paths that have to exist.

    Paths that are covered by `??` or tested with `has` need not exist.
    """
    return _uncovered(expression) - frozenset(_tested(expression))


def _uncovered(expression: Expression) -> frozenset[Path]:
    match expression:
        case Coalesce(default=default):
            return _uncovered(default)
        case Name() | Chain() | Comprehension():
            return reads(expression)
        case _:
            return frozenset().union(*map(_uncovered, children(expression)))


def _tested(expression: Expression) -> Iterator[Path]:
    for child in children(expression):
        if isinstance(expression, Call) and expression.function == "has":
            yield from reads(child)
        yield from _tested(child)


def _reads(expression: Expression, items: frozenset[str]) -> Iterator[tuple[Path, int]]:
    match expression:
        case Name(name=name, at=at) if name not in items:
            yield (name,), at
        case Chain(base=Name(name=name, at=at), links=links):
            if name not in items:
                known = takewhile(lambda link: link.name is not None, links)
                yield (name, *(str(link.name) for link in known)), at
            for child in children(expression)[1:]:
                yield from _reads(child, items)
        case Comprehension(item=item, name=name, items=source, condition=condition):
            yield from _reads(item, items | {name})
            yield from _reads(source, items)
            if condition is not None:
                yield from _reads(condition, items | {name})
        case _:
            for child in children(expression):
                yield from _reads(child, items)


def spell(path: Path) -> str:
    """Return a path as written in an expression, such as `steps['a.b'].state`."""
    first, *members = path
    return first + "".join(f".{name}" if is_member_name(name) else f"['{name}']" for name in members)


def spelled(expression: Expression) -> str:
    """Return a name and its members as written, or "" otherwise."""
    path = path_of(expression)
    return spell(path) if path else ""


def is_member_name(name: str) -> bool:
    """Return True if a name may be written after a dot."""
    plain = name.replace("-", "_")
    return plain.isascii() and plain.isidentifier() and not name.endswith("-") and not name.startswith("-")
