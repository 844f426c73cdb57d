"""The `schedules` commands, and what other commands say about schedules and deadlines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.doctor.firestore import state_findings
from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.services import Services

PATH = "gs://bucket/workflows/flow.yaml"
BEGAN = datetime(2026, 3, 27, 12, tzinfo=UTC)
FLOW = """
timezone: Europe/Paris
params: {mode: full}
schedules:
  - cron: 30 2 * * *
  - {cron: 0 12 * * 1, params: {mode: delta}}
deadline: {after: 1h}
steps: [{id: a, task: {imageUri: image, args: ["${{ params.mode }}"]}}]
"""


def call(world: World, *args: str) -> Result:
    """Call a command that finds this world's services."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, list(args), obj=connect)


def world() -> World:
    """Return a world with a file whose schedules are registered."""
    here = World("default: {duration: 100000}", clock=MovedClock(BEGAN))
    here.upload(FLOW)
    return here


def test_no_schedules_are_said_in_a_sentence() -> None:
    """An empty list says how to register some."""
    assert "There are no schedules" in call(World(), "schedules", "list").stdout


def test_list_shows_each_schedule_with_its_next_time() -> None:
    """Times are shown in the zone of the file."""
    here = world()
    lines = call(here, "schedules", "list").stdout.splitlines()
    assert lines[0].split() == ["STATE", "CRON", "TIMEZONE", "NEXT", "FILE"]
    assert "30 2 * * *" in lines[1]
    assert "2026-03-28 02:30 +01:00" in lines[1]
    assert "2026-03-30 12:00 +02:00" in lines[2]
    (found,) = json.loads(call(here, "schedules", "list", "--json").stdout)["files"]
    assert (found["path"], found["state"], found["timezone"]) == (PATH, "ACTIVE", "Europe/Paris")
    assert [one["next_at"] for one in found["schedules"]] == ["2026-03-28T01:30:00.000Z", "2026-03-30T10:00:00.000Z"]
    assert found["schedules"][1]["params"] == {"mode": "delta"}


def test_next_notes_nights_when_clocks_change() -> None:
    """A time that does not exist is shown where it is run, and why."""
    lines = call(world(), "schedules", "next", PATH, "--count", "3").stdout.splitlines()
    assert lines == [
        "2026-03-28 02:30 +01:00  30 2 * * *",
        "2026-03-29 03:00 +02:00  30 2 * * *  (clocks go forward, so its time does not exist that day)",
        "2026-03-30 02:30 +02:00  30 2 * * *",
    ]
    found = json.loads(call(world(), "schedules", "next", PATH, "--count", "2", "--json").stdout)
    assert [one["note"] is None for one in found["next"]] == [True, False]


def test_a_file_is_paused_and_resumed() -> None:
    """The list and the next times say that it is paused, and resuming says what comes next."""
    here = world()
    assert "Paused 2 schedules" in call(here, "schedules", "pause", PATH).stdout
    assert "are already paused" in call(here, "schedules", "pause", PATH).stdout
    assert "PAUSED" in call(here, "schedules", "list").stdout
    assert "The schedules are paused" in call(here, "schedules", "next", PATH).stdout
    resumed = call(here, "schedules", "resume", PATH).stdout
    assert "Resumed 2 schedules" in resumed
    assert "2026-03-28 02:30 +01:00" in resumed


def test_a_file_without_schedules_is_refused() -> None:
    """The exit code is that of a wrong option, and the message says what to do."""
    for words in (("pause",), ("resume",), ("next",)):
        refused = call(World(), "schedules", *words, PATH)
        assert refused.exit_code == 2
        assert "has no schedules in this deployment" in refused.output
        assert call(World(), "schedules", *words, "flow.yaml").exit_code == 2


def test_deleted_files_are_listed_on_request() -> None:
    """A tombstone is shown only with --deleted."""
    here = world()
    here.delete()
    assert "There are no schedules" in call(here, "schedules", "list").stdout
    assert "DELETED" in call(here, "schedules", "list", "--deleted").stdout


