"""Bind the values given for a run's parameters to their declarations.

Values are bound once and for all when the run starts. A bound value is JSON and has the parameter's type, however the
run was started. Text from the command line is first converted to that type (`read_options`); every other source has to
send values of the right type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atom_workflows.core.workflow import JsonValue, Param, Template
from atom_workflows.errors import EvaluationError, InvalidParams, ValueMismatch
from atom_workflows.expressions.budget import Budget
from atom_workflows.expressions.names import did_you_mean
from atom_workflows.expressions.syntax import reads
from atom_workflows.expressions.templates import parse_template, render
from atom_workflows.expressions.types import (
    BOOL,
    INT,
    NUMBER,
    ListOf,
    MapOf,
    OrNull,
    Scalar,
    Type,
    Value,
    describe,
    read_value,
    write_value,
)

MAX_BYTES: Final = 100_000
"""The maximum total size of all values as JSON; more would not fit into a start message."""

_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_FLAGS: Final = {"true": True, "false": False}
_VERBS: Final = {"min": "required", "max": "allowed"}
_WORDS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The values of a run's parameters as JSON, and which are defaults."""

    values: Mapping[str, JsonValue]
    defaults: frozenset[str] = frozenset()


def bind(
    params: Sequence[Param],
    given: Mapping[str, Any],
    *,
    run: Mapping[str, Any],
    zone: str = "UTC",
    leave_out: Collection[str] = (),
) -> Bound:
    """Bind the given JSON values to the parameters, and fill in defaults.

    `run` holds the values of `run.*` that defaults may read, and `zone` is the workflow's time zone. The parameters in
    `leave_out` are skipped, because problems have already been found in them. Raises InvalidParams with every problem.
    """
    names = [param.name for param in params]
    known = f"the params are {', '.join(names)}" if names else "the workflow has no params"
    unknown = [name for name in given if name not in names]
    problems = [f"there is no param `{name:.60}`; {did_you_mean(name, names) or known}" for name in unknown]
    values: dict[str, Value] = {}
    scope, budget = {"run": run, "params": values}, Budget()
    for param in params:
        if param.name in leave_out:
            continue
        try:
            value: Any = _bind_one(param, given, scope, zone, budget)
        except ValueMismatch as error:
            problems.append(_as_sentence(param, error))
            continue
        if value is not _UNKNOWN:
            values[param.name] = value
            problems += [f"`params.{param.name}` {breach}" for breach in find_breaches(value, param, zone)]
    bound = {name: write_value(value) for name, value in values.items()}
    size = len(json.dumps(bound, ensure_ascii=False).encode("utf-8", "replace"))
    if size > MAX_BYTES:
        problems.append(f"the params are {size:,} bytes as JSON, more than the {MAX_BYTES:,} allowed")
    if problems:
        raise InvalidParams(tuple(problems))
    return Bound(values=bound, defaults=frozenset(bound) - given.keys())


def read_options(params: Sequence[Param], texts: Mapping[str, str]) -> dict[str, JsonValue]:
    """Convert `--param NAME=TEXT` options to JSON values of the declared types.

    The text for an undeclared name is left unchanged; `bind` reports the name. Raises InvalidParams with every problem.
    """
    by_name = {param.name: param for param in params}
    problems: list[str] = []
    values: dict[str, JsonValue] = {}
    for name, text in texts.items():
        try:
            values[name] = read_option(text, by_name[name].type) if name in by_name else text
        except ValueMismatch as error:
            problems.append(_as_sentence(by_name[name], error))
    if problems:
        raise InvalidParams(tuple(problems))
    return values


