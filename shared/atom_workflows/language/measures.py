"""Reading durations and numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeGuard

from atom_workflows.core.durations import format_duration, parse_duration, respell_duration
from atom_workflows.language.kinds import Duration, Number
from atom_workflows.language.nodes import Node, Scalar
from atom_workflows.language.problems import Report
from atom_workflows.language.readings import INVALID, Invalid, wrong_type
from atom_workflows.language.scalars import resolve
from atom_workflows.language.wording import code, shorten

_UNITS: Final = "write a number with a unit, such as `30s`, `10m`, `2h`, `1d` or `1h30m`"


def read_duration(kind: Duration, node: Node, path: str, report: Report) -> timedelta | Invalid:
    """Read a duration."""
    text = resolve(node) if isinstance(node, Scalar) else None
    if _is_number(text):
        said = f"{code(path)} is the bare number {code(str(text))}, but a duration has a unit"
        report.add(node, said, _with_unit(str(text)))
        return INVALID
    if not isinstance(text, str):
        return wrong_type(node, code(path), "a duration", _UNITS, report)
    try:
        duration = parse_duration(text)
    except ValueError:
        right = respell_duration(text)
        report.add(node, f"{code(path)} cannot be {code(text)}", f"write `{right}`" if right else _with_unit(text))
        return INVALID
    if duration > kind.maximum or (kind.positive and not duration):
        report.add(node, f"{code(path)} cannot be {code(text)}", _bounds(kind))
        return INVALID
    return duration


def read_number(kind: Number, node: Node, path: str, report: Report) -> float | Invalid:
    """Read a number."""
    noun = "a whole number" if kind.whole else "a number"
    bounds = f"write {noun} from {kind.minimum} to {kind.maximum}"
    value = resolve(node) if isinstance(node, Scalar) else None
    if isinstance(node, Scalar) and isinstance(value, str) and _is_number(resolve(replace(node, plain=True))):
        report.add(node, f"{code(path)} must be {noun}, but {code(value)} is text in quotes", "remove the quotes")
        return INVALID
    if not _is_number(value):
        return wrong_type(node, code(path), noun, bounds, report)
    if kind.minimum <= value <= kind.maximum and (isinstance(value, int) or not kind.whole):
        return value
    report.add(node, f"{code(path)} cannot be {code(str(value))}", bounds)
    return INVALID


def _with_unit(number: str) -> str:
    """The advice for a number without a unit; seconds are what most mean."""
    bare = number.isdecimal() and number.isascii()
    return f"add the unit: `{shorten(number)}s` is seconds, `{shorten(number)}m` minutes" if bare else _UNITS


def _bounds(kind: Duration) -> str:
    least = "a duration of more than 0s and" if kind.positive else "a duration of"
    return f"write {least} at most {format_duration(kind.maximum)}"


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
