"""Parameters as the file declares them.

Their types, constraints and defaults are checked against one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from atom_workflows.core.params import find_breaches
from atom_workflows.core.workflow import JsonValue, Param, Template
from atom_workflows.errors import TypeNotationError, ValueMismatch
from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    TIME,
    ListOf,
    MapOf,
    OrNull,
    Type,
    Value,
    Words,
    describe,
    or_null,
    read_type,
    read_value,
    write_value,
)
from atom_workflows.language.embedded import OPENING, Embedded, read_embedded
from atom_workflows.language.limits import MAX_CHOICES
from atom_workflows.language.nodes import (
    INVALID,
    Broken,
    Fields,
    Invalid,
    Items,
    Node,
    Reading,
    Scalar,
    Unclear,
    is_empty,
    resolve,
)
from atom_workflows.language.problems import Report, code, in_quotes
from atom_workflows.language.secrets import find_secret

_ORDERED: Final = (INT, NUMBER, DATE, TIME, INSTANT, DURATION)
_TIMES: Final = (DATE, TIME, INSTANT, DURATION)
_LISTS: Final = "a list"
_MEASURED: Final[Mapping[str, tuple[tuple[Type, ...], str]]] = {
    "enum": ((TEXT, GS_URI, *_ORDERED), "text, a number or a time"),
    "min": (_ORDERED, "a number or a time"),
    "max": (_ORDERED, "a number or a time"),
    "minLength": ((TEXT, GS_URI), "text"),
    "maxLength": ((TEXT, GS_URI), "text"),
    "minItems": ((), _LISTS),
    "maxItems": ((), _LISTS),
}
"""The types that each constraint applies to, and their description in messages."""

_BY_CLASS: Final[Mapping[type, Type]] = {bool: BOOL, int: INT, float: NUMBER, str: TEXT}
_STEP: Final = re.compile(r"\[(\d+)\]|\.([^.\[]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A parameter that the file declares.

    It comes with the node that contains its name, and with its default expression, if any.
    """

    param: Param
    key: Scalar
    default: Embedded | None = None

    @property
    def visible_type(self) -> Type:
        """The parameter's type in expressions.

        For a string with an `enum`, it lists the allowed words.
        """
        allowed = self.param.limits.get("enum")
        of = self.param.type
        inner = of.of if isinstance(of, OrNull) else of
        if inner != TEXT or not isinstance(allowed, list):
            return of
        words = Words(tuple(str(word) for word in allowed))
        return or_null(words) if isinstance(of, OrNull) else words


def declare_params(
    read: Mapping[str, tuple[Scalar, Reading | Node]], zone: str, report: Report
) -> tuple[Declared, ...]:
    """Return the parameters that were read, and report invalid values."""
    found = (
        _declare(name, key, value, zone, report)
        if isinstance(value, Reading)
        else _declare_short(name, key, value, report)
        for name, (key, value) in read.items()
    )
    return tuple(one for one in found if one is not None)


def _declare_short(name: str, key: Scalar, node: Node, report: Report) -> Declared | None:
    """Declare a parameter for which only a default is given."""
    subject = code(f"params.{name}")
    if not isinstance(node, Scalar):
        return None
    if OPENING in node.text:
        report.add(
            node, f"the default of {subject} contains an expression, so its type must be given", _in_full(node, "text")
        )
        return None
    value = resolve(node)
    if isinstance(value, Unclear):
        of = next((of for of in _TIMES if _fits(node.text, of)), None)
        remedy = _in_full(node, str(of.name)) if of else f"put it in quotes: {in_quotes(node.text)}"
        report.add(node, f"{subject} cannot be {code(node.text)}: it is {value.meaning}", remedy)
        return None
    if isinstance(value, str) and _is_type(value):
        said = f"the default of {subject} is the text {code(value)}, which is also the name of a type"
        report.add(
            node, said, f"write {code(f'{{type: {value}}}')}, or, if you mean the text, {_in_full(node, 'text')[6:]}"
        )
        return None
    _refuse_secret(node, subject, report)
    param = Param(name=name, type=_BY_CLASS[type(value)], required=False, default=value)
    return Declared(key=key, param=param)


def _declare(name: str, key: Scalar, reading: Reading, zone: str, report: Report) -> Declared | None:
    of, default = reading.values.get("type"), reading.values.get("default")
    embedded: Embedded | str | Invalid | None = None
    if isinstance(default, Scalar) and OPENING in default.text:
        report.via = default.alias
        embedded = read_embedded(default, report)
        report.via = None
    if of is None:
        # The type has been reported; what the expression of the default reads and calls is checked without it.
        param = Param(name=name, type=ANY, required=False)
        return Declared(key=key, param=param, default=embedded) if isinstance(embedded, Embedded) else None
    subject = f"params.{name}"
    if default is not None and is_empty(default):
        of = or_null(of)
    param = Param(
        name=name,
        type=of,
        required="default" not in reading.node.entries,
        description=reading.values.get("description", ""),
        limits=dict(_read_limits(reading, of, subject, zone, report)),
    )
    if default is None:
        return Declared(key=key, param=param)
    if isinstance(embedded, Invalid):
        return Declared(key=key, param=param)
    if isinstance(default, Scalar) and isinstance(embedded, Embedded):
        place = report.place(default, 0)
        template = Template(path=(), text=default.text, line=place.line, column=place.column)
        return Declared(key=key, param=replace(param, default=template), default=embedded)
    if isinstance(default, Scalar) and isinstance(embedded, str):
        default = replace(default, text=embedded)
    value = read_typed(default, of, f"{subject}.default", zone, report)
    if isinstance(value, Invalid):
        return Declared(key=key, param=param)
    for breach in find_breaches(value, param, zone):
        report.add(default, f"the default {breach}", "change the default or the constraint")
    return Declared(key=key, param=replace(param, default=write_value(value)))


