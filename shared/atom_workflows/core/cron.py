"""Find the times matching a cron expression, even across clock changes.

cronsim reads the expression and finds the next matching *shown* time. What that means on nights when the clocks change
is decided here, by the rules of Debian's cron, since cronsim itself breaks them in some zones: it returns instants in
the past after an hour that occurs twice, and skips some where clocks change by half an hour.

- An expression whose minutes and hours are fixed runs once a day: at the first instant after the gap if its time does
  not exist, and at the first of two instants if its time occurs twice.
- If the minutes or hours begin with an asterisk, elapsed time counts: `0 * * * *` runs once an hour, regardless of what
  clocks show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from atom_workflows.errors import CronError
from atom_workflows.expressions.times import find_zone

FIELDS: Final = 5
LONGEST: Final = 200

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_FARTHEST_BACK: Final = timedelta(days=366 * 60)
_REACH: Final = 8
"""Each search for an earlier time reaches back this many times as far as the previous one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """A cron expression and the time zone in which it is interpreted. Only `read_cron` raises `CronError`."""

    cron: str
    zone: str

    @property
    def is_fixed(self) -> bool:
        """True if neither the minutes nor the hours begin with an asterisk."""
        minutes, hours, *_ = self.cron.split()
        return not (minutes.startswith("*") or hours.startswith("*"))

    def after(self, instant: datetime) -> datetime | None:
        """Return the first matching time after `instant`, in UTC.

        Returns None if there is none in the next fifty years.
        """
        zone = find_zone(self.zone)
        instant = instant.astimezone(UTC)
        if not self.is_fixed:
            return self._after_in_real_time(instant, zone)
        shown: datetime | None = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        while (shown := _next_on_the_clock(self.cron, shown)) is not None:
            # Of two instants with this local time, `fold=0` is the first.
            found = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
            if found.astimezone(zone).replace(tzinfo=None, fold=0) != shown:
                # This time is within a gap: the offsets before and after it give an instant on either side.
                sides = (found, shown.replace(tzinfo=zone, fold=1).astimezone(UTC))
                found = _find_change(min(sides) - _SECOND, max(sides), zone) or found
            if found > instant:
                return found
        return None

    def upcoming(self, instant: datetime) -> Iterator[datetime]:
        """Yield the matching times after `instant`."""
        while (following := self.after(instant)) is not None:
            yield following
            instant = following

    def until(self, instant: datetime) -> datetime | None:
        """Return the last matching time at or before `instant`, or None."""
        instant, span = instant.astimezone(UTC), timedelta(hours=1)
        while (last := self.after(instant - span)) is None or last > instant:
            if span > _FARTHEST_BACK:
                return None
            span *= _REACH
        # Halve the rest until no instant is left in it, as there may be thousands.
        end = instant
        while (following := self.after(last)) is not None and following <= instant:
            middle = following + (end - following) / 2
            beyond = self.after(middle)
            if beyond is None or beyond > instant:
                last, end = following, middle
            else:
                last = beyond
        return last

    def before(self, instant: datetime) -> datetime | None:
        """Return the last matching time before `instant`, or None."""
        return self.until(instant - timedelta(microseconds=1))

    def explain(self, instant: datetime) -> str:
        """Explain how a clock change affects a matching time.

        Returns "" if it is not affected, or if the time of day is not fixed (see `is_fixed`).
        """
        zone = find_zone(self.zone)
        at = instant.astimezone(zone)
        if not self.is_fixed:
            return ""
        shown = at.replace(tzinfo=None, fold=0)
        if _next_on_the_clock(self.cron, shown - _SECOND) != shown:
            return "clocks go forward, so its time does not exist that day"
        if shown.replace(tzinfo=zone, fold=1).astimezone(UTC) != instant:
            return "clocks go back, so this is the first of two such times"
        return ""

    def _after_in_real_time(self, instant: datetime, zone: tzinfo) -> datetime | None:
        """Search the periods between clock changes one at a time."""
        begin = instant
        while True:
            offset = _offset(begin, zone)
            shown = _next_on_the_clock(self.cron, (begin + offset).replace(tzinfo=None))
            if shown is None:
                return None
            found = shown.replace(tzinfo=UTC) - offset
            change = _find_change(begin, found, zone)
            if change is None:
                return found
            # The instant of the change itself belongs to the period after it.
            begin = change - _SECOND
            offset = _offset(change, zone)
            shown = _next_on_the_clock(self.cron, (begin + offset).replace(tzinfo=None))
            if shown is not None and shown == (change + offset).replace(tzinfo=None):
                return change
            begin = change


