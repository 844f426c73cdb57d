"""Read single values according to the kinds of their fields.

The kinds are text, words, flags, time zones, durations and numbers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import time, timedelta
from functools import cache
from typing import Any, Final, TypeGuard

from atom_workflows.core.durations import format_duration, parse_duration, respell_duration
from atom_workflows.errors import CronError
from atom_workflows.language.embedded import OPENING, Embedded, read_embedded
from atom_workflows.language.kinds import Choice, Duration, Number, Text
from atom_workflows.language.nodes import (
    INVALID,
    Broken,
    Invalid,
    Node,
    Scalar,
    is_empty,
    quotes_missing,
    resolve,
    wrong_type,
)
from atom_workflows.language.problems import Report, code, shorten
from atom_workflows.language.suggestions import Names, fold_spelling, names_of

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
"""Control characters: C0, DEL and C1."""


def read_text(kind: Text, node: Node, subject: str, report: Report) -> str | Embedded | Invalid:
    """Read text, including its expressions if `kind` allows them.

    `subject` is the value's name in messages.
    """
    if isinstance(node, Broken):
        return INVALID
    if not isinstance(node, Scalar) or is_empty(node):
        return wrong_type(node, subject, "text", kind.when_empty, report)
    text = resolve(node)
    if not isinstance(text, str):
        return quotes_missing(node, subject, report)
    if kind.expressions and OPENING in text:
        value = read_embedded(node, report)
        if not isinstance(value, str):
            return value
        text = value
    wrong = find_fault(kind, text)
    if wrong is None:
        return text
    report.add(node, f"{subject} {wrong[0]}", wrong[1])
    return INVALID


def read_choice(kind: Choice, node: Node, path: str, report: Report) -> str | Invalid:
    """Read one of a fixed set of words."""
    allowed = " or ".join(code(word) for word in kind.words)
    if not isinstance(node, Scalar) or is_empty(node):
        return wrong_type(node, code(path), "a word", f"write {allowed}", report)
    if node.text in kind.words:
        return node.text
    folded = fold_spelling(node.text)
    near = kind.foreign.get(folded) or report.nearest(node.text, names_of(kind.words))
    suggestion = f"did you mean {code(near)}?" if near else f"write {allowed}"
    report.add(node, f"{code(path)} cannot be {code(node.text)}", suggestion)
    return INVALID


def read_flag(node: Node, path: str, report: Report) -> bool | Invalid:
    """Read true or false."""
    value = resolve(node) if isinstance(node, Scalar) else None
    if isinstance(value, bool):
        return value
    return wrong_type(node, code(path), "true or false", "write `true` or `false` without quotes", report)


def read_zone(node: Node, path: str, report: Report) -> str | Invalid:
    """Read the name of a time zone."""
    from atom_workflows.expressions.times import find_zone  # noqa: PLC0415 (only some files name a zone)

    if isinstance(node, Scalar) and _OFFSET.fullmatch(node.text):
        said = f"{code(path)} must be the name of a time zone, but {code(node.text)} is an offset"
        report.add(node, said, _LIKE_ZONES)
        return INVALID
    name = read_text(Text(max_length=100), node, code(path), report)
    if not isinstance(name, str):
        return INVALID
    try:
        find_zone(name)
        is_known = name not in _NOT_EVERYWHERE and not name.startswith(("posix/", "right/"))
    except ValueError:
        is_known = False
    if not is_known:
        near = report.nearest(name, _zones())
        near = near or next((zone for zone in _zone_names() if zone.lower().endswith(f"/{name.lower()}")), None)
        remedy = f"did you mean {code(near)}?" if near else _LIKE_ZONES
        report.add(node, f"there is no time zone {code(name)}", remedy)
        return INVALID
    return name


def read_cron_field(node: Node, path: str, report: Report) -> str | Invalid:
    """Read a cron expression and normalize its whitespace."""
    from atom_workflows.core.cron import read_cron  # noqa: PLC0415 (only files with schedules need it)

    if not isinstance(node, Scalar) or is_empty(node) or not isinstance(resolve(node), str):
        return wrong_type(node, code(path), "a cron expression", "write five fields, such as `30 2 * * 1-5`", report)
    try:
        return read_cron(node.text)
    except CronError as error:
        report.add(node, f"{code(path)} {error.message}", error.suggestion)
        return INVALID


def read_time_of_day(node: Node, path: str, report: Report) -> time | Invalid:
    """Read a time of day.

    Some YAML readers interpret it as a number if it is not in quotes.
    """
    from atom_workflows.expressions.times import read_time  # noqa: PLC0415 (only some files have times)

    try:
        if isinstance(node, Scalar) and not is_empty(node):
            return read_time(node.text).replace(microsecond=0)
    except ValueError:
        pass
    return wrong_type(node, code(path), "a time of day", 'write hours and minutes, such as `"06:00"`', report)


@cache
def _zones() -> Names:
    return Names(_zone_names())


@cache
def _zone_names() -> list[str]:
    from zoneinfo import available_timezones  # noqa: PLC0415 (only needed for advice, and slow to load)

    return sorted(available_timezones() - _NOT_EVERYWHERE)


_OFFSET: Final = re.compile(r"(UTC|GMT)?[+-]\d\d?(:?\d\d)?")
_LIKE_ZONES: Final = "time zones have names such as `Europe/Paris`"

_NOT_EVERYWHERE: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Names that exist only on some machines, or that refer to different zones on different machines."""


