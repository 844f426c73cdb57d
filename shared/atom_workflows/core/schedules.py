"""Decide which scheduled times of a workflow file to start.

All schedules of a file are one value in one document, so that one guarded commit replaces, pauses or ends them.

    upload ──► register ──► … due ──► fire (pins the instants to be started) ──► published ──► clear_fired ──► …

Each schedule has a cursor, `after`: every instant up to it is settled, that is, started or dropped for good. `fire`
moves the cursor and pins what it decided in the same commit. If the instance dies before these instants are published,
the next instance publishes them, regardless of the time and of any uploads in between. Starting an instant twice starts
one run, since the run's id is derived from the schedule and the instant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from atom_workflows.core.cron import Calendar
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.workflow import CatchUp, Deadline, JsonValue, Schedule, Workflow
from atom_workflows.expressions.times import find_zone

if TYPE_CHECKING:
    from atom_workflows.core.user_changes import UserChange

ON_TIME: Final = timedelta(minutes=5)
"""How late a run may start without counting as missed, since a tick of the checker may merely be late."""

TIME_TO_START: Final = timedelta(minutes=2)
"""How long a requested run may take to be created before it is reported as missing."""

MAX_WATCHES: Final = 500
"""The maximum number of deadlines watched for one file. If there are more, the oldest are no longer watched."""

_ID_LENGTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One schedule of a file. Every scheduled time up to `after` is settled."""

    id: str
    cron: str
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    # The texts of the expressions that compute the other parameters, by name.
    templates: Mapping[str, str] = field(default_factory=dict)
    catch_up: CatchUp = CatchUp.LAST
    within: timedelta = timedelta(days=1)
    after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A run to start, with everything that it needs from the schedule."""

    schedule_id: str
    cron: str
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    at: datetime
    # The instant before it.
    window_start: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The deadline of a scheduled run; the run might never be created."""

    run_id: str
    at: datetime
    late_at: datetime
    # When to look for the run; None if that is at its deadline.
    look_at: datetime | None = None

    @property
    def due_at(self) -> datetime:
        """The time at which to look for the run."""
        return self.look_at or self.late_at


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSchedules:
    """All schedules of a file, as of its newest known generation.

    If the file was deleted, a tombstone without schedules remains, so that an older upload that is reported late does
    not bring them back.
    """

    path: str
    generation: int
    zone: str = "UTC"
    entries: tuple[Entry, ...] = ()
    deadline: Deadline | None = None
    registered_at: datetime | None = None
    paused_at: datetime | None = None
    deleted_at: datetime | None = None
    firing: tuple[Firing, ...] = ()
    watches: tuple[Watch, ...] = ()
    # The latest changes that people made, oldest first: when the schedules were paused or resumed, and by whom.
    changes: tuple[UserChange, ...] = ()

    @property
    def id(self) -> str:
        """The id of the file's document."""
        return file_id(self.path)

    def calendar(self, entry: Entry) -> Calendar:
        """Return the calendar of one of the schedules."""
        return Calendar(cron=entry.cron, zone=self.zone)

    def next_instants(self) -> Iterator[tuple[datetime, Entry]]:
        """Yield each schedule's first unsettled time, unless the file is paused."""
        if self.paused_at is None:
            for entry in self.entries:
                if (following := self.calendar(entry).after(entry.after)) is not None:
                    yield following, entry

    @property
    def due_at(self) -> datetime | None:
        """The time at which the next action is due, or None."""
        if self.firing:
            return min(one.at for one in self.firing)
        times = [at for at, _ in self.next_instants()] + [one.due_at for one in self.watches]
        return min(times, default=None)


def file_id(path: str) -> str:
    """Return the id of the document that holds a file's schedules."""
    return run_id_for(path, "schedules")