def _read_limits(
    reading: Reading, of: Type, subject: str, zone: str, report: Report
) -> Iterator[tuple[str, JsonValue]]:
    inner = of.of if isinstance(of, OrNull) else of
    found: dict[str, Any] = {}
    for name, (types, nouns) in _MEASURED.items():
        value = reading.values.get(name)
        if value is None:
            continue
        if not (isinstance(inner, ListOf) if nouns is _LISTS else inner in types):
            entry = reading.node.entries[name]
            report.add(
                entry.key,
                f"{code(name)} applies only to {nouns}, but {code(subject)} is {describe(inner)}",
                "remove it",
            )
        elif name == "enum":
            value = _read_choices(value, inner, f"{subject}.enum", zone, report)
            if value:
                yield name, value
        else:
            typed = value if isinstance(value, int) else read_typed(value, inner, f"{subject}.{name}", zone, report)
            if not isinstance(typed, Invalid):
                found[name] = typed
                yield name, write_value(typed)
    for least, most in (("min", "max"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if least in found and most in found and found[least] > found[most]:
            report.add(reading.at(most), f"{code(most)} is less than {code(least)}", "no value can satisfy both")


def _read_choices(node: Node, of: Type, path: str, zone: str, report: Report) -> list[JsonValue]:
    if not isinstance(node, Items) or not node.items:
        report.add(node, f"{code(path)} must be a list of values", "write it as `[a, b]`")
        return []
    if len(node.items) > MAX_CHOICES:
        said = f"{code(path)} has {len(node.items):,} values, more than the {MAX_CHOICES:,} allowed"
        report.add(node.items[MAX_CHOICES], said, "let the job check the value")
        return []
    values: list[JsonValue] = []
    for item in node.items:
        value = read_typed(item, of, path, zone, report)
        if not isinstance(value, Invalid):
            if write_value(value) in values:
                report.add(item, f"{code(str(write_value(value)))} is listed twice", "remove one of them")
            values.append(write_value(value))
    return values


def read_typed(node: Node, of: Type, path: str, zone: str, report: Report) -> Value | Invalid:
    """Read a value of the given type.

    Report anything that does not match the type.
    """
    value = _as_json(node, of, path, report)
    if isinstance(value, Invalid):
        return INVALID
    try:
        return read_value(value, of, zone=zone)
    except ValueMismatch as error:
        message = f"{code(path + error.path)} {error.message}"
        report.add(_follow(node, error.path), message, error.suggestion.replace("send ", "write "))
        return INVALID


def _as_json(node: Node, of: Type, path: str, report: Report) -> Any:
    """Return the node's value as JSON.

    If the type is a time, an unquoted value is read as written.
    """
    inner = of.of if isinstance(of, OrNull) else of
    match node:
        case Items():
            item = inner.item if isinstance(inner, ListOf) else ANY
            values = [_as_json(child, item, path, report) for child in node.items]
            return INVALID if INVALID in values else values
        case Fields():
            types = inner.fields if isinstance(inner, MapOf) else {}
            members = {
                name: _as_json(entry.value, types.get(name, ANY), path, report) for name, entry in node.entries.items()
            }
            return INVALID if INVALID in members.values() else members
        case Broken():
            return INVALID
    return _as_json_scalar(node, inner, path, report)


def _as_json_scalar(node: Scalar, of: Type, path: str, report: Report) -> Any:
    value = resolve(node)
    if isinstance(value, str) and OPENING in value:
        embedded = read_embedded(node, report)
        if isinstance(embedded, Embedded):
            said = f"expressions are not allowed inside {code(path)}"
            report.add(
                node.alias or report.place(node, 0), said, "make the whole value one expression: `${{ [a, b] }}`"
            )
        return embedded if isinstance(embedded, str) else INVALID
    if value is not None and of in _TIMES and node.plain:
        return node.text
    if isinstance(value, Unclear):
        report.add(node, f"in {code(path)}, {code(node.text)} is {value.meaning}", f"write {in_quotes(node.text)}")
        return INVALID
    if isinstance(value, str):
        _refuse_secret(node, code(path), report)
    return value


def _follow(node: Node, path: str) -> Node:
    """Return the node at a path such as `[3].name`.

    If it does not exist, return its nearest existing parent.
    """
    for step in _STEP.finditer(path):
        found: Node | None = None
        if isinstance(node, Items) and step[1] and int(step[1]) < len(node.items):
            found = node.items[int(step[1])]
        elif isinstance(node, Fields) and step[2]:
            found = node.get(step[2])
        if found is None:
            return node
        node = found
    return node


def _refuse_secret(node: Scalar, subject: str, report: Report) -> None:
    if kind := find_secret(node.text):
        said = f"{subject} looks like {kind}, and secrets do not belong in the file"
        report.add(node, said, "give the name of a secret; the job reads the secret itself")


def _in_full(node: Scalar, type_name: str) -> str:
    return f"write {code(f'{{type: {type_name}, default: {in_quotes(node.text)}}}')}"


def _fits(text: str, of: Type) -> bool:
    try:
        read_value(text, of, zone="UTC")
    except ValueMismatch:
        return False
    return True


def _is_type(text: str) -> bool:
    try:
        read_type(text)
    except TypeNotationError:
        return False
    return True
