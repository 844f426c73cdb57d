"""A year of schedules: each instant starts exactly one run, and bugs that break this are found."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from atom_workflows.coordinator import schedules, seed, start
from atom_workflows.coordinator.services import Services
from atom_workflows.core import cron
from atom_workflows.core import schedules as core
from atom_workflows.core.cron import Calendar
from atom_workflows.core.schedules import FileSchedules
from atom_workflows.errors import Conflict
from atom_workflows.messages.internal import late_message
from atom_workflows.messages.start import scheduled_start_message
from atom_workflows.ports import Document, Update
from atom_workflows.schedule_documents import tick_fields, tick_path
from simulation.schedule_year import BEGAN, Year

SIXTH = timedelta(days=61)
WEEK = timedelta(weeks=1)

SPRING = datetime(2026, 3, 26, 0, 0, 30, tzinfo=UTC)
"""Before clocks change in Europe on March 29, and ten days before they do on Lord Howe Island."""
EARLY_AUTUMN = datetime(2026, 9, 29, 0, 0, 30, tzinfo=UTC)
"""Before they change on Lord Howe Island, on October 4."""
AUTUMN = datetime(2026, 10, 23, 0, 0, 30, tzinfo=UTC)
"""Before they change in Europe on October 25."""
LATE_AUTUMN = datetime(2026, 10, 29, 0, 0, 30, tzinfo=UTC)
"""Before they change in the United States on November 1."""

# A year in parts, as the store in memory takes longer the more runs it holds.
PLAYED = {
    "America/New_York": [(BEGAN + number * SIXTH, SIXTH) for number in range(6)],
    "Australia/Lord_Howe": [(SPRING, 3 * WEEK), (EARLY_AUTUMN, 3 * WEEK)],
    "Europe/Paris": [(SPRING, 3 * WEEK), (AUTUMN, 3 * WEEK)],
    "Asia/Kathmandu": [(AUTUMN, 3 * WEEK)],
    "UTC": [(SPRING, 3 * WEEK)],
}
"""What is played: the whole year in one zone, and in others the weeks in which clocks change."""

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging, as no one reads what thousands of runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("zone", PLAYED)
def test_each_instant_of_a_year_starts_one_run(zone: str) -> None:
    """Whatever dies before or after any write or publication, no instant is lost, and none starts two runs."""
    deaths = Counter[str]()
    for number, (began, length) in enumerate(PLAYED[zone]):
        part = Year(zone=zone, seed=number, began=began, length=length)
        part.play()
        deaths += part.deaths
    assert {f"{call} {when}" for call in ("commit", "publish") for when in ("before", "after")} <= deaths.keys()


# -- bugs that are planted ---------------------------------------------------------------------------------------------


def publish_after_clearing(patch: pytest.MonkeyPatch) -> None:
    """Clear what is pinned, then publish it."""

    def fire_due(services: Services, file_id: str) -> int:
        stored = schedules.load_schedules(services, file_id)
        assert stored is not None
        pinned = core.fire(stored.schedules, services.clock.now())
        if schedules._save(services, stored, core.clear_fired(pinned)) is None:
            return 0
        services.bus.publish([scheduled_start_message(pinned.path, one) for one in pinned.firing])
        if (stored := schedules.load_schedules(services, file_id)) is not None:
            schedules._report_late(services, stored)
        return len(pinned.firing)

    patch.setattr(schedules, "fire_due", fire_due)


def name_runs_by_message(patch: pytest.MonkeyPatch) -> None:
    """Derive a run's id from the message instead of the instant."""
    numbers = count()
    patch.setattr(core, "scheduled_run_key", lambda name, at: ("schedule", name, str(at), str(next(numbers))))


def save_without_a_guard(patch: pytest.MonkeyPatch) -> None:
    """Write over what another instance has saved."""

    def save(services: Services, stored: Any, changed: FileSchedules) -> Any:
        if stored is None:
            return _save(services, stored, changed)
        path, fields = tick_path(changed.id), tick_fields(changed)
        (result,) = services.store.commit([Update(path=path, fields=fields)])
        document = Document(path=path, fields=fields, version=result.version)
        return schedules.StoredSchedules(schedules=changed, document=document)

    patch.setattr(schedules, "_save", save)