def read_cron(cron: str) -> str:
    """Return the expression with single spaces.

    Raises `CronError` if it is invalid or matches no date.
    """
    words = cron.split()
    if len(cron) > LONGEST:
        raise CronError(f"is longer than {LONGEST} characters", "write several schedules")
    if len(words) == 1 and words[0].startswith("@"):
        meant = _WORDS.get(words[0].lower())
        advice = f"write `{meant}`" if meant else "such as `30 2 * * 1-5`"
        raise CronError(f"is `{words[0]:.20}`, not five fields", advice)
    if len(words) != FIELDS:
        raise CronError(
            f"has {len(words)} field{'s' * (len(words) != 1)}, not five: minute, hour, day, month and weekday",
            "leave out the seconds" if len(words) == FIELDS + 1 else "such as `30 2 * * 1-5`",
        )
    text = " ".join(words)
    if fault := _find_fault(words):
        raise CronError(*fault)
    if _next_on_the_clock(text, _SOME_TIME) is None:
        raise CronError("never fires: there is no such date", "change the day of the month or the month")
    return text


_SOME_TIME: Final = datetime(2026, 1, 1)  # noqa: DTZ001 (a local time)
_NAMES: Final = ("minute", "hour", "day of the month", "month", "weekday")
_RANGES: Final = ("0 to 59", "0 to 23", "1 to 31", "1 to 12 or JAN to DEC", "0 to 7 or SUN to SAT")
_ORDINARY: Final = ("0", "0", "*", "*", "*")
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@nightly": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def _find_fault(words: list[str]) -> tuple[str, str] | None:
    """Return the problem with the fields, and advice on fixing it.

    Returns None if they are valid.
    """
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 (only files with schedules need it)

    def is_valid(fields: list[str]) -> bool:
        try:
            CronSim(" ".join(fields), _SOME_TIME)
        except (CronSimError, ValueError):
            return False
        return True

    if is_valid(words):
        return None
    for number, word in enumerate(words):
        # Each field is tried alone, so that the faulty one can be named.
        alone = [word if place == number else other for place, other in enumerate(_ORDINARY)]
        if not is_valid(alone):
            return f"cannot have `{word:.40}` as its {_NAMES[number]}", f"write {_RANGES[number]}, or `*`"
    return "never fires: there is no such date", "change the day of the month or the month"


@lru_cache(maxsize=1_024)
def _next_on_the_clock(cron: str, shown: datetime) -> datetime | None:
    """Return the next matching local time as if clocks never changed."""
    # Imported here, as only files with schedules need it, and every import delays a function's start.
    from cronsim import CronSim  # noqa: PLC0415 - see above

    try:
        return next(CronSim(cron, shown), None)
    except (OverflowError, ValueError):  # Years go from 1 to 9999.
        return None


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _find_change(begin: datetime, end: datetime, zone: tzinfo) -> datetime | None:
    """Find the first clock change after `begin`, up to `end`.

    Returns None if there is none. Clocks change at whole seconds, and not twice within a day.
    """
    if zone is UTC:
        return None
    offset, at = _offset(begin, zone), begin
    while at < end:
        until = min(at + _DAY, end)
        if _offset(until, zone) != offset:
            low, high = at, until
            while high - low > _SECOND:
                middle = low + (high - low) / 2
                low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
            return high.replace(microsecond=0)
        at = until
    return None
