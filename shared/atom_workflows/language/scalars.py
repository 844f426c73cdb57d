"""What a value without quotes means.

Readers of YAML disagree about `no`, `010` or `1_000`. Here a value means what YAML 1.2 and JSON say, and one that
an older reader would take otherwise is refused where it matters: in quotes it is text for everybody. Numbers that some
readers take for text (`1e-5`) are numbers, as YAML 1.2 and JSON have it, with a warning (see warnings.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from atom_workflows.language.limits import MAX_INTEGER, MIN_INTEGER
from atom_workflows.language.nodes import Broken, Fields, Items, Node, Scalar


@dataclass(frozen=True, slots=True)
class Unclear:
    """A value that is not text for every reader; `meaning` says what else it is, `remedy` what to write if meant."""

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
    (re.compile(r"[-+]?0[0-9_]+"), Unclear("a number that readers take differently for its leading 0")),
    (
        re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+|o[0-7]+)"),
        Unclear("a number that only some readers take"),
    ),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*(?:[.][0-9_]*)?"), Unclear("a number for some YAML readers")),
    (
        re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:[.][0-9]*)?"),
        Unclear("a number to the base 60 for some readers"),
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9].*)?"), Unclear("a date")),
    (re.compile(r"[-+]?[.](?:inf|Inf|INF)|[.](?:nan|NaN|NAN)"), Unclear("not a number that JSON has")),
)
_LONGEST_INTEGER: Final = 20


def resolve(scalar: Scalar) -> Value:
    """What the value means."""
    text = scalar.text
    if not scalar.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMERIC_START else text


def _number(text: str) -> Value:
    if _INTEGER.fullmatch(text):
        return _integer(text)
    for pattern, meaning in _UNCLEAR:
        if pattern.fullmatch(text):
            return meaning
    return _float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> Value:
    too_large = Unclear("a whole number of more than 64 bits")
    if len(text) > _LONGEST_INTEGER:
        return too_large
    number = int(text)
    return number if MIN_INTEGER <= number <= MAX_INTEGER else too_large


def _float(text: str) -> Value:
    number = float(text)
    return number if abs(number) != float("inf") else Unclear("a number too large for 64 bits")


def describe(node: Node) -> str:
    """What the node is, as in "must be text, but this is a list"."""
    match node:
        case Items():
            return "a list"
        case Fields():
            return "a map"
        case Broken():
            return "unreadable"
        case Scalar():
            return _describe_value(resolve(node))


def _describe_value(value: Value) -> str:
    match value:
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
