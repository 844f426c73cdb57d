"""`format(time, '%Y%m%d')`: the strftime directives that mean the same everywhere.

Python's own strftime depends on the platform: it accepts widths of any size, and names days according to the locale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from typing import Final

_MONTHS: Final = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905 -- shorter
)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT: Final = 3

_OF_DAY: Final[dict[str, Callable[[date], str]]] = {
    "Y": lambda day: f"{day.year:04}",
    "y": lambda day: f"{day.year % 100:02}",
    "m": lambda day: f"{day.month:02}",
    "d": lambda day: f"{day.day:02}",
    "j": lambda day: f"{day.timetuple().tm_yday:03}",
    "B": lambda day: _MONTHS[day.month - 1],
    "b": lambda day: _MONTHS[day.month - 1][:_SHORT],
    "A": lambda day: _DAYS[day.weekday()],
    "a": lambda day: _DAYS[day.weekday()][:_SHORT],
    "u": lambda day: f"{day.isoweekday()}",
    "w": lambda day: f"{day.isoweekday() % 7}",
    "V": lambda day: f"{day.isocalendar().week:02}",
    "G": lambda day: f"{day.isocalendar().year:04}",
    "F": lambda day: f"{day.year:04}-{day.month:02}-{day.day:02}",
}
_OF_TIME: Final[dict[str, Callable[[datetime | time], str]]] = {
    "H": lambda moment: f"{moment.hour:02}",
    "I": lambda moment: f"{(moment.hour - 1) % 12 + 1:02}",
    "M": lambda moment: f"{moment.minute:02}",
    "S": lambda moment: f"{moment.second:02}",
    "f": lambda moment: f"{moment.microsecond:06}",
    "p": lambda moment: "AM" if moment.hour < 12 else "PM",  # noqa: PLR2004 -- noon
    "T": lambda moment: moment.isoformat("seconds")[:8] if isinstance(moment, time) else f"{moment:%H:%M:%S}",
    "z": lambda moment: f"{moment:%z}"[:5],
    "Z": lambda moment: moment.tzname() or "",
}


def format_moment(moment: datetime | date | time, pattern: str) -> str:
    """Format a date or time according to a pattern. Raises ValueError."""
    text = ""
    for piece in _pieces(pattern):
        directive = piece[1:]
        if piece[0] != "%":
            text += piece
        elif directive == "%":
            text += "%"
        elif directive in _OF_DAY:
            if isinstance(moment, time):
                raise ValueError(f"a time of day has no `{piece}`")
            text += _OF_DAY[directive](moment)
        elif directive in _OF_TIME:
            if not isinstance(moment, datetime | time):
                raise ValueError(f"a date has no `{piece}`")
            text += _OF_TIME[directive](moment)
        else:
            raise ValueError(_unknown(piece))
    return text


def check_pattern(pattern: str) -> None:
    """Raise ValueError if a pattern has no directive, or an unknown one."""
    if "%" not in pattern:
        raise ValueError("the pattern has no directive; for a day, write `%Y-%m-%d`")
    for piece in _pieces(pattern):
        if len(piece) == 2 and piece[0] == "%" and piece[1] not in _OF_DAY | _OF_TIME | {"%": None}:  # noqa: PLR2004 -- a percent sign and a letter
            raise ValueError(_unknown(piece))


def _pieces(pattern: str) -> Iterator[str]:
    """Return the directives and the text between them."""
    at = 0
    while at < len(pattern):
        sign = pattern.find("%", at)
        if sign < 0:
            yield pattern[at:]
            return
        if sign > at:
            yield pattern[at:sign]
        if sign + 1 == len(pattern):
            raise ValueError("write a `%` at the end of a pattern as `%%`")
        yield pattern[sign : sign + 2]
        at = sign + 2


def _unknown(piece: str) -> str:
    return f"`{piece}` is not a directive; the directives are %{' %'.join([*_OF_DAY, *_OF_TIME])} and %%"
