"""Durations as people write them: `45s`, `10m`, `1h30m`, `1.5h`, `500ms`, `1w`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_PATTERNS: Final = (
    ("w", timedelta(weeks=1), "[0-9]{1,8}([.][0-9]{1,6})?w"),
    ("d", timedelta(days=1), "[0-9]{1,8}([.][0-9]{1,6})?d"),
    ("h", timedelta(hours=1), "[0-9]{1,8}([.][0-9]{1,6})?h"),
    ("m", timedelta(minutes=1), "[0-9]{1,8}([.][0-9]{1,6})?m"),
    ("s", timedelta(seconds=1), "[0-9]{1,8}([.][0-9]{1,6})?s"),
    ("ms", timedelta(milliseconds=1), "[0-9]{1,8}([.][0-9]{1,3})?ms"),
)
"""The units from largest to smallest, each with its value's pattern. No fraction is finer than a microsecond."""

_STARTS_WITH_A_DIGIT: Final = "(?=[0-9])"
_NO_SPACE_LAST: Final = "(?!.* $)"
_NO_FRACTION_BUT_LAST: Final = "(?!.*[.][0-9]+[a-z]+ *[0-9])"

DURATION_PATTERN: Final = (
    f"^{_STARTS_WITH_A_DIGIT}{_NO_SPACE_LAST}{_NO_FRACTION_BUT_LAST}"
    + "".join(f"({pattern} *)?" for _, _, pattern in _PATTERNS)
    + "$"
)
"""A regular expression for the input that `parse_duration` accepts; it is also valid in JSON Schema."""

_LENGTHS: Final = {unit: length for unit, length, _ in _PATTERNS}
_DURATION: Final = re.compile(DURATION_PATTERN.removesuffix("$"))
_PART: Final = re.compile(r"(?P<whole>[0-9]{1,8})(?:[.](?P<fraction>[0-9]{1,6}))?(?P<unit>ms|[wdhms])")
_MICROSECOND: Final = timedelta(microseconds=1)
_WRITTEN_UNITS: Final = ("d", "h", "m")

# Notations that people and other systems use, recognized only to suggest ours instead. Months and years are left out,
# since they have no fixed length.
_LONGEST_RESPELLED: Final = 60
_ISO_8601: Final = re.compile(
    r"P(?:(?P<w>[0-9.]+)W)?(?:(?P<d>[0-9.]+)D)?(?:T(?:(?P<h>[0-9.]+)H)?(?:(?P<m>[0-9.]+)M)?(?:(?P<s>[0-9.]+)S)?)?",
    re.IGNORECASE,
)
_ANY_PART: Final = re.compile(r"([0-9]+(?:[.][0-9]+)?) *([a-z]+)(?:[ ,]+(?:and +)?|$)?", re.IGNORECASE)
_UNIT_WORDS: Final = {
    word: unit
    for unit, words in {
        "w": "w wk wks week weeks",
        "d": "d day days",
        "h": "h hr hrs hour hours",
        "m": "m min mins minute minutes",
        "s": "s sec secs second seconds",
        "ms": "ms msec msecs millis millisecond milliseconds",
    }.items()
    for word in words.split()
}


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `1h30m`.

    Weeks, days, hours, minutes, seconds and milliseconds must come in this order, each at most once. Spaces between
    the parts are allowed, and the last part may have a fraction. Raises ValueError with a message that shows the
    correct form.
    """
    if not _DURATION.fullmatch(text):
        right = respell_duration(text)
        instead = f"; write {right}" if right else ""
        raise ValueError(f"a duration is a number with a unit, such as 30s, 10m, 2h, 1d or 1h30m{instead}")
    length = timedelta()
    for part in _PART.finditer(text):
        unit, millionths = _LENGTHS[part["unit"]], int((part["fraction"] or "").ljust(6, "0"))
        # Compute in whole microseconds, because a float would round some values.
        length += int(part["whole"]) * unit + unit // _MICROSECOND * millionths // 1_000_000 * _MICROSECOND
    return length


def respell_duration(text: str) -> str | None:
    """Return the duration that was probably meant, or None.

    The result is in a form that `parse_duration` accepts.
    """
    if len(text) > _LONGEST_RESPELLED:
        return None
    text = text.strip()
    iso = _ISO_8601.fullmatch(text)
    if iso:
        found = dict(iso.groupdict())
    else:
        # Words, such as `2 hours`; there may be nothing else in the text.
        parts = list(_ANY_PART.finditer(text))
        units = [_UNIT_WORDS.get(part[2].lower(), "") for part in parts]
        if sum(len(part[0]) for part in parts) != len(text) or "" in units or len(set(units)) != len(units):
            return None
        found = {unit: part[1] for unit, part in zip(units, parts, strict=True)}
    spelt = "".join(f"{number}{unit}" for unit in _LENGTHS if (number := found.get(unit)))
    return spelt if spelt and _DURATION.fullmatch(spelt) else None


def format_duration(duration: timedelta) -> str:
    """Format a duration so that `parse_duration` returns the same duration.

    Raises ValueError if it is negative.
    """
    if duration < timedelta(0):
        raise ValueError(f"a duration cannot be negative: {duration}")
    written, rest = "", duration
    for unit in _WRITTEN_UNITS:
        count, rest = divmod(rest, _LENGTHS[unit])
        written += f"{count}{unit}" if count else ""
    if written and not rest:
        return written
    fraction = f".{rest.microseconds:06}".rstrip("0") if rest.microseconds else ""
    return f"{written}{rest.seconds}{fraction}s"
