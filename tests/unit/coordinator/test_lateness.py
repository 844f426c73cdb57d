"""Deadlines: a run that has not ended in time is reported once, whoever sees it first, and goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.schedules import pause_schedules
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.schedules import late_at_of
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Deadline
from atom_workflows.documents import run_path
from atom_workflows.messages.internal import Tick
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Update
from support.commands import ACTOR

PATH = "gs://bucket/workflows/flow.yaml"
BEGAN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BY_HAND = "deadline: {after: 30m}\nsteps: [{id: a, task: {imageUri: image}}]"
NIGHTLY = "schedules: [{cron: 0 1 * * *}]\n" + BY_HAND


def world(job_minutes: int) -> World:
    """Return a world in which jobs take the given time."""
    return World(f"default: {{duration: {60 * job_minutes}}}", clock=MovedClock(BEGAN))


def live(of: World, span: timedelta) -> None:
    """Let time pass with a tick of the scheduler each minute."""
    until = of.clock.now() + span
    while of.clock.now() < until:
        of.clock.move(MINUTE)
        of.tick()


def late(of: World) -> list[Any]:
    """Return the reports of runs that are late, since the last call."""
    taken = [message for part in iter(lambda: of.bus.take_all("events"), []) for message in part]
    for message in taken:
        of.bus.ack(message)
    return [message.body for message in taken if message.body["type"] == "run.late"]


def test_a_run_that_is_open_at_its_deadline_is_late() -> None:
    """It is reported once, marked, and goes on to its end."""
    here = world(job_minutes=50)
    run_id = here.start(BY_HAND)
    here.settle_down()
    live(here, 27 * MINUTE)
    assert late(here) == []
    assert not here.run(run_id).late
    live(here, 5 * MINUTE)
    (report,) = late(here)
    assert report == {
        "type": "run.late",
        "schema": 1,
        "id": report["id"],
        "run_id": run_id,
        "workflow_path": "flow.yaml",
        "state": "RUNNING",
        "scheduled_at": BEGAN.isoformat(),
        "late_at": (BEGAN + 30 * MINUTE).isoformat(),
    }
    assert here.run(run_id).late
    live(here, 30 * MINUTE)
    assert here.run(run_id).state is RunState.SUCCEEDED
    assert here.run(run_id).late
    assert late(here) == []


def test_a_run_that_ends_in_time_is_not_late() -> None:
    """Nothing is reported, also not when its deadline comes."""
    here = world(job_minutes=10)
    here.upload(NIGHTLY)
    live(here, 3 * HOUR)
    assert late(here) == []


@pytest.mark.parametrize(("ago", "reports"), [(25 * MINUTE, 1), (35 * MINUTE, 0)])
def test_a_run_started_by_hand_after_its_deadline_is_not_watched(ago: timedelta, reports: int) -> None:
    """A run for a past time is late only if it could have been in time when someone started it."""
    here = world(job_minutes=50)
    here.files.content[PATH, None] = BY_HAND.encode()
    asked = {"workflow_path": PATH, "run_key": "by hand", "scheduled_at": (BEGAN - ago).isoformat(), "schema": 2}
    run_id = handle_start(here.services, read_start_event(asked, event_id="1")).run_id
    here.settle_down()
    live(here, 10 * MINUTE)
    assert len(late(here)) == reports
    assert here.run(run_id).late is bool(reports)


def test_a_run_that_ends_after_its_deadline_is_late_though_no_one_looked() -> None:
    """The commit that ends the run marks and reports it."""
    here = world(job_minutes=20)
    run_id = here.start(BY_HAND)
    here.settle_down()
    here.clock.move(45 * MINUTE)
    here.tick()
    assert here.run(run_id).late
    assert len({report["id"] for report in late(here)}) == 1


def test_a_run_that_never_came_to_exist_is_late() -> None:
    """If the start function takes nothing, the checker's watch on the schedule reports the instant."""
    here = world(job_minutes=1)
    here.upload(NIGHTLY)
    for _ in range(120):
        here.clock.move(MINUTE)
        handle_tick(here.services, Tick())
    (report,) = late(here)
    assert report["state"] is None
    assert report["scheduled_at"] == "2026-03-01T01:00:00+00:00"


def test_an_instant_that_was_missed_is_late() -> None:
    """After an outage, the first instant that was not made up for is reported, and the one that was is not yet late."""
    here = world(job_minutes=1)
    here.upload(NIGHTLY)
    here.clock.move(timedelta(days=2, minutes=45))
    live(here, 5 * MINUTE)
    assert [report["scheduled_at"] for report in late(here)] == ["2026-03-01T01:00:00+00:00"]


