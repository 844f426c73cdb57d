"""Read the time given with `--at`."""

from __future__ import annotations

from datetime import datetime

from atom_client.cli.validate import print_warnings
from atom_client.views.schedules import doubts_about_time, instant_meant


def read_given_time(at: datetime, zone: str | None, *, now: datetime | None = None) -> datetime:
    """Return the time in UTC, and print warnings if it is questionable.

    A time without an offset is taken to be in `zone`. If `now` is given, a time in the future also causes a warning.
    """
    instant = instant_meant(at, zone)
    print_warnings(list(doubts_about_time(at, instant, zone, instant if now is None else now)))
    return instant
