"""The nodes of a file's tree, and the meaning of plain values.

The results of reading a node are defined here too. YAML readers disagree about values such as `no`, `010` and `1_000`.
Here, a value means what it means in YAML 1.2 and JSON. A value that an older reader would interpret differently is
rejected where that matters; in quotes, it is text for every reader. Numbers that some readers interpret as text
(`1e-5`) are numbers here, as in YAML 1.2 and JSON, but cause a warning (see warnings.py).

`weight` is the number of values that a node expands to; every use of an alias counts, and a long string counts as
several values. `height` is the nesting depth of the lists and maps in a node. Both are limited, so that aliases cannot
multiply values without bound (see tree.py).

Nodes are filled in while the file is read and never changed afterwards. They are not frozen, because freezing them
would take up a third of the time needed to read a large file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from atom_workflows.language.limits import MAX_INTEGER, MIN_INTEGER
from atom_workflows.language.problems import Place, Report, code, in_quotes


@dataclass(slots=True, kw_only=True)
class Scalar:
    """A single value as written.

    `plain` means that it has no quotes, so it may be something other than text.
    """

    text: str
    plain: bool
    line: int
    column: int
    weight: int = 1
    height: int = 0
    alias: Place | None = None


@dataclass(slots=True, kw_only=True)
class Items:
    """A list. `complete` is False if reading stopped inside it."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    complete: bool = True
    weight: int = 1
    height: int = 1
    alias: Place | None = None


@dataclass(slots=True, kw_only=True)
class Entry:
    """A key of a map and its value."""

    key: Scalar
    name: str
    value: Node


@dataclass(slots=True, kw_only=True)
class Fields:
    """A map whose names are unique.

    `complete` is False if reading stopped inside it.
    """

    line: int
    column: int
    entries: dict[str, Entry] = field(default_factory=dict)
    complete: bool = True
    weight: int = 1
    height: int = 1
    alias: Place | None = None

    def get(self, name: str) -> Node | None:
        """Return the value with the given name.

        Returns None if there is none.
        """
        entry = self.entries.get(name)
        return entry.value if entry else None


@dataclass(slots=True, kw_only=True)
class Broken:
    """A value with a problem that has already been reported."""

    line: int
    column: int
    weight: int = 1
    height: int = 0
    alias: Place | None = None


Node: TypeAlias = Scalar | Items | Fields | Broken


# -- values without quotes -------------------------------------------------------------------------------------------


class Unclear(NamedTuple):
    """A value that some readers do not interpret as text.

    `meaning` is how they interpret it, and `remedy` is how to write that meaning unambiguously.
    """

    meaning: str
    remedy: str = ""


Value: TypeAlias = "bool | int | float | str | Unclear | None"

_WORDS: Final[dict[str, Value]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{
        spelled: Unclear(f"{word} for some YAML readers", f"{word} without quotes")
        for word, texts in (("true", ("yes", "on")), ("false", ("no", "off")))
        for text in texts
        for spelled in (text, text.capitalize(), text.upper())
    },
}
_NUMERIC_START: Final = frozenset("0123456789+-.")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:[.][0-9]+|[0-9]+(?:[.][0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_UNCLEAR: Final = (
    (re.compile(r"[-+]?0[0-9_]+"), Unclear("a number that YAML readers disagree about because of its leading 0")),
    (
        re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+|o[0-7]+)"),
        Unclear("a number that only some YAML readers understand"),
    ),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*(?:[.][0-9_]*)?"), Unclear("a number for some YAML readers")),
    (
        re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:[.][0-9]*)?"),
        Unclear("a base-60 number for some YAML readers"),
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9].*)?"), Unclear("a date")),
    (re.compile(r"[-+]?[.](?:inf|Inf|INF)|[.](?:nan|NaN|NAN)"), Unclear("a value that JSON cannot express")),
)
_LONGEST_INTEGER: Final = 20


def resolve(scalar: Scalar) -> Value:  # noqa: PLR0911  # one case per form
    """Return the value that the scalar represents."""
    text = scalar.text
    if not scalar.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if _INTEGER.fullmatch(text):
        # Python refuses to convert numbers with thousands of digits.
        integer = int(text) if len(text) <= _LONGEST_INTEGER else MAX_INTEGER + 1
        return (
            integer
            if MIN_INTEGER <= integer <= MAX_INTEGER
            else Unclear("a whole number that does not fit into 64 bits")
        )
    for pattern, meaning in _UNCLEAR:
        if pattern.fullmatch(text):
            return meaning
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    return number if abs(number) != float("inf") else Unclear("a number too large for 64 bits")


def describe(node: Node) -> str:  # noqa: PLR0911  # one case per type
    """Return the node's type in words, such as "a list"."""
    match node:
        case Items():
            return "a list"
        case Fields():
            return "a map"
        case Broken():
            return "unreadable"
    match resolve(node):
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case Unclear(meaning=meaning):
            return meaning
        case _:
            return "text"


# -- the results of reading a node ------------------------------------------------------------------------------------


class Invalid:
    """The result of reading a value that has been reported as invalid."""


INVALID: Final = Invalid()


class Reading(NamedTuple):
    """The result of reading a map.

    It holds the map's valid values, keyed by the names of the fields, and the map's node. The node also has the entries
    of misspelled fields, under the names that were probably meant.
    """

    node: Fields
    values: dict[str, Any]

    def at(self, *path: str) -> Node:
        """Return a nested field's node, or that of its nearest existing parent."""
        node: Node = self.node
        for name in path:
            node = (node.get(name) if isinstance(node, Fields) else None) or node
        return node


def wrong_type(node: Node, subject: str, wanted: str, remedy: str, report: Report) -> Invalid:
    """Report that the node has the wrong type.

    `subject` is the node's name in the message.
    """
    if is_empty(node):
        report.add(node, f"{subject} is empty", remedy)
    elif isinstance(node, Scalar):
        report.add(node, f"{subject} must be {wanted}, but {code(node.text)} is {describe(node)}", remedy)
    else:
        report.add(node, f"{subject} must be {wanted}, but this is {describe(node)}", remedy)
    return INVALID


def quotes_missing(node: Scalar, subject: str, report: Report) -> Invalid:
    """Report that a value must be quoted to be read as text."""
    return wrong_type(node, subject, "text", f"put it in quotes: {in_quotes(node.text)}", report)


def is_empty(node: Node) -> bool:
    """Return True if the value is missing or null."""
    return isinstance(node, Scalar) and resolve(node) is None
