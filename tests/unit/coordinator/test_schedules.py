"""Schedules: uploads register them, the checker starts their runs, and each instant starts one."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.schedules import list_schedules, pause_schedules, resume_schedules
from atom_workflows.core.records import RunRecord
from atom_workflows.core.schedules import FileSchedules
from atom_workflows.core.states import RunState
from atom_workflows.documents import RUNS
from atom_workflows.errors import ScheduleNotFound
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Query, Update
from atom_workflows.run_documents import run_record
from support.commands import ACTOR
from support.mortal import Died, Fate, make_mortal

PATH = "gs://bucket/workflows/flow.yaml"
BEGAN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

NIGHTLY = """
schedules:
  - cron: 0 2 * * *
steps: [{id: a, task: {imageUri: image}}]
"""


def world() -> World:
    """Return a world whose time begins on a Sunday in March, at half past midnight."""
    return World(clock=MovedClock(BEGAN))


def runs(of: World) -> list[RunRecord]:
    """Return all runs, in the order of their scheduled times."""
    found = [run_record(document) for document in of.store.inner.query(Query(collection=RUNS))]
    return sorted(found, key=lambda run: run.scheduled_at or run.created_at)


def instants(of: World) -> list[str]:
    """Return the scheduled times of all runs."""
    return [f"{run.scheduled_at:%d %H:%M}" if run.scheduled_at else "by hand" for run in runs(of)]


def live(of: World, span: timedelta, *, step: timedelta = timedelta(minutes=1)) -> None:
    """Let time pass with a tick of the scheduler at each step."""
    until = of.clock.now() + span
    while of.clock.now() < until:
        of.clock.move(step - (of.clock.now() - BEGAN) % step)
        of.tick()


def only(of: World) -> FileSchedules:
    """Return the schedules of the only file."""
    (found,) = list_schedules(of.services)
    return found


def test_an_upload_with_schedules_starts_nothing() -> None:
    """Uploading such a file registers its schedules, and only the clock starts runs."""
    here = world()
    assert here.upload(NIGHTLY) == ""
    assert runs(here) == []
    assert [entry.cron for entry in only(here).entries] == ["0 2 * * *"]
    live(here, 2 * HOUR)
    assert instants(here) == ["01 02:00"]
    (run,) = runs(here)
    assert run.trigger["kind"] == "schedule"
    assert run.trigger["cron"] == "0 2 * * *"
    assert run.window_start == datetime(2026, 2, 28, 2, tzinfo=UTC)
    assert run.source["generation"] == "1"
    assert run.created_at - datetime(2026, 3, 1, 2, tzinfo=UTC) <= timedelta(minutes=1)


def test_an_upload_without_schedules_runs_at_once() -> None:
    """A file that says nothing about schedules is run by its upload, and leaves no document of schedules."""
    here = world()
    run_id = here.upload("steps: [{id: a, task: {imageUri: image}}]")
    assert here.run(run_id).state is RunState.RUNNING
    assert list_schedules(here.services) == []


def test_an_empty_list_of_schedules_never_runs() -> None:
    """`schedules: []` uploads a file without running it, even if it has required parameters, and ends earlier ones."""
    here = world()
    here.upload(NIGHTLY)
    empty = (
        'schedules: []\nparams: {day: {type: date}}\nsteps: [{id: a, task: {imageUri: i, args: ["${{ params.day }}"]}}]'
    )
    assert here.upload(empty, generation=2) == ""
    live(here, 3 * HOUR)
    assert runs(here) == []


def test_a_file_with_required_parameters_and_no_schedules_is_invalid() -> None:
    """An upload cannot provide parameters, so the run is INVALID and says what to do."""
    here = world()
    run_id = here.upload(
        'params: {day: {type: date}}\nsteps: [{id: a, task: {imageUri: i, args: ["${{ params.day }}"]}}]'
    )
    assert here.run(run_id).state is RunState.INVALID
    assert "write `schedules: []` to upload it without running it" in here.run(run_id).errors[-1]["message"]


def test_a_run_has_the_parameters_of_its_schedule() -> None:
    """Values are passed on, and expressions read the instant for which the run is started."""
    here = world()
    here.upload(
        """
