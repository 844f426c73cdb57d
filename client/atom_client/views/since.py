"""Parse the earliest creation time of the runs to list."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from atom_client.errors import Misuse
from atom_client.text import local_time, name_of
from atom_workflows.core.durations import parse_duration

_DAYS_AGO: Final = {"today": 0, "yesterday": 1}


def since_of(text: str, now: datetime, *, name: str = "--since") -> datetime:
    """Return the time that the text denotes.

    The text is a time (local unless it has an offset), a duration before now, `today` or `yesterday`. A day means
    its start. `name` is what the user calls it.
    """
    meant = text.strip().lower()
    try:
        if meant in _DAYS_AGO:
            day = now.astimezone().date() - timedelta(days=_DAYS_AGO[meant])
            moment = datetime(day.year, day.month, day.day).astimezone()
        else:
            try:
                moment = datetime.fromisoformat(meant.upper()).astimezone()
            except ValueError:
                moment = now - parse_duration(meant)
    except (ValueError, OverflowError) as error:
        raise Misuse(
            f"{name} is {name_of(text)!r}; write a time such as 2026-03-01 or 2026-03-01T02:30Z, a duration such as "
            "2h or 7d, today or yesterday"
        ) from error
    if moment > now:
        raise Misuse(f"{name} is {local_time(moment)}, which is in the future; the current time is {local_time(now)}")
    return moment