def find_fault(kind: Text, text: str) -> tuple[str, str] | None:
    """Find what is wrong with the text.

    Returns the fault and advice on it, or None if the text is valid.
    """
    if len(text) > kind.max_length:
        return f"has {len(text):,} characters, more than the {kind.max_length:,} allowed", "shorten it"
    if len(text) < kind.min_length:
        return "is empty", kind.when_empty
    # str.isprintable alone would also refuse rare kinds of spaces.
    if not kind.multiline and not text.isprintable() and _CONTROL.search(text):
        return f"contains a line break or control character: {code(text)}", "remove it"
    if _matches(kind, text):
        return None
    advice = f"use only {kind.rule}"
    instead = kind.respell(text)[: kind.max_length] if kind.respell else ""
    if instead and _matches(kind, instead):
        display = kind.display if " " in text or not text.isascii() else ""
        advice = f"write {code(instead)}{display}; use only {kind.rule}"
    return f"cannot be {code(text)}", advice


def _matches(kind: Text, text: str) -> bool:
    allowed = kind.pattern is None or _compile(kind.pattern).fullmatch(text)
    return bool(allowed) and not (kind.forbidden and _compile(kind.forbidden).fullmatch(text))


# There are only a few patterns, and looking one up in the cache of `re` takes longer than most matches.
_compile: Final = cache(re.compile)


_UNITS: Final = "write a number with a unit, such as `30s`, `10m`, `2h`, `1d` or `1h30m`"


def read_duration(kind: Duration, node: Node, path: str, report: Report) -> timedelta | Invalid:
    """Read a duration."""
    text = resolve(node) if isinstance(node, Scalar) else None
    if _is_number(text):
        said = f"{code(path)} is the bare number {code(str(text))}, but a duration needs a unit"
        report.add(node, said, _advise_on_unit(str(text)))
        return INVALID
    if not isinstance(text, str):
        return wrong_type(node, code(path), "a duration", _UNITS, report)
    try:
        duration = parse_duration(text)
    except ValueError:
        right = respell_duration(text)
        report.add(node, f"{code(path)} cannot be {code(text)}", f"write `{right}`" if right else _advise_on_unit(text))
        return INVALID
    if duration > kind.maximum or (kind.positive and not duration):
        least = "more than 0s and " * kind.positive
        bounds = f"write a duration of {least}at most {format_duration(kind.maximum)}"
        report.add(node, f"{code(path)} cannot be {code(text)}", bounds)
        return INVALID
    return duration


def read_number(kind: Number, node: Node, path: str, report: Report) -> float | Embedded | Invalid:
    """Read a number, or an expression where one is allowed."""
    noun = "a whole number" if kind.whole else "a number"
    bounds = f"write {noun} from {kind.minimum:,} to {kind.maximum:,}"
    if kind.expressions and isinstance(node, Scalar) and OPENING in node.text:
        embedded = read_embedded(node, report)
        if not isinstance(embedded, str):
            return embedded
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


def _advise_on_unit(number: str) -> str:
    """Return advice on a number without a unit."""
    bare = number.isdecimal() and number.isascii()
    return f"add a unit: `{shorten(number)}s` for seconds, `{shorten(number)}m` for minutes" if bare else _UNITS


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
