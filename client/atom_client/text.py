"""Make untrusted text safe to print, and format times and counts compactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Final

_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colors, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC and other strings
    r"|\x1b[ -/]*[0-~]?"
)
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters that terminals interpret or do not show, and unpaired surrogates.

They include control characters, marks that change the writing direction, line separators and invisible characters, but
not tab and newline.
"""

TIME_MARK: Final = "\u2063"
_time_mark: Final = ContextVar("time_mark", default="")

_LONGEST_NAME: Final = 300

_HOUR_S: Final = 3600
_MINUTE_S: Final = 60
_TENTHS_BELOW_S: Final = 10


def clean(text: object) -> str:
    """Remove everything that a terminal would interpret."""
    return _UNSEEN.sub("", _ESCAPES.sub("", str(text).replace("\r\n", "\n")))


def escaped(text: object) -> str:
    """Escape everything that a terminal would interpret, using ASCII."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def one_line(text: object) -> str:
    """Clean the text and put it on one line."""
    return " ".join(clean(text).split())


def name_of(text: object) -> str:
    """Put an untrusted name on one line, cleaned and clipped.

    It may be the name of a file or an object, for example.
    """
    return clip(one_line(text), _LONGEST_NAME)


def clip(text: str, length: int) -> str:
    """Cut the text to the given length."""
    return text if len(text) <= length else text[: length - 1] + "…"


def with_stop(text: str) -> str:
    """End a sentence with a period unless it was cut."""
    return text if text.endswith("…") else f"{text}."


def cut_middle(text: str, length: int, *, mark: str = "…") -> str:
    """Cut out the middle of text longer than the given length.

    Names often differ in their last characters.
    """
    if len(text) <= length:
        return text
    kept = max(length - len(mark), 2)
    return f"{text[: kept - kept // 2]}{mark}{text[-(kept // 2) :]}"


def lasted(duration: timedelta | None) -> str:
    """Format a duration compactly; return an empty string for None.

    For example `45 ms`, `2.4 s`, `12 s`, `3 min 05 s` or `2 h 10 min`.
    """
    if duration is None:
        return ""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _TENTHS_BELOW_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def between(start: datetime | None, end: datetime | None) -> timedelta | None:
    """Return the time from start to end, if both are known."""
    return None if start is None or end is None else end - start


def local_time(moment: datetime | None) -> str:
    """Format a time as local time with its zone.

    Returns an empty string for None. For example `2026-03-29 03:00:00 +02:00` or `2026-03-29 01:00:00 UTC`.
    """
    return "" if moment is None else marked_time(moment, "%Y-%m-%d %H:%M:%S")


def marked_time(moment: datetime, form: str) -> str:
    """Format a time as local time with its zone.

    It is put between marks if this thread marks times.
    """
    local, mark = moment.astimezone(), _time_mark.get()
    return f"{mark}{local:{form}} {zone_of(local)}{mark}"


def mark_times() -> None:
    """Mark the times in whatever the current thread writes from now on.

    A page then shows these times in its reader's zone, but leaves times that a job wrote unchanged. `clean` removes the
    marks, so cleaned text cannot contain any.
    """
    _time_mark.set(TIME_MARK)


def zone_of(moment: datetime) -> str:
    """Return the offset of a time, such as `+02:00`, or `UTC`."""
    offset = f"{moment:%z}"
    return "UTC" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}"


def counted(count: int, noun: str) -> str:
    """Return the count with its noun, such as `2 steps`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def pages_text(count: int, size: int, noun: str) -> str:
    """Return a clause such as `are 3 pages of 20 runs`."""
    return "is only one page" if count == 1 else f"are {count:,} pages of {counted(size, noun)}"


def listing(names: Sequence[str], *, most: int = 5, total: int | None = None) -> str:
    """List at most `most` names, as in "`a`, `b` and 7 more".

    `total` is the number of all names, if only some of them are given.
    """
    shown = [f"`{name_of(name)}`" for name in names[:most]]
    total = len(names) if total is None else total
    if total > most:
        return f"{', '.join(shown)} and {total - most:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
