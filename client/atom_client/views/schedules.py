"""Schedules as people and programs see them: their next times, with notes on nights when clocks change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from atom_client.text import name_of
from atom_client.views.as_json import change_objects, moment_text
from atom_client.views.user_changes import change_line
from atom_workflows.core.cron import Calendar
from atom_workflows.core.schedules import FileSchedules
from atom_workflows.core.workflow import Schedule
from atom_workflows.expressions.times import find_zone


def next_instants(cron: str, zone: str, after: datetime, count: int) -> Iterator[tuple[datetime, str]]:
    """Yield a cron expression's next times, each with a note or ""."""
    calendar = Calendar(cron=cron, zone=zone)
    for instant in islice(calendar.upcoming(after), count):
        yield instant, calendar.explain(instant)


def zoned(instant: datetime, zone: str) -> str:
    """Format an instant for display in a time zone.

    Example: `2026-03-29 03:00 +02:00`.
    """
    text = f"{instant.astimezone(find_zone(zone)):%Y-%m-%d %H:%M %z}"
    return f"{text[:-2]}:{text[-2:]}"


def doubts_about_time(at: datetime, instant: datetime, zone: str | None, now: datetime) -> Iterator[str]:
    """Yield warnings about the time `at` given by a user.

    `instant` is the instant that `at` was taken to mean.
    """
    if instant > now:
        yield f"--at {at.isoformat()} is in the future; the run is for that time, but it begins now"
    if zone is None or at.tzinfo is not None:
        return
    if instant.astimezone(find_zone(zone)).replace(tzinfo=None, fold=0) != at.replace(fold=0):
        yield f"clocks in {zone} go forward, so {at.isoformat()} does not exist; using {zoned(instant, zone)}"


def instant_lines(schedules: Sequence[Schedule], zone: str, after: datetime, *, count: int = 5) -> Iterator[str]:
    """Yield lines with the next times of each schedule in a file."""
    for schedule in schedules:
        yield f"{schedule.cron} ({zone})"
        for instant, note in next_instants(schedule.cron, zone, after, count):
            yield f"  {zoned(instant, zone)}" + (f"  {note}" if note else "")


def instant_objects(
    schedules: Sequence[Schedule], zone: str, after: datetime, *, count: int = 5
) -> list[dict[str, Any]]:
    """Return the next times of a file's schedules for JSON output."""
    return [
        {
            "cron": schedule.cron,
            "next": [
                {"at": moment_text(at), "shown": zoned(at, zone), "note": note or None}
                for at, note in next_instants(schedule.cron, zone, after, count)
            ],
        }
        for schedule in schedules
    ]


def state_of(schedules: FileSchedules) -> str:
    """Return the state of a file's schedules as one word."""
    if schedules.deleted_at is not None:
        return "DELETED"
    if schedules.paused_at is not None:
        return "PAUSED"
    return "ACTIVE" if schedules.entries else "NONE"


def schedule_objects(found: FileSchedules) -> dict[str, Any]:
    """Return the schedules of a file for JSON output."""
    following = {entry.id: at for at, entry in found.next_instants()}
    return {
        "path": found.path,
        "state": state_of(found),
        "generation": str(found.generation),
        "timezone": found.zone,
        "registered_at": moment_text(found.registered_at),
        "paused_at": moment_text(found.paused_at),
        "deleted_at": moment_text(found.deleted_at),
        "changes": change_objects(found.changes),
        "schedules": [
            {
                "id": entry.id,
                "cron": entry.cron,
                "params": {**entry.params, **entry.templates},
                "catch_up": entry.catch_up.value,
                "within_s": entry.within.total_seconds(),
                "next_at": moment_text(following.get(entry.id)),
            }
            for entry in found.entries
        ],
    }


def schedule_rows(found: FileSchedules) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield a table row for each schedule of a file."""
    state, following = state_of(found), {entry.id: at for at, entry in found.next_instants()}
    if not found.entries:
        yield state, "", "", "", found.path
    for entry in found.entries:
        at = following.get(entry.id, datetime.max.replace(tzinfo=UTC))
        shown = zoned(at, found.zone) if entry.id in following else ""
        yield state, entry.cron, found.zone, shown, found.path


def pause_lines(found: Iterable[FileSchedules]) -> Iterator[str]:
    """Yield a line about each file's paused schedules, naming who paused them."""
    for one in found:
        if one.paused_at is not None and one.deleted_at is None and one.changes:
            yield f"{name_of(one.path)}: {change_line(one.changes[-1])}"
