"""Durations as people write them: `45s`, `10m`, `1h30m`, `2.5s`, `1d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

DURATION_PATTERN: Final = r"^(?=[0-9])([0-9]{1,8}d)?([0-9]{1,8}h)?([0-9]{1,8}m)?([0-9]{1,8}([.][0-9]{1,6})?s)?$"
"""What `parse_duration` takes, as a regular expression that JSON Schema understands too."""

_DURATION: Final = re.compile(
    r"(?=[0-9])(?:(?P<days>[0-9]{1,8})d)?(?:(?P<hours>[0-9]{1,8})h)?(?:(?P<minutes>[0-9]{1,8})m)?"
    r"(?:(?P<seconds>[0-9]{1,8})(?:[.](?P<fraction>[0-9]{1,6}))?s)?"
)
_UNITS: Final = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))


def parse_duration(text: str) -> timedelta:
    """Read a duration: days, hours, minutes and seconds in this order, each at most once.

    Only seconds may have a fraction. Raises ValueError, whose message says what would be right.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration is a number with a unit, such as 30s, 10m, 2h, 1d or 1h30m")
    return timedelta(
        days=int(match["days"] or 0),
        hours=int(match["hours"] or 0),
        minutes=int(match["minutes"] or 0),
        seconds=int(match["seconds"] or 0),
        microseconds=int((match["fraction"] or "").ljust(6, "0")),
    )


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads the same one. Raises ValueError if it is negative."""
    if duration < timedelta(0):
        raise ValueError(f"a duration is never negative: {duration}")
    written, rest = "", duration
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        written += f"{count}{unit}" if count else ""
    return written + _seconds(rest) if rest or not written else written


def _seconds(rest: timedelta) -> str:
    fraction = f".{rest.microseconds:06}".rstrip("0") if rest.microseconds else ""
    return f"{rest.seconds}{fraction}s"