def test_a_late_run_is_shown_as_late() -> None:
    """The list, the run itself and `why` say so."""
    here = world()
    for _ in range(2 * 60 * 8):
        here.clock.move(timedelta(minutes=1))
        here.tick()
    (run,) = json.loads(call(here, "runs", "list", "--json").stdout)["runs"]
    assert run["late"] is True
    assert run["scheduled_at"] == "2026-03-28T01:30:00.000Z"
    assert run["window_start"] == "2026-03-27T01:30:00.000Z"
    assert ", late  " in call(here, "runs", "list").stdout
    shown = call(here, "runs", "show", run["id"]).stdout
    assert "It is late: its deadline was" in shown
    assert "for the window from" in shown
    assert "It is late: its deadline was" in call(here, "why", run["id"]).stdout
    reasons = json.loads(call(here, "why", run["id"], "--json").stdout)["reasons"]
    assert reasons[0]["kind"] == "late"


def test_a_run_is_started_as_of_a_time(tmp_path: Path) -> None:
    """A time without an offset is in the zone of the file, and an object in a bucket needs an offset."""
    here = world()
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW)
    assert call(here, "start", str(file), "--at", "2026-03-01T02:30").exit_code == 0
    here.settle_down("start")
    found = json.loads(call(here, "runs", "list", "--json").stdout)["runs"]
    assert [run["scheduled_at"] for run in found] == ["2026-03-01T01:30:00.000Z"]
    refused = call(here, "start", PATH, "--at", "2026-03-01T02:30")
    assert refused.exit_code == 2
    assert "--at needs an offset" in refused.output


def test_a_doubtful_time_is_warned_of(tmp_path: Path) -> None:
    """A time to come, and one that clocks skip, are accepted with a warning."""
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW)
    planned = CliRunner().invoke(cli, ["plan", str(file), "--at", "2027-03-28T02:30"])
    assert "2027-03-28T02:30:00 does not exist; using 2027-03-28 03:30 +02:00" in planned.stderr
    assert "Warning: --at" not in planned.stderr
    started = call(world(), "start", str(file), "--at", "2099-01-01")
    assert "Warning: --at 2099-01-01T00:00:00 is in the future" in started.stderr
    assert call(world(), "start", str(file), "--at", "2026-01-01T02:30").stderr == ""


def test_plan_shows_the_deadline_of_the_next_run(tmp_path: Path) -> None:
    """A deadline is shown with the time that it leaves, so that one that is too late or too early is noticed."""
    file = tmp_path / "flow.yaml"
    file.write_text("schedules: [{cron: 30 2 * * *}]\ndeadline: {at: '01:00'}\nsteps: [{id: a, task: {imageUri: i}}]")
    planned = CliRunner().invoke(cli, ["plan", str(file), "--at", "2026-03-27T12:00"])
    said = "the next scheduled run is late after 2026-03-29 01:00 +00:00, 22 h 30 min after its scheduled time"
    assert said in planned.stdout
    as_json = CliRunner().invoke(cli, ["plan", str(file), "--at", "2026-03-27T12:00", "--json"])
    assert json.loads(as_json.stdout)["late_at"] == "2026-03-28T01:00:00.000Z"


def test_plan_shows_the_next_five_times(tmp_path: Path) -> None:
    """Each schedule is shown with its next five times and what the clocks do to them."""
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW)
    planned = CliRunner().invoke(cli, ["plan", str(file), "--at", "2026-03-27T12:00"])
    section = planned.stdout.partition("SCHEDULES\n")[2].splitlines()
    assert section[0] == "  30 2 * * * (Europe/Paris)"
    assert section[2] == "    2026-03-29 03:00 +02:00  clocks go forward, so its time does not exist that day"
    assert section[6] == "  0 12 * * 1 (Europe/Paris)"
    as_json = CliRunner().invoke(cli, ["plan", str(file), "--at", "2026-03-27T12:00", "--json"])
    assert [len(one["next"]) for one in json.loads(as_json.stdout)["schedules"]] == [5, 5]


def test_the_doctor_names_schedules_that_are_overdue() -> None:
    """Schedules that no checker has started are reported apart from steps, with what to do."""
    here = world()
    found = {one.about: one for one in state_findings(here.services, tick_fix="start the checker")}
    assert found["schedules"].detail == "none is overdue"
    here.clock.move(timedelta(days=1))
    late = {one.about: one for one in state_findings(here.services, tick_fix="start the checker")}
    assert late["schedules"].detail.startswith("overdue since")
    assert late["schedules"].fix == "start the checker"
    assert "no step is waiting" in late["checker"].detail
