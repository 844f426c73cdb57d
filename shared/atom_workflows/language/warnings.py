"""Warn about valid values that may be unintended.

They are valid in YAML 1.2, but may not mean what was intended or may not be sent exactly as written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from atom_workflows.language.nodes import Fields, Items, Node, Reading, Scalar, resolve
from atom_workflows.language.problems import Report, code, in_quotes
from atom_workflows.language.secrets import find_secret

_NUMERIC_START: Final = frozenset("0123456789+-.")

# In YAML 1.1, which PyYAML follows, a fraction needs a dot and an exponent needs a sign.
_FRACTION_IN_YAML_1_1: Final = re.compile(r"[-+]?[0-9]+[.][0-9]*(?:[eE][-+][0-9]+)?|[.][0-9]+(?:[eE][-+][0-9]+)?")
_LIKE_A_NUMBER: Final = re.compile(r"[-+.0-9][0-9_.:]*(?:[eE][-+]?[0-9_]+)?|[-+]?0o[0-7_]*")
_PARTS: Final = re.compile(r"([-+]?)([0-9]*)[.]?([0-9]*)(?:[eE]([-+]?)([0-9]+))?")


def warn_of_doubts(steps: Sequence[Reading], report: Report) -> None:
    """Warn about ambiguous numbers in tasks and loops, and about lost digits.

    A number is ambiguous if some YAML readers interpret it as text.
    """
    for scalar in _scalars_passed_on(steps):
        if scalar.plain and scalar.text[:1] in _NUMERIC_START:
            _check_number(scalar, report)


def warn_of_secrets(steps: Sequence[Reading], report: Report) -> None:
    """Warn about strings in tasks and loops that look like secrets."""
    for scalar in _scalars_passed_on(steps):
        if kind := find_secret(scalar.text):
            said = f"this looks like {kind}, and secrets do not belong in the file"
            report.warn(scalar, said, "give the name of a secret; the job reads the secret itself")


def _scalars_passed_on(steps: Sequence[Reading]) -> Iterator[Scalar]:
    """Yield the values that are passed on to jobs, as written."""
    for step in steps:
        for node in map(step.node.get, ("task", "forEach")):
            if node is not None:
                yield from _walk_scalars(node)


def _walk_scalars(root: Node) -> Iterator[Scalar]:
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Scalar):
            yield node
        elif isinstance(node, Items):
            pending += node.items
        elif isinstance(node, Fields):
            pending += [entry.value for entry in node.entries.values()]


def _check_number(scalar: Scalar, report: Report) -> None:
    value, text = resolve(scalar), scalar.text
    if isinstance(value, str) and "_" in text and _LIKE_A_NUMBER.fullmatch(text):
        said = f"{code(text)} is text here, but a number for some YAML readers"
        report.warn(scalar, said, f"put it in quotes: {in_quotes(text)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    in_json = json.dumps(value)
    if isinstance(value, float) and not _FRACTION_IN_YAML_1_1.fullmatch(text):
        said = f"{code(text)} is the number {code(in_json)} here, but text for some YAML readers"
        clearly = _spell_clearly(text)
        also = f"; if you mean the number, write {code(clearly)}" if float(clearly) == value else ""
        report.warn(scalar, said, f"if you mean the text, put it in quotes: {in_quotes(text)}{also}")
    elif _loses_digits(text, value):
        said = f"{code(text)} is sent as the number {code(in_json)}"
        number = in_json if isinstance(value, int) else _spell_clearly(in_json)
        report.warn(
            scalar,
            said,
            f"if you mean the text, put it in quotes: {in_quotes(text)}; if you mean the number, write {code(number)}",
        )


def _spell_clearly(text: str) -> str:
    """Return the number in a form that YAML 1.1 also recognizes."""
    sign, whole, fraction, exponent_sign, exponent = _PARTS.fullmatch(text).groups()  # type: ignore[union-attr]  # a number
    power = f"e{exponent_sign or '+'}{exponent}" if exponent else ""
    return f"{sign.replace('+', '')}{whole or '0'}.{fraction or '0'}{power}"


def _loses_digits(text: str, value: float) -> bool:
    """Return True if the number loses part of its spelling when sent.

    It may lose a plus sign, a trailing zero or digits beyond 64-bit precision. A common case is a version: `3.10`
    arrives as 3.1.
    """
    if isinstance(value, int):
        return str(value) != text
    _, _, fraction, _, exponent = _PARTS.fullmatch(text).groups()  # type: ignore[union-attr]  # it is a number
    last_zero = not exponent and len(fraction) > 1 and fraction.endswith("0")
    return text.startswith("+") or last_zero or Decimal(text) != Decimal(repr(value))
