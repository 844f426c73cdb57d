"""Who changed a run or the schedules of a file is recorded by the write that changes it."""

from __future__ import annotations

from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import cancel_run, retry_run
from atom_workflows.coordinator.repair import examine
from atom_workflows.coordinator.schedules import list_schedules, pause_schedules, resume_schedules
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import RunStateError
from atom_workflows.ports import Update
from support.meanwhile import meanwhile
from support.workflows import chain

ANA, BOB = "ana@example.com", "bob@example.com"
PATH = "gs://bucket/workflows/flow.yaml"
NIGHTLY = "schedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]"


def recorded(world: World, run_id: str) -> list[tuple[str, ...]]:
    """Return what the run records, oldest first."""
    return [(one.actor, one.what, one.why) for one in world.run(run_id).changes]


def test_a_run_records_who_cancelled_and_retried_it() -> None:
    """Each command is recorded with its user and its reason, whoever gave the others."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(2))
    cancel_run(world.services, run_id, actor=ANA, reason="the wrong day")
    retry_run(world.services, run_id, actor=BOB)
    cancel_run(world.services, run_id, actor=BOB, now=True)
    assert recorded(world, run_id) == [(ANA, "cancel", "the wrong day"), (BOB, "retry", ""), (BOB, "cancel --now", "")]
    assert world.run(run_id).changes[0].at == world.run(run_id).created_at


def test_the_reason_of_a_cancellation_is_that_of_its_steps() -> None:
    """Without a reason, a cancelled run says that a user cancelled it, and records no reason."""
    world = World("default: {duration: 100}")
    given, none = world.start(chain(2), run_key="1"), world.start(chain(2), run_key="2")
    cancel_run(world.services, given, actor=ANA, reason="the wrong day")
    cancel_run(world.services, none, actor=ANA)
    stops = [world.run(run_id).stop for run_id in (given, none)]
    assert [stop and stop.reason for stop in stops] == ["the wrong day", "cancelled by the user"]
    assert recorded(world, none) == [(ANA, "cancel", "")]


def test_a_command_that_is_refused_is_not_recorded() -> None:
    """A run that has ended was not cancelled by those who tried."""
    world = World()
    run_id = world.start(chain(2))
    world.run_to_end(run_id)
    with pytest.raises(RunStateError):
        cancel_run(world.services, run_id, actor=ANA)
    with pytest.raises(RunStateError):
        retry_run(world.services, run_id, actor=ANA)
    assert recorded(world, run_id) == []


def test_recording_costs_no_write_of_its_own() -> None:
    """The run is written once to be stopped, and once to be reopened."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(2))
    written: list[dict[str, Any]] = []

    def notes(name: str, argument: Any) -> bool:
        if name == "commit":
            written.extend(
                dict(one.fields) for one in argument if isinstance(one, Update) and one.path == run_path(run_id)
            )
        return False

    meanwhile(world, notes, lambda: None)
    cancel_run(world.services, run_id, actor=ANA)
    retry_run(world.services, run_id, actor=ANA)
    of_changes = [fields for fields in written if "changes" in fields]
    assert [("stop" in fields, "retries" in fields) for fields in of_changes] == [(True, False), (True, True)]


def test_a_run_records_who_had_it_repaired() -> None:
    """An examination that fixed something is recorded, and one that found nothing is not."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(2))
    examine(world.services, run_id, fixing=True, actor=ANA)
    world.store.commit([Update(path=step_path(run_id, "s1"), fields={"remaining": 5})])
    examine(world.services, run_id, fixing=False, actor=ANA)
    assert recorded(world, run_id) == []
    assert examine(world.services, run_id, fixing=True, actor=ANA).fixed
    assert recorded(world, run_id) == [(ANA, "doctor", "")]


def test_a_file_records_who_paused_its_schedules() -> None:
    """Pausing what is paused changes nothing, and an upload keeps the record."""
    world = World()
    world.upload(NIGHTLY)
    pause_schedules(world.services, PATH, actor=ANA, reason="the source is down")
    pause_schedules(world.services, PATH, actor=BOB)
    world.upload(f"{NIGHTLY} # changed")
    resume_schedules(world.services, PATH, actor=BOB)
    [found] = list_schedules(world.services)
    assert [(one.actor, one.what, one.why) for one in found.changes] == [
        (ANA, "pause", "the source is down"),
        (BOB, "resume", ""),
    ]