@pytest.mark.parametrize("becomes", ["open", "INVALID", "SKIPPED", "missing"])
def test_a_run_that_is_made_up_for_after_its_deadline_is_reported_once(becomes: str) -> None:
    """After an outage, its run is not called missing before it had time to begin."""
    here = world(job_minutes=600)
    limited = NIGHTLY + "\nconcurrency: {whenFull: skip}"
    here.upload(limited)
    if becomes == "SKIPPED":
        handle_start(here.services, read_start_event({"workflow_path": PATH, "run_key": "k"}, event_id="1"))
        here.settle_down()
    if becomes == "INVALID":
        here.files.content[PATH, "2"] = b"steps: oops"
    here.clock.move(3 * HOUR)
    if becomes == "missing":
        for _ in range(20):
            here.clock.move(MINUTE)
            handle_tick(here.services, Tick())
    else:
        live(here, 20 * MINUTE)
    reports = [one["state"] for one in late(here) if one["scheduled_at"] == "2026-03-01T01:00:00+00:00"]
    assert reports == [{"open": "RUNNING", "missing": None}.get(becomes, becomes)]


def test_a_run_that_is_invalid_at_its_deadline_is_late() -> None:
    """A run that could not be started is marked as well as reported."""
    here = world(job_minutes=1)
    here.upload(NIGHTLY)
    here.files.content[PATH, "2"] = b"steps: oops"
    live(here, 2 * HOUR)
    (report,) = late(here)
    assert report["state"] == "INVALID"
    assert here.run(report["run_id"]).late


def test_nothing_is_late_while_the_schedules_are_paused() -> None:
    """The watch ends with the pause."""
    here = world(job_minutes=1)
    here.upload(NIGHTLY)
    live(here, 20 * MINUTE)
    pause_schedules(here.services, PATH, actor=ACTOR)
    live(here, 3 * HOUR)
    assert late(here) == []


def test_a_report_that_is_repeated_has_the_same_id() -> None:
    """If the checker dies before it marks the run, the report comes again, and can be recognized."""
    here = world(job_minutes=90)
    run_id = here.start(BY_HAND)
    here.settle_down()
    live(here, 32 * MINUTE)
    here.store.inner.commit([Update(path=run_path(run_id), fields={"late": False})])
    live(here, 10 * MINUTE)
    reports = late(here)
    assert len(reports) == 2
    assert len({report["id"] for report in reports}) == 1


def test_a_start_as_of_a_time_counts_from_that_time() -> None:
    """`scheduled_at` is what expressions read and what the deadline counts from, and differs between requests."""
    here = world(job_minutes=1)
    body = {
        "definition": BY_HAND.replace("imageUri: image", 'imageUri: image, args: ["${{ run.scheduledAt }}"]'),
        "run_key": "k",
        "scheduled_at": "2026-03-01T01:20:00+01:00",
        "schema": 2,
    }
    run_id = handle_start(here.services, read_start_event(body, event_id="1")).run_id
    run = here.run(run_id)
    assert run.scheduled_at == BEGAN - 10 * MINUTE
    assert run.late_at == BEGAN + 20 * MINUTE
    here.settle_down()
    (sent,) = here.task_runner.submitted
    assert sent[1]["args"] == ["2026-03-01T00:20:00Z"]
    again = handle_start(here.services, read_start_event({**body, "scheduled_at": None}, event_id="2"))
    assert "differs in its scheduled_at" in again.problems[0]["message"]


@pytest.mark.parametrize(
    ("at", "scheduled", "expected"),
    [
        ("06:00", "2026-03-28T02:30+01:00", "2026-03-28T06:00+01:00"),
        ("06:00", "2026-03-28T06:00+01:00", "2026-03-29T06:00+02:00"),
        ("02:30", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),
        ("02:30", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),
        ("06:00:30", "2026-03-28T06:00:10+01:00", "2026-03-28T06:00:30+01:00"),
    ],
)
def test_a_deadline_at_a_time_of_day_is_the_first_one_after(at: str, scheduled: str, expected: str) -> None:
    """It is the first such time after the scheduled one, by the rules of fixed times on nights when clocks change."""
    deadline = Deadline(at=datetime.fromisoformat(f"2026-01-01T{at}").time())
    found = late_at_of(deadline, datetime.fromisoformat(scheduled), "Europe/Paris")
    assert found == datetime.fromisoformat(expected)
