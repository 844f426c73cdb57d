"""Read and write dates, times and durations, and find time zones.

Time zones determine when days begin.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from typing import Final

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")
_INSTANT: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([Tt ](?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?) ?(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)

#: The units of durations from large to small; each may occur once, in this order.
_UNITS: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION: Final = re.compile(r"(?P<sign>[+-]?)(?P<parts>([0-9]{1,9}(\.[0-9]{1,6})?(ms|[wdhms]) ?)+)")
_PART: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?(ms|[wdhms])")
_LONGEST: Final = 80
_MICROSECOND: Final = timedelta(microseconds=1)


def read_date(text: str) -> date:
    """Read a date such as `2026-01-31`. Raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError("a date is written like 2026-01-31")
    return date.fromisoformat(text)


def read_time(text: str) -> time:
    """Read a time of day such as `06:00` or `06:00:30`. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError("a time of day is written like 06:00")
    whole, dot, fraction = text.partition(".")
    return time.fromisoformat(f"{whole}.{fraction.ljust(6, '0')}" if dot else whole)


def read_instant(text: str, zone: str) -> datetime:
    """Read an instant such as `2026-01-31T06:00:00Z`.

    Without an offset, it is local time in the zone; a date by itself means the first instant of that day. Raises
    ValueError.
    """
    found = _INSTANT.fullmatch(text) if len(text) <= _LONGEST else None
    if not found:
        raise ValueError("a date is written like 2026-01-31, an instant like 2026-01-31T06:00:00Z")
    local = datetime.combine(read_date(found["date"]), read_time((found["time"] or "00:00")[:15]))
    offset = found["zone"]
    if not offset:
        return to_utc(local.replace(tzinfo=find_zone(zone)))
    if offset in "Zz":
        return to_utc(local.replace(tzinfo=UTC))
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    return to_utc(local.replace(tzinfo=timezone(-ahead if offset[0] == "-" else ahead)))


def read_duration(text: str) -> timedelta:
    """Read a duration such as `1h30m` or `-2h`. Raises ValueError."""
    found = _DURATION.fullmatch(text) if len(text) <= _LONGEST else None
    parts = list(_PART.finditer(found["parts"])) if found else []
    units = [part[3] for part in parts]
    if not found or units != [unit for unit in _UNITS if unit in units] or any(part[2] for part in parts[:-1]):
        raise ValueError("a duration is a number with a unit, such as 30s, 10m, 2h, 1d or 1h30m")
    length = timedelta()
    try:
        for whole, fraction, unit in (part.groups("") for part in parts):
            length += int(whole) * _UNITS[unit]
            # Computed in whole microseconds, since a float would round some lengths.
            length += _UNITS[unit] // _MICROSECOND * int(fraction.ljust(6, "0")) // 1_000_000 * _MICROSECOND
    except OverflowError:
        raise ValueError("a duration may be at most 999,999,999 days") from None
    return -length if found["sign"] == "-" else length


def write_instant(instant: datetime) -> str:
    """Write an instant in UTC, such as `2026-01-31T06:00:00Z`."""
    return to_utc(instant).replace(tzinfo=None).isoformat() + "Z"


def write_time(of_day: time) -> str:
    """Write a time of day in its shortest form, such as `06:00`."""
    return of_day.isoformat("auto" if of_day.second or of_day.microsecond else "minutes")


def write_duration(duration: timedelta) -> str:
    """Write a duration so that `read_duration` returns the same duration."""
    written, rest = "", abs(duration)
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        written += f"{count}{unit}" if count else ""
    if rest or not written:
        written += f"{rest.seconds}" + (f".{rest.microseconds:06}".rstrip("0") if rest.microseconds else "") + "s"
    return f"-{written}" if duration < timedelta() else written


def to_utc(instant: datetime) -> datetime:
    """Return the same instant in UTC.

    Raises ValueError if its year would not be from 1 to 9999.
    """
    return to_zone(instant, "UTC")


def to_zone(instant: datetime, zone: str) -> datetime:
    """Return the instant as local time.

    Raises ValueError if its year would not be from 1 to 9999.
    """
    try:
        return instant.astimezone(find_zone(zone))
    except OverflowError:
        raise ValueError("the time is out of range: the year must be from 1 to 9999") from None


@cache
def find_zone(name: str) -> tzinfo:
    """Return the zone with a name like `Europe/Paris`. Raises ValueError."""
    if name == "UTC":
        return UTC
    # Most workflows need only UTC, and this module takes longer to import than everything else in this file.
    import zoneinfo  # noqa: PLC0415 -- see above

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone `{name}`; zones have names like Europe/Paris") from None