timezone: Europe/Paris
params: {day: {type: date}, mode: delta, since: {type: instant, default: "${{ run.window.start ?? run.createdAt }}"}}
schedules:
  - {cron: 0 4 * * *, params: {day: "${{ day(run.scheduledAt, -1) }}", mode: full}}
steps: [{id: a, task: {imageUri: image, args: ["${{ params.day }}", "${{ params.mode }}", "${{ params.since }}"]}}]
"""
    )
    live(here, 4 * HOUR)
    (run,) = runs(here)
    assert run.state is RunState.SUCCEEDED
    assert run.params == {"day": "2026-02-28", "mode": "full", "since": "2026-02-28T03:00:00Z"}
    assert run.defaulted == ("since",)


def test_a_parameter_that_cannot_be_computed_makes_the_run_invalid() -> None:
    """An expression that has no value at its time is a visible problem of the run, and the schedule goes on."""
    here = world()
    here.upload(
        """
params: {n: {type: int}}
schedules: [{cron: 0 2 * * *, params: {n: "${{ 1 // (len(run.trigger) - 8) }}"}}]
steps: [{id: a, task: {imageUri: i, args: ["${{ params.n }}"]}}]
"""
    )
    live(here, 2 * DAY)
    assert [run.state for run in runs(here)] == [RunState.INVALID, RunState.INVALID]
    assert "`params.n` of the schedule cannot be computed" in runs(here)[0].errors[0]["message"]


def test_a_run_reads_the_newest_generation_of_its_file() -> None:
    """If the file has become invalid, the run is INVALID, visibly, and the schedule goes on with a correct one."""
    here = world()
    here.upload(NIGHTLY)
    assert here.run(here.upload("schedules: [{cron: 0 3 * * *}]\nsteps: oops", generation=2)).state is RunState.INVALID
    live(here, 2 * HOUR)
    scheduled = [run for run in runs(here) if run.scheduled_at]
    assert [(run.state, run.source["generation"]) for run in scheduled] == [(RunState.INVALID, "2")]
    here.upload(NIGHTLY.replace("image}", "other}"), generation=3)
    live(here, DAY)
    assert [(run.state, run.source["generation"]) for run in runs(here) if run.scheduled_at][1:] == [
        (RunState.SUCCEEDED, "3")
    ]


def test_an_upload_replaces_schedules() -> None:
    """A newer generation replaces the schedules; the same one, or an older one, changes nothing."""
    here = world()
    here.upload(NIGHTLY)
    here.upload(NIGHTLY.replace("0 2", "0 5"), generation=7)
    before = only(here)
    here.files.content[PATH, "3"] = NIGHTLY.encode()
    assert here.report_upload(generation=3) == ""
    assert here.report_upload(generation=7) == ""
    assert only(here) == before
    live(here, 6 * HOUR)
    assert instants(here) == ["01 05:00"]


def test_a_file_without_schedules_ends_earlier_ones() -> None:
    """A newer generation without schedules runs at once, and the schedules of the earlier one end."""
    here = world()
    here.upload(NIGHTLY)
    here.upload(NIGHTLY.replace("schedules:\n  - cron: 0 2 * * *\n", ""), generation=2)
    live(here, 3 * HOUR)
    assert instants(here) == ["by hand"]


def test_a_deletion_ends_schedules_and_leaves_a_tombstone() -> None:
    """After a deletion nothing runs, even if the upload is reported again; a newer upload brings schedules back."""
    here = world()
    here.upload(NIGHTLY, generation=4)
    here.delete(generation=4)
    here.files.content[PATH, "4"] = NIGHTLY.encode()
    here.report_upload(generation=4)
    live(here, 3 * HOUR)
    assert runs(here) == []
    assert only(here).deleted_at is not None
    here.upload(NIGHTLY, generation=5)
    assert only(here).deleted_at is None
    live(here, DAY)
    assert instants(here) == ["02 02:00"]


def test_the_deletion_of_an_older_generation_ends_nothing() -> None:
    """Deletions that are reported late, after a newer upload, are ignored."""
    here = world()
    here.upload(NIGHTLY, generation=4)
    here.upload(NIGHTLY, generation=5)
    here.files.content[PATH, "5"] = NIGHTLY.encode()
    here.delete(generation=4)
    live(here, 2 * HOUR)
    assert instants(here) == ["01 02:00"]


def test_a_deletion_that_comes_before_its_upload_wins() -> None:
    """Events come in any order: the upload of a deleted generation registers nothing."""
    here = world()
    here.delete(generation=9)
    here.files.content[PATH, "9"] = NIGHTLY.encode()
    here.report_upload(generation=9)
    assert only(here).entries == ()


def test_a_file_that_is_gone_before_it_is_registered_is_ended() -> None:
    """A replacement that the bucket reported before the document existed is noticed all the same."""
    here = world()
    here.files.content[PATH, "3"] = NIGHTLY.encode()
    here.files.content[PATH, "4"] = b"steps: [{id: a}]"
    here.report_upload(generation=3)
    assert only(here).entries == ()
    assert only(here).generation == 4


def test_due_instants_fire_before_a_replacement() -> None:
    """An instant that was due when a newer generation came is started, once, and the new schedules begin after it."""
    here = world()
    here.upload(NIGHTLY)
    here.clock.move(timedelta(hours=1, minutes=31))
    here.upload(NIGHTLY.replace("0 2", "0,30 2"), generation=2)
    live(here, 2 * HOUR)
    assert instants(here) == ["01 02:00", "01 02:30"]


def test_a_schedule_that_stays_the_same_keeps_its_place() -> None:
    """An upload that changes only the steps neither repeats nor drops an instant."""
    here = world()
    here.upload(NIGHTLY)
    live(here, 2 * HOUR)
    here.upload(NIGHTLY.replace("image}", "other}"), generation=2)
    live(here, DAY)
    assert instants(here) == ["01 02:00", "02 02:00"]


def test_nothing_before_the_first_upload_is_owed() -> None:
    """A schedule begins when its file is uploaded, and so does one whose cron expression is another."""
    here = world()
    here.clock.move(3 * HOUR)
    here.upload(NIGHTLY.replace("0 2", "0 3"))
    here.upload(NIGHTLY, generation=2)
    live(here, HOUR)
    assert runs(here) == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("catchUp: last", ["01 02:00", "03 02:00", "04 02:00"]),
        ("catchUp: none", ["01 02:00", "04 02:00"]),
        ("within: 9h", ["01 02:00", "04 02:00"]),
        ("within: 11h", ["01 02:00", "03 02:00", "04 02:00"]),
    ],
)
def test_after_an_outage_of_two_days_the_policy_decides(policy: str, expected: list[str]) -> None:
    """The newest missed instant is started if it is not too old, and never more than that one."""
    here = world()
    here.upload(NIGHTLY.replace("* * *\n", f"* * *\n    {policy}\n"))
    live(here, 2 * HOUR)
    here.clock.move(2 * DAY + 10 * HOUR)
    live(here, DAY)
    assert instants(here) == expected


def test_frequent_instants_are_not_all_made_up_for() -> None:
    """After an outage, a schedule that runs each minute continues with the instants that are on time."""
    here = world()
    here.upload(NIGHTLY.replace("0 2 * * *", '"* * * * *"'))
    here.clock.move(2 * DAY)
    live(here, timedelta(minutes=2))
    assert [f"{run.scheduled_at:%H:%M}" for run in runs(here)] == [f"00:{minute}" for minute in range(27, 33)]


def test_nothing_is_caught_up_after_a_pause() -> None:
    """What a paused schedule would have started is never started, and the next instant is."""
    here = world()
    here.upload(NIGHTLY)
    pause_schedules(here.services, PATH, actor=ACTOR)
    live(here, 2 * DAY, step=10 * timedelta(minutes=1))
    assert runs(here) == []
    resume_schedules(here.services, PATH, actor=ACTOR)
    live(here, HOUR)
    assert runs(here) == []
    live(here, DAY, step=10 * timedelta(minutes=1))
    assert instants(here) == ["03 02:00"]


def test_a_pause_survives_uploads_and_starts_what_was_due_before_it() -> None:
    """A newer generation stays paused, and an instant from before the pause is not lost."""
    here = world()
    here.upload(NIGHTLY)
    here.clock.move(timedelta(hours=1, minutes=31))
    pause_schedules(here.services, PATH, actor=ACTOR)
    here.upload(NIGHTLY.replace("0 2", "0 3"), generation=2)
    live(here, 3 * HOUR)
    assert instants(here) == ["01 02:00"]
    assert only(here).paused_at is not None


def test_what_has_no_schedules_cannot_be_paused() -> None:
    """A file that was never uploaded, or was deleted, is reported by its name."""
    here = world()
    with pytest.raises(ScheduleNotFound, match=r"flow\.yaml has no schedules in this deployment"):
        pause_schedules(here.services, PATH, actor=ACTOR)
    here.upload(NIGHTLY)
    here.delete()
    with pytest.raises(ScheduleNotFound):
        resume_schedules(here.services, PATH, actor=ACTOR)


def test_an_idle_tick_costs_what_it_did() -> None:
    """With schedules that are not due, a tick is one query that reads one document, and writes nothing."""
    here = world()
    here.tick()
    assert (here.store.reads, here.store.writes) == (1, 0)
    here.upload(NIGHTLY)
    reads, writes = here.store.reads, here.store.writes
    here.clock.move(timedelta(minutes=10))
    here.tick()
    assert (here.store.reads - reads, here.store.writes - writes) == (1, 0)


def test_two_checkers_start_an_instant_once() -> None:
    """An instance that read the document before another changed it is refused, and its turn starts nothing."""
    here = world()
    here.upload(NIGHTLY)
    here.clock.move(2 * HOUR)
    here.tick()
    here.tick()
    live(here, HOUR)
    assert instants(here) == ["01 02:00"]


def test_a_document_that_cannot_be_read_delays_no_other() -> None:
    """Schedules that someone else has broken are logged, and those of other files are started."""
    here = world()
    here.upload(NIGHTLY)
    here.upload(NIGHTLY, path="gs://bucket/workflows/other.yaml")
    broken = next(path for path in here.store.written if path.endswith("~tick"))
    here.store.inner.commit([Update(path=broken, fields={"schedules": "{}"})])
    live(here, 2 * HOUR)
    assert instants(here) == ["01 02:00"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_death_at_any_call_starts_an_instant_once(*, after: bool) -> None:
    """Wherever the checker dies while it starts an instant, the next ticks start it, once."""
    for fatal in count(1):
        here = world()
        here.upload(NIGHTLY)
        here.clock.move(91 * timedelta(minutes=1))
        services, fate = here.services, Fate(fatal=fatal, after=after)
        make_mortal(here, fate)
        with suppress(Died):
            handle_tick(here.services, Tick())
        here.services = services
        live(here, 3 * timedelta(minutes=1))
        assert instants(here) == ["01 02:00"], f"{fate.calls}"
        assert only(here).firing == ()
        if len(fate.calls) < fatal:
            return


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_death_at_any_call_of_an_upload_registers_once(*, after: bool) -> None:
    """Wherever the start function dies, redelivery leaves the same schedules, and what was due is started."""
    for fatal in count(1):
        here = world()
        here.upload(NIGHTLY)
        here.clock.move(91 * timedelta(minutes=1))
        here.files.content = {(PATH, "2"): NIGHTLY.replace("0 2", "0 4").encode()}
        services, fate = here.services, Fate(fatal=fatal, after=after)
        make_mortal(here, fate)
        with suppress(Died):
            here.report_upload(generation=2)
        here.services = services
        here.report_upload(generation=2)
        live(here, 3 * HOUR)
        assert instants(here) == ["01 02:00", "01 04:00"], f"{fate.calls}"
        if len(fate.calls) < fatal:
            return