def forget_what_is_due_at_an_upload(patch: pytest.MonkeyPatch) -> None:
    """Let the schedules of a new generation begin anew, with nothing owed."""

    def register(known: FileSchedules | None, **upload: Any) -> FileSchedules | None:
        if known is not None and upload["generation"] <= known.generation:
            return None
        return _register(None, **upload)

    patch.setattr(core, "register", register)


def take_any_generation(patch: pytest.MonkeyPatch) -> None:
    """Register an older generation that is reported late."""

    def register(known: FileSchedules | None, **upload: Any) -> FileSchedules | None:
        return _register(None if known is None else replace(known, generation=0), **upload)

    patch.setattr(core, "register", register)
    patch.setattr(schedules, "_confirm", lambda *_: None)


def trust_cronsim(patch: pytest.MonkeyPatch) -> None:
    """Leave the nights when clocks change to the library."""

    def after(calendar: Calendar, instant: datetime) -> datetime | None:
        zone = ZoneInfo(calendar.zone)
        return next(CronSim(calendar.cron, instant.astimezone(zone))).astimezone(UTC)

    patch.setattr(Calendar, "after", after)


def take_all_times_for_real(patch: pytest.MonkeyPatch) -> None:
    """Run a fixed time twice if it occurs twice, and not at all if it does not exist."""
    patch.setattr(Calendar, "is_fixed", property(lambda _: False))


def start_nothing_late(patch: pytest.MonkeyPatch) -> None:
    """Take an instant for missed as soon as a tick is late."""
    patch.setattr(core, "ON_TIME", timedelta(0))


def acknowledge_a_refused_commit(patch: pytest.MonkeyPatch) -> None:
    """Drop a start whose run could not be written."""

    def handle(services: Services, event: Any) -> Any:
        try:
            return _handle_start(services, event)
        except Conflict:
            return None

    seeds = count()

    def seed_run(*args: Any, **named: Any) -> None:
        if next(seeds) % 5 == 3:
            return
        _seed_run(*args, **named)

    patch.setattr(start, "handle_start", handle)
    patch.setattr(seed, "seed_run", seed_run)


def report_every_run(patch: pytest.MonkeyPatch) -> None:
    """Report a run as late without a look at it."""

    def report(services: Services, path: str, watch: core.Watch) -> None:
        late = late_message(watch.run_id, path=path, state=None, at=watch.at, late_at=watch.late_at)
        services.bus.publish([late])

    patch.setattr(schedules, "report_missing", report)


_save, _register, _handle_start, _seed_run = schedules._save, core.register, start.handle_start, seed.seed_run


@pytest.mark.parametrize(
    ("plant", "zone", "began"),
    [
        (publish_after_clearing, "UTC", SPRING),
        (name_runs_by_message, "UTC", SPRING),
        (save_without_a_guard, "Europe/Paris", SPRING),
        (forget_what_is_due_at_an_upload, "UTC", SPRING),
        (take_any_generation, "UTC", SPRING),
        (trust_cronsim, "Australia/Lord_Howe", EARLY_AUTUMN),
        (take_all_times_for_real, "America/New_York", LATE_AUTUMN),
        (take_all_times_for_real, "Europe/Paris", SPRING),
        (start_nothing_late, "UTC", SPRING),
        (acknowledge_a_refused_commit, "UTC", SPRING),
        (report_every_run, "UTC", SPRING),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant, zone: str, began: datetime) -> None:
    """Some week breaks a rule with the bug."""
    cron._next_on_the_clock.cache_clear()
    for number in range(6):
        year = Year(zone=zone, seed=number, began=began, length=WEEK)
        with monkeypatch.context() as patch:
            plant(patch)
            try:
                year.play()
            except AssertionError:
                return
    pytest.fail("the bug was not found")
