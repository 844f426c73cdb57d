"""Messages about mistakes, shared by the checker and the evaluator.

The wording is the same whether the checker finds a mistake in a file or the evaluator finds it in a value. Each
function returns a message and a suggestion, which may be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from atom_workflows.errors import EvaluationError
from atom_workflows.expressions.kinds import (
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NULL,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    Type,
    Words,
    describe,
)
from atom_workflows.expressions.names import did_you_mean

Advice: TypeAlias = tuple[str, str]
Guess: TypeAlias = Callable[[str, Iterable[str]], str]

TIMES: Final = frozenset({DATE, TIME, INSTANT, DURATION})
"""Literal text is converted to one of these types when it is compared with a value of that type."""

NULL_REMEDY: Final = "write `… ?? value`"
NULL_ITEMS_REMEDY: Final = "leave its nulls out: write `[x for x in … if x != null]`"
_NAMES_SHOWN: Final = 8

_OTHER_FUNCTIONS: Final = {
    "contains": "write `part in whole`", "coalesce": "write `a ?? b`", "default": "write `a ?? b`",
    "map": "write `[f(x) for x in xs]`", "filter": "write `[x for x in xs if …]`",
    "now": "expressions have no clock; use `run.scheduledAt`", "today": "write `day(run.scheduledAt)`",
    "success": "leave it out: a step runs only if nothing that it depends on has failed",
    "failure": "write `trigger: any-failed` instead", "always": "write `trigger: always` instead",
    "cancelled": "write a step under `finally` with `when: run.state == 'CANCELLED'`",
    "size": "write `len(…)`", "length": "write `len(…)`", "count": "write `len([x for x in xs if …])`",
    "str": "write `text(…)`", "string": "write `text(…)`", "float": "write `number(…)`", "strip": "write `trim(…)`",
    "strftime": "write `format(…)`", "date": "write `day(…)`", "tojson": "write `json(…)`",
    "if": "write `a if condition else b`", "bool": "write a comparison", "round": "write `int(…)`",
    "random": "expressions are never random", "uuid": "expressions are never random; use `run.id`",
}  # fmt: skip

# Names, members and words of other systems, each with ours. They are suggested where ours exists.
_OTHER_NAMES: Final = {
    "needs": "steps", "jobs": "steps", "tasks": "steps", "inputs": "params", "parameters": "params", "vars": "env",
    "github": "run", "context": "run", "workflow": "run", "dag_run": "run", "matrix": "item", "each": "item",
}  # fmt: skip
OTHER_MEMBERS: Final = {"result": "state", "outcome": "state", "conclusion": "state", "status": "state"}
_OTHER_WORDS: Final = {"success": "SUCCEEDED", "successful": "SUCCEEDED", "failure": "FAILED", "error": "FAILED"}


def refusal(advice: Advice, at: int) -> EvaluationError:
    """Return the error with the given advice."""
    message, suggestion = advice
    return EvaluationError(message, at, suggestion)


def in_words(of: Type) -> str:
    """Return the name of a type as used in messages."""
    return "text" if of in (TEXT, GS_URI) or isinstance(of, Words) else describe(of)


def unknown_function(name: str, names: Iterable[str], guess: Guess = did_you_mean) -> Advice:
    """Report a function that does not exist."""
    return f"there is no function `{name:.60}`", _OTHER_FUNCTIONS.get(name.lower()) or guess(name, names)


def unknown_name(name: str, names: Iterable[str], guess: Guess = did_you_mean) -> Advice:
    """Report a name that does not exist."""
    known = list(names)
    known_in_words = f"the names are {', '.join(known[:_NAMES_SHOWN])}" if known else ""
    suggestion = _suggest(_OTHER_NAMES.get(name), known) or guess(name, known) or known_in_words
    return f"there is no `{name:.60}` here", suggestion


def unknown_member(of: str, name: str, members: Iterable[str], guess: Guess = did_you_mean) -> Advice:
    """Report a member that a value does not have."""
    known = list(members)
    minuend, minus, subtrahend = name.partition("-")
    if minus and minuend in known:
        return (
            f"{_quoted(of)} has no `{name:.60}`",
            f"for a minus sign, add spaces: `{of}.{minuend} - {subtrahend:.60}`",
        )
    message = f"{_quoted(of)} has no `{name:.60}`"
    if not known:  # A guess would be the name of something else.
        return message, ""
    return message, _suggest(OTHER_MEMBERS.get(name), known) or guess(name, known)


def list_members(members: Iterable[str]) -> str:
    """Return the first few members that a value has, as a suggestion.

    Only names that a file declares may be passed: the member names of a value may contain anything.
    """
    known = [f"`{name:.60}`" for name in members]
    more = f" and {len(known) - _NAMES_SHOWN:,} more" if len(known) > _NAMES_SHOWN else ""
    return f"it has {', '.join(known[:_NAMES_SHOWN])}{more}" if known else ""


def unknown_word(word: str, of: str, known: Sequence[str]) -> Advice:
    """Report a word that is not in an enum."""
    advice = _suggest(_OTHER_WORDS.get(word.lower()), known) or did_you_mean(word, known)
    return f"{_quoted(of)} is never `{word:.60}`", advice or f"it is one of {', '.join(known[:_NAMES_SHOWN])}"


def _suggest(name: str | None, known: Sequence[str]) -> str:
    """Return a question that suggests the name, if it is known."""
    return f"did you mean `{name}`?" if name in known else ""


def computed_name(of: str) -> Advice:
    """Report a member whose name is computed."""
    return f"the name of a member of {_quoted(of)} cannot be computed", f"write it out: `{of or 'x'}['name']`"


def may_be_missing(of: str, reason: str, remedy: str) -> Advice:
    """Report a value that may be null or missing."""
    message = f"{_quoted(of)} may be missing, {reason}" if reason else f"{_quoted(of)} may be null"
    return message, f"{NULL_REMEDY}, or {remedy}" if remedy else NULL_REMEDY


def _quoted(of: str) -> str:
    return f"`{of}`" if of else "this value"


def no_members(of: str, kind: Type) -> Advice:
    """Report access to a member of a value that has no members."""
    if kind == NULL:
        return f"{_quoted(of)} is null", NULL_REMEDY
    if isinstance(kind, ListOf):
        name = of or "…"
        return f"{_quoted(of)} is {describe(kind)} and has no members", f"write `{name}[0]`, or `[x.… for x in {name}]`"
    return f"{_quoted(of)} is {in_words(kind)} and has no members", ""


def no_index(of: str, kind: Type, index: Type) -> Advice:
    """Report an index of the wrong type."""
    wanted = "text" if isinstance(kind, MapOf) else "a whole number"
    return f"the index of {_quoted(of)} must be {wanted}, not {in_words(index)}", ""


def no_item(of: str, count: int) -> Advice:
    """Report an index that is out of range."""
    return f"{_quoted(of)} has {count} items, so this index is out of range", "the first item is `[0]`, the last `[-1]`"


def no_condition(kind: Type) -> Advice:
    """Report a condition that is neither true nor false."""
    if kind == TEXT:
        remedy = "write `… != ''`, or `… == 'true'`"
    elif kind in (INT, NUMBER):
        remedy = "write `… != 0`"
    elif isinstance(kind, ListOf | MapOf):
        remedy = "write `len(…) > 0`"
    else:
        remedy = NULL_REMEDY if kind == NULL else "write a comparison"
    return f"a condition must be true or false, not {in_words(kind)}", remedy


def never_equal(left: Type, right: Type) -> Advice:
    """Report a comparison of two types that are never equal."""
    first, second = sorted((_family(left), _family(right)), key=lambda kind: kind != TEXT)
    return f"{in_words(first)} is never equal to {in_words(second)}", _bridge(first, second)


def no_order(left: Type, right: Type) -> Advice:
    """Report an ordered comparison of two values that cannot be ordered."""
    first, second = _family(left), _family(right)
    if NULL in (first, second):
        return "null cannot be ordered", NULL_REMEDY
    if first == second:
        return f"{in_words(first)} cannot be ordered", ""
    return f"{in_words(first)} and {in_words(second)} cannot be ordered", _bridge(first, second)


def no_container(right: Type) -> Advice:
    """Report an `in` followed by a value that cannot contain anything."""
    return f"`in` works on lists, text and maps, not on {in_words(right)}", ""


def never_in(left: Type, right: Type) -> Advice:
    """Report a value that a string or map can never contain."""
    return f"{in_words(_family(left))} is never in {in_words(right)}", _bridge(TEXT, _family(left))


def no_list(of: Type) -> Advice:
    """Report a `for` over a value that is not a list."""
    return f"`for` iterates over a list, not {in_words(of)}", NULL_REMEDY if of == NULL else ""


def argument_remedy(of: Type, takes: Sequence[Type]) -> str:
    """Return a suggestion for an argument that a function does not accept."""
    if of == NULL:
        return NULL_REMEDY
    if of == NUMBER and INT in takes:
        return "write `//` or `int(…)`"
    if of == DATE and INSTANT in takes:
        return "use `day(…, 1)` to shift a date"
    if tuple(takes) == (TEXT,) and of in (INT, NUMBER, BOOL, *TIMES):
        return "write `text(…)`"
    return ""


def no_operation(operator: str, left: Type, right: Type) -> Advice:
    """Report an operator applied to types that it does not support."""
    takes = "numbers, text or lists" if operator == "+" else "numbers"
    first, second = _family(left), _family(right)
    kinds = {first, second}
    remedy = ""
    if NULL in kinds:
        remedy = NULL_REMEDY
    elif operator == "-" and kinds <= {DATE, INSTANT}:
        remedy = "write `days(from, to)`"
    elif kinds & TIMES and operator in "+-":
        remedy = "write `day(…, 1)` or `add(…, '2h')`"
    elif TEXT in kinds and operator == "+" and len(kinds) > 1:
        remedy = "write `text(…)`" if not any(isinstance(kind, ListOf | MapOf) for kind in kinds) else "write `json(…)`"
    elif TEXT in kinds and kinds <= {TEXT, NUMBER}:
        remedy = "write `int(…)`"
    if first == second:
        return f"`{operator}` takes {takes}, not {in_words(first)}", remedy
    return f"`{operator}` takes {takes}, not {in_words(first)} and {in_words(second)}", remedy


def no_insertion(kind: Type) -> Advice:
    """Report a value that cannot be inserted into text."""
    remedy = NULL_REMEDY if kind == NULL else "use `json(…)`"
    return f"{in_words(kind)} cannot be inserted into text", remedy


def _family(of: Type) -> Type:
    return NUMBER if of == INT else TEXT if in_words(of) == "text" else of


def _bridge(first: Type, second: Type) -> str:
    """Suggest how to convert one type to another."""
    kinds = {first, second}
    if kinds == {TEXT, NUMBER}:
        return "convert one of them, for example with `int(…)`"
    if kinds == {TEXT, BOOL}:
        return "write true and false without quotes"
    if kinds == {DATE, INSTANT}:
        return "convert the instant to a date: `day(…)`"
    if kinds == {TEXT, DATE}:
        return "convert the text to a date: `day(…)`"
    if kinds == {TEXT, INSTANT}:
        return "convert the text to an instant: `add(…, '0s')`"
    return ""