def schedule_id(path: str, zone: str, schedule: Schedule) -> str:
    """Return the id of a schedule.

    A schedule with a different cron expression, zone or parameters has a different id.
    """
    params = json.dumps([schedule.params, _texts(schedule)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{path}\0{schedule.cron}\0{zone}\0{params}".encode()).hexdigest()[:_ID_LENGTH]


def _texts(schedule: Schedule) -> dict[str, str]:
    return {str(template.path[0]): template.text for template in schedule.templates}


def scheduled_run_key(schedule: str, at: datetime) -> tuple[str, ...]:
    """Return the key that distinguishes a scheduled run (see run_ids.py)."""
    return "schedule", schedule, at.astimezone(UTC).isoformat()


def scheduled_run_id(path: str, schedule: str, at: datetime) -> str:
    """Return the id of a scheduled run."""
    return run_id_for(path, *scheduled_run_key(schedule, at))


# -- what changes the schedules of a file ------------------------------------------------------------------------------


def register(
    known: FileSchedules | None, *, path: str, generation: int, workflow: Workflow, now: datetime
) -> FileSchedules | None:
    """Return the file's schedules after an upload.

    Returns None if this generation or a newer one is already known.

    Due runs of the previous schedules are pinned first. An unchanged schedule keeps its cursor; a new one ignores all
    times before this upload.
    """
    if known is not None and generation <= known.generation:
        return None
    before = None if known is None else _pin(known, now)
    cursors = {} if before is None else {one.id: one.after for one in before.entries}
    entries = []
    for schedule in workflow.schedules or ():
        name = schedule_id(path, workflow.timezone, schedule)
        entries.append(
            Entry(
                id=name,
                cron=schedule.cron,
                params=schedule.params,
                templates=_texts(schedule),
                catch_up=schedule.catch_up,
                within=schedule.within,
                after=cursors.get(name, now),
            )
        )
    return FileSchedules(
        path=path,
        generation=generation,
        zone=workflow.timezone,
        entries=tuple(entries),
        deadline=workflow.deadline,
        registered_at=now,
        paused_at=None if before is None else before.paused_at,
        firing=() if before is None else before.firing,
        watches=() if before is None else before.watches,
        changes=() if before is None else before.changes,
    )


def delete(known: FileSchedules | None, *, path: str, generation: int, now: datetime) -> FileSchedules | None:
    """Return the tombstone of a deleted file.

    Returns None if a newer generation or the deletion itself is already known.
    """
    if known is None:
        return FileSchedules(path=path, generation=generation, deleted_at=now)
    if generation < known.generation or (generation == known.generation and known.deleted_at is not None):
        return None
    return replace(known, generation=generation, entries=(), deleted_at=now)


def pause(known: FileSchedules, now: datetime) -> FileSchedules:
    """Return the paused schedules.

    Due runs are pinned first, and deadlines are no longer watched.
    """
    if known.paused_at is not None:
        return known
    return replace(_pin(known, now), paused_at=now, watches=())


def resume(known: FileSchedules, now: datetime) -> FileSchedules:
    """Return the resumed schedules.

    Runs that were missed while the schedules were paused are not started.
    """
    if known.paused_at is None:
        return known
    entries = tuple(replace(entry, after=max(entry.after, now)) for entry in known.entries)
    return replace(known, paused_at=None, entries=entries)


# -- what is due -------------------------------------------------------------------------------------------------------


def fire(known: FileSchedules, now: datetime) -> FileSchedules:
    """Pin the runs to be started now, and advance the cursors.

    Returns the schedules unchanged if nothing is due, or if runs that were pinned earlier are not published yet. In
    the latter case, due runs wait until those are published, so that the document does not grow while nothing can be
    published.
    """
    return known if known.firing else _pin(known, now)


def _pin(known: FileSchedules, now: datetime) -> FileSchedules:
    """Pin the due runs, keeping those that are not published yet."""
    due = {entry.id: at for at, entry in known.next_instants() if at <= now}
    if not due:
        return known
    firing, watches, entries = list(known.firing), list(known.watches), list[Entry]()
    for entry in known.entries:
        if entry.id not in due:
            entries.append(entry)
            continue
        calendar, first = known.calendar(entry), due[entry.id]
        owed = _owed(entry, calendar, now)
        firing += [
            Firing(
                schedule_id=entry.id,
                cron=entry.cron,
                params=entry.params,
                templates=entry.templates,
                at=at,
                window_start=calendar.before(at),
            )
            for at in owed
        ]
        # If instants were missed, the first one stands for all of those that are dropped.
        begin_by = dict.fromkeys([first]) | dict.fromkeys(owed, now + TIME_TO_START)
        watches += _watches(known, entry, begin_by)
        entries.append(replace(entry, after=now))
    return replace(
        known,
        entries=tuple(entries),
        firing=tuple(sorted(firing, key=lambda one: one.at)),
        watches=tuple(watches[-MAX_WATCHES:]),
    )


def clear_fired(known: FileSchedules) -> FileSchedules:
    """Return the schedules without the pinned runs, which have been published."""
    return replace(known, firing=())


def without_watches(known: FileSchedules, over: Sequence[Watch]) -> FileSchedules:
    """Return the schedules without these watches, which have been handled."""
    return replace(known, watches=tuple(one for one in known.watches if one not in over))


def _owed(entry: Entry, calendar: Calendar, now: datetime) -> Sequence[datetime]:
    """Return the times for which a schedule should start runs.

    These are the times within the last `ON_TIME` or, if there are none, the last missed one if its run may still be
    started.
    """
    on_time = list[datetime]()
    for at in calendar.upcoming(max(entry.after, now - ON_TIME)):
        if at > now:
            break
        on_time.append(at)
    if on_time or entry.catch_up is CatchUp.NONE:
        return on_time
    last = calendar.until(now)
    return [last] if last is not None and last > entry.after and now - last <= entry.within else []


def _watches(known: FileSchedules, entry: Entry, begin_by: Mapping[datetime, datetime | None]) -> Iterator[Watch]:
    """Yield the watches for the given scheduled times.

    `begin_by` maps each scheduled time to the time by which its run should exist, or to None if that run will not be
    started.
    """
    for at, exists_at in begin_by.items():
        if (late_at := late_at_of(known.deadline, at, known.zone)) is not None:
            look_at = exists_at if exists_at is not None and exists_at > late_at else None
            run_id = scheduled_run_id(known.path, entry.id, at)
            yield Watch(run_id=run_id, at=at, late_at=late_at, look_at=look_at)


def late_at_of(deadline: Deadline | None, scheduled_at: datetime, zone: str) -> datetime | None:
    """Return the time from which an unfinished run is late.

    Returns None if its file sets no deadline.
    """
    if deadline is None:
        return None
    if deadline.after is not None:
        return scheduled_at + deadline.after
    if deadline.at is None:
        return None
    # The next instant at which clocks in the zone show this time. The rules for nights on which clocks change are those
    # of fixed times in cron.py.
    calendar = Calendar(cron=f"{deadline.at.minute} {deadline.at.hour} * * *", zone=zone)
    seconds = timedelta(seconds=deadline.at.second)
    found = calendar.after(scheduled_at - seconds)
    if found is None:  # pragma: no cover  (every day has such a time)
        raise ValueError(f"{deadline.at} never occurs in {find_zone(zone)}")
    return found + seconds
