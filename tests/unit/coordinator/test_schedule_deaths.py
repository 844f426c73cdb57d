"""Schedules whose documents a death, or an event in an unusual order, has left in a rare state."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from atom_emulator.testing.world import Files, MovedClock, World
from atom_workflows.coordinator.schedules import list_schedules, pause_schedules
from atom_workflows.core.schedules import FileSchedules, fire
from atom_workflows.documents import RUNS
from atom_workflows.errors import SourceError, SourceForbidden, SourceTooLarge
from atom_workflows.ports import Query, Update
from atom_workflows.run_documents import run_record
from atom_workflows.schedule_documents import tick_fields, tick_path
from support.commands import ACTOR
from support.mortal import Died, Fate, make_mortal

PATH = "gs://bucket/workflows/flow.yaml"
BEGAN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PLAIN = "steps: [{id: a, task: {imageUri: image}}]"
NIGHTLY = "schedules: [{cron: 0 2 * * *}]\n" + PLAIN


def world() -> World:
    """Return a world whose time begins on a Sunday in March, at half past midnight."""
    return World(clock=MovedClock(BEGAN))


def live(of: World, span: timedelta) -> None:
    """Let time pass with a tick of the scheduler each minute."""
    until = of.clock.now() + span
    while of.clock.now() < until:
        of.clock.move(MINUTE)
        of.tick()


def instants(of: World) -> list[str]:
    """Return the scheduled times of all scheduled runs."""
    runs = map(run_record, of.store.inner.query(Query(collection=RUNS)))
    return sorted(f"{run.scheduled_at:%d %H:%M}" for run in runs if run.scheduled_at)


def only(of: World) -> FileSchedules:
    """Return the schedules of the only file."""
    (found,) = list_schedules(of.services)
    return found


@pytest.mark.parametrize("change", ["upload", "pause"])
def test_what_is_due_fires_before_a_change_though_earlier_instants_are_still_pinned(change: str) -> None:
    """If whoever pinned an instant died, one that has become due since then is started as well."""
    here = world()
    both = NIGHTLY.replace("}]", "}, {cron: 3 2 * * *}]", 1)
    here.upload(both)
    here.clock.move(HOUR + 30 * MINUTE)
    pinned = fire(only(here), here.clock.now())
    here.store.inner.commit([Update(path=tick_path(pinned.id), fields=tick_fields(pinned))])
    here.clock.move(4 * MINUTE)
    if change == "upload":
        here.upload(both.replace("3 2", "0 7"), generation=2)
    else:
        pause_schedules(here.services, PATH, actor=ACTOR)
    live(here, 5 * MINUTE)
    assert instants(here) == ["01 02:00", "01 02:03"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_old_upload_that_dies_and_comes_again_leaves_no_schedules(*, after: bool) -> None:
    """Wherever it dies, redelivery asks for the newest generation, whose event came before there was a document."""
    for fatal in count(1):
        here = world()
        here.files.content = {(PATH, "1"): NIGHTLY.encode(), (PATH, "2"): PLAIN.encode()}
        here.report_upload(generation=2)
        services, fate = here.services, Fate(fatal=fatal, after=after)
        make_mortal(here, fate)
        with suppress(Died):
            here.report_upload(generation=1)
        here.services = services
        here.report_upload(generation=1)
        live(here, 2 * HOUR)
        assert instants(here) == [], f"{fate.calls}"
        if len(fate.calls) < fatal:
            return


@pytest.mark.parametrize("problem", [SourceTooLarge, SourceForbidden])
def test_a_newest_generation_that_cannot_be_read_leaves_the_schedules(problem: type[SourceError]) -> None:
    """The upload is registered and acknowledged, though a newer generation is too large, or may not be read."""

    class Unreadable(Files):
        def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
            if generation is None:
                raise problem(path)
            return super().read(path, generation)

    here = world()
    here.services = replace(here.services, source=Unreadable(content={(PATH, "1"): NIGHTLY.encode()}))
    here.report_upload(generation=1)
    assert len(only(here).entries) == 1