def read_option(text: str, type: Type) -> JsonValue:  # noqa: A002  # the natural name
    """Convert text to a JSON value of the type. Raises ValueMismatch.

    Lists, maps and values of type `any` must be written as JSON.
    """
    if isinstance(type, OrNull):
        return None if text == "null" else read_option(text, type.of)
    shown = f"is `{text:.60}`, which is not {describe(type)}"
    if type == INT:
        return int(_require(_WHOLE.fullmatch(text), shown))
    if type == NUMBER:
        number = _require(_NUMBER.fullmatch(text), shown)
        return int(number) if _WHOLE.fullmatch(number) else float(number)
    if type == BOOL:
        if text not in _FLAGS:
            raise ValueMismatch("", shown, "write true or false")
        return _FLAGS[text]
    if isinstance(type, ListOf | MapOf) or type == Scalar("any"):
        try:
            value: JsonValue = json.loads(text)
        except (ValueError, RecursionError):
            example = """'["a", "b"]'""" if isinstance(type, ListOf) else """'{"a": 1}'"""
            advice = f"write it as JSON: {example}"
            if isinstance(type, Scalar):
                advice = """even text must be written as JSON: '"text"'"""
            raise ValueMismatch("", f"is `{text:.60}`, which is not JSON", advice) from None
        return value
    return text


def find_breaches(value: Value, param: Param, zone: str = "UTC") -> Iterator[str]:
    """Yield a description of each constraint that the value breaks.

    Example: `is 128, but at most 64 is allowed`.
    """
    if value is None:
        return
    inner = param.type.of if isinstance(param.type, OrNull) else param.type
    shown = write_value(value)
    for name, limit in param.limits.items():
        if name == "enum" and isinstance(limit, Sequence):
            allowed = [read_value(one, inner, zone=zone) for one in limit]
            if value not in allowed:
                words = [str(one) for one in limit]
                near = did_you_mean(str(shown), words)
                named = ", ".join(words[:_WORDS_SHOWN]) + (", …" if len(words) > _WORDS_SHOWN else "")
                yield f"is `{shown!s:.60}`, not one of {named}" + (f"; {near}" if near else "")
        elif name in ("min", "max"):
            bound: Any = read_value(limit, inner, zone=zone)
            if value < bound if name == "min" else value > bound:
                yield f"is {shown}, but at {'least' if name == 'min' else 'most'} {limit} is {_VERBS[name]}"
        elif isinstance(limit, int) and isinstance(value, str | list):
            too_few = name.startswith("min") and len(value) < limit
            if too_few or (name.startswith("max") and len(value) > limit):
                noun = ("character" if isinstance(value, str) else "item") + ("" if len(value) == 1 else "s")
                bounds = f"at {'least' if too_few else 'most'} {limit:,} {'is' if limit == 1 else 'are'}"
                yield f"has {len(value):,} {noun}, but {bounds} {_VERBS[name[:3]]}"


_UNKNOWN: Final = object()
"""Marks a parameter whose default reads a parameter that was reported as invalid."""


def _bind_one(
    param: Param, given: Mapping[str, Any], scope: Mapping[str, Any], zone: str, budget: Budget
) -> Value | object:
    if param.name in given:
        return read_value(given[param.name], param.type, zone=zone)
    if param.required:
        raise ValueMismatch("", "is required")
    if not isinstance(param.default, Template):
        return read_value(param.default, param.type, zone=zone)
    template = parse_template(param.default.text)
    read = {path for placeholder in template.placeholders for path in reads(placeholder.expression)}
    if any(root == "params" and members and members[0] not in scope["params"] for root, *members in read):
        return _UNKNOWN
    try:
        value = render(template, scope, zone=zone, budget=budget)
    except EvaluationError as error:
        raise ValueMismatch("", f"has a default that cannot be computed: {error.message}", error.suggestion) from error
    return read_value(value, param.type, zone=zone)


def _as_sentence(param: Param, error: ValueMismatch) -> str:
    sentence = f"`params.{param.name}{error.path}` {error.message}"
    return f"{sentence}; {error.suggestion}" if error.suggestion else sentence


def _require(found: re.Match[str] | None, otherwise: str) -> str:
    if found is None:
        raise ValueMismatch("", otherwise)
    return found[0]
