"""The functions that expressions can call, in one table.

The table holds their parameters, types and implementations. All functions are pure. `has` is not in the table, since it
depends on how its argument is written; the evaluator and the checker treat it like an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from atom_workflows.expressions import library, times
from atom_workflows.expressions.formats import check_pattern
from atom_workflows.expressions.frozen import Frozen
from atom_workflows.expressions.kinds import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    Type,
)
from atom_workflows.expressions.values import LIST, MAP, Value, as_text

HAS: Final = "has"


class Parameter(Frozen):
    """A parameter: its name, types, and a reader that checks literal text."""

    name: str
    takes: tuple[Type, ...]
    read_literal: Callable[[str], object] | None = None


class Function(Frozen):
    """A function. `gives` is the type of its result, or a function that derives it from the types of the arguments."""

    name: str
    parameters: tuple[Parameter, ...]
    gives: Type | Callable[[Sequence[Type]], Type]
    run: Callable[..., Value]
    optional: int = 0

    @property
    def signature(self) -> str:
        """The function's signature, such as `range(from, to?)`."""
        required = len(self.parameters) - self.optional
        names = [each.name + ("?" if number >= required else "") for number, each in enumerate(self.parameters)]
        return f"{self.name}({', '.join(names)})"

    def arity_fault(self, count: int) -> str:
        """Return a message about a wrong number of arguments, or ""."""
        most = len(self.parameters)
        least = most - self.optional
        if least <= count <= most:
            return ""
        span = f"{most}" if least == most else f"{least} to {most}"
        return f"`{self.name}` takes {span} argument{'' if most == 1 else 's'}, not {count}"


# -- the table -------------------------------------------------------------------------------------------------------

_ORDERED: Final = (ListOf(NUMBER), ListOf(TEXT), ListOf(DATE), ListOf(TIME), ListOf(INSTANT), ListOf(DURATION))


def _item(arguments: Sequence[Type]) -> Type:
    of = arguments[0]
    return of.item if isinstance(of, ListOf) else ANY


def _same(arguments: Sequence[Type]) -> Type:
    return ListOf(_item(arguments))


def _function(
    name: str,
    gives: Type | Callable[[Sequence[Type]], Type],
    run: Callable[..., Value],
    *parameters: tuple[str, tuple[Type, ...]] | Parameter,
    optional: int = 0,
) -> Function:
    return Function(
        name=name,
        parameters=tuple(
            each if isinstance(each, Parameter) else Parameter(name=each[0], takes=each[1]) for each in parameters
        ),
        gives=gives,
        run=run,
        optional=optional,
    )


def _moment(name: str) -> Parameter:
    return Parameter(name=name, takes=(DATE, INSTANT, TEXT), read_literal=library.read_moment)


_ROWS: Final = (
    _function("len", INT, lambda _, value: len(value), ("value", (TEXT, LIST, MAP))),
    _function("int", INT, library.to_int, ("value", (TEXT, NUMBER))),
    _function("number", NUMBER, library.to_number, ("value", (TEXT, NUMBER))),
    _function(
        "text", TEXT, lambda _, value: as_text(value), ("value", (TEXT, NUMBER, BOOL, DATE, TIME, INSTANT, DURATION))
    ),
    _function("json", TEXT, library.to_json, ("value", (ANY,))),
    _function("fromJson", ANY, library.from_json, ("text", (TEXT,))),
    _function("lower", TEXT, library.lower, ("text", (TEXT,))),
    _function("upper", TEXT, library.upper, ("text", (TEXT,))),
    _function("trim", TEXT, library.trim, ("text", (TEXT,))),
    _function("split", ListOf(TEXT), library.split, ("text", (TEXT,)), ("separator", (TEXT,))),
    _function("join", TEXT, library.join, ("texts", (ListOf(TEXT),)), ("separator", (TEXT,))),
    _function("replace", TEXT, library.replace, ("text", (TEXT,)), ("old", (TEXT,)), ("new", (TEXT,))),
    _function("startsWith", BOOL, library.starts_with, ("text", (TEXT,)), ("start", (TEXT,))),
    _function("endsWith", BOOL, library.ends_with, ("text", (TEXT,)), ("end", (TEXT,))),
    _function(
        "sum",
        lambda arguments: INT if _item(arguments) == INT else NUMBER,
        library.add_up,
        ("numbers", (ListOf(NUMBER),)),
    ),
    _function("min", _item, library.smallest, ("list", _ORDERED)),
    _function("max", _item, library.largest, ("list", _ORDERED)),
    _function("sort", _same, library.sort, ("list", _ORDERED)),
    _function("unique", _same, library.unique, ("list", (LIST,))),
    _function("range", ListOf(INT), library.count_up, ("from", (INT,)), ("to", (INT,)), ("step", (INT,)), optional=2),
    _function("any", BOOL, lambda _, items: any(items), ("list", (ListOf(BOOL),))),
    _function("all", BOOL, lambda _, items: all(items), ("list", (ListOf(BOOL),))),
    _function("day", DATE, library.day, _moment("time"), ("days", (INT,)), optional=1),
    _function(
        "add",
        INSTANT,
        library.add,
        Parameter(name="instant", takes=(INSTANT, TEXT), read_literal=library.read_instant),
        Parameter(name="duration", takes=(DURATION, TEXT), read_literal=times.read_duration),
    ),
    _function(
        "format",
        TEXT,
        library.write_format,
        Parameter(name="time", takes=(DATE, INSTANT, TIME, TEXT), read_literal=library.read_any_time),
        Parameter(name="pattern", takes=(TEXT,), read_literal=check_pattern),
    ),
    _function("days", INT, library.days, _moment("from"), _moment("to")),
)
FUNCTIONS: Final = {function.name: function for function in _ROWS}
FUNCTION_NAMES: Final = (*FUNCTIONS, HAS)
