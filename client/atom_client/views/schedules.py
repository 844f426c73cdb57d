"""Schedules as people and programs see them.

Their next times come with notes on nights when clocks change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from atom_client.errors import Failure, Misuse
from atom_client.text import counted, name_of
from atom_client.views.as_json import change_objects, moment_text
from atom_client.views.user_changes import change_line
from atom_workflows.core.cron import Calendar
from atom_workflows.core.schedules import FileSchedules, resume
from atom_workflows.core.workflow import Schedule
from atom_workflows.expressions.times import find_zone, to_utc


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


def instant_meant(at: datetime, zone: str | None, *, name: str = "--at") -> datetime:
    """Return the time that a user gave as `name`, in UTC.

    A time without an offset is taken to be in `zone`. Raises `Misuse` if there is no such time.
    """
    try:
        return to_utc(at if at.tzinfo or zone is None else at.replace(tzinfo=find_zone(zone)))
    except ValueError as error:
        raise Misuse(f"{name} is {at.isoformat()}: {error}") from error


def doubts_about_time(
    at: datetime, instant: datetime, zone: str | None, now: datetime, *, name: str = "--at"
) -> Iterator[str]:
    """Yield warnings about the time `at` given by a user.

    `instant` is the instant that `at` was taken to mean.
    """
    if instant > now:
        yield f"{name} {at.isoformat()} is in the future; the run is for that time, but it begins now"
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


def next_objects(found: FileSchedules, now: datetime, count: int) -> list[dict[str, Any]]:
    """Return the next times of a file's schedules for JSON output.

    Paused schedules are listed as if they were resumed now.
    """
    instants = sorted(
        (at, entry.cron, note)
        for entry in found.entries
        for at, note in next_instants(entry.cron, found.zone, max(now, entry.after), count)
    )
    return [
        {"at": moment_text(at), "shown": zoned(at, found.zone), "cron": cron, "note": note or None}
        for at, cron, note in instants[:count]
    ]


def paused_line(schedules: FileSchedules) -> str:
    """Return a sentence about schedules that were paused."""
    return f"Paused {counted(len(schedules.entries), 'schedule')} of {name_of(schedules.path)}."


def resumed_line(schedules: FileSchedules) -> str:
    """Return a sentence about schedules that were resumed."""
    following = min((at for at, _ in schedules.next_instants()), default=None)
    until = "" if following is None else f"; the next run starts at {zoned(following, schedules.zone)}"
    return f"Resumed {counted(len(schedules.entries), 'schedule')} of {name_of(schedules.path)}{until}."


def pause_preview(found: FileSchedules, now: datetime) -> Iterator[str]:
    """Yield sentences about what pausing the schedules would do.

    Raises `Failure` if they are already paused.
    """
    if found.paused_at is not None:
        raise Failure(f"the schedules of {name_of(found.path)} are already paused")
    yield f"This pauses {counted(len(found.entries), 'schedule')} of {name_of(found.path)}."
    following = min((at for at, _ in found.next_instants()), default=None)
    if following is not None and following > now:
        yield (
            f"The run at {zoned(following, found.zone)} and all later ones will not start until the schedules are "
            "resumed."
        )
    elif following is not None:
        yield "A run that is already due will still start; later ones will not start until the schedules are resumed."
    yield "Runs that have already started will continue."


def resume_preview(found: FileSchedules, now: datetime) -> Iterator[str]:
    """Yield sentences about what resuming the schedules would do.

    Raises `Failure` if they are not paused.
    """
    if found.paused_at is None:
        raise Failure(f"the schedules of {name_of(found.path)} are not paused")
    following = min((at for at, _ in resume(found, now).next_instants()), default=None)
    starts = "" if following is None else f"; the next run starts at {zoned(following, found.zone)}"
    yield f"This resumes {counted(len(found.entries), 'schedule')} of {name_of(found.path)}{starts}."
    yield "Runs that were missed during the pause will not be started."


def schedules_digest(found: FileSchedules) -> str:
    """Return a digest of what the preview of a pause depends on.

    It covers the file, and when its schedules were last paused or resumed.
    """
    latest = found.changes[-1].at.isoformat() if found.changes else ""
    return f"{found.generation}/{found.paused_at}/{latest}"


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
