"""Schedules, deadlines, loops and limits of one file, which have to hold together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState, StepState
from support import groups
from support.commands import retry_run

BEGAN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
QUARTERLY = {"schedules": [{"cron": "*/15 * * * *"}], "deadline": {"after": "20m"}, "timeout": "45m"}


def definition(*, each: Any = None, **fields: Any) -> str:
    """Return a file of one step, with `each` as the items of a loop."""
    step = {"id": "train", "task": {"imageUri": "image"}, **({} if each is None else {"forEach": each})}
    return json.dumps({"concurrency": {}, "steps": [step], **fields})


def world(job_minutes: int, **rules: Any) -> World:
    """Return a world in which jobs take the given time."""
    script: Mapping[str, Any] = {"default": {"duration": 60 * job_minutes}, **rules}
    return World(json.dumps(script), clock=MovedClock(BEGAN))


def live(of: World, span: timedelta) -> None:
    """Let time pass with a tick of the scheduler each minute."""
    until = of.clock.now() + span
    while of.clock.now() < until:
        of.clock.move(MINUTE)
        of.tick()


def runs(of: World) -> list[RunRecord]:
    """Return the runs in the order of their scheduled times."""
    return sorted(groups.runs_of(of).values(), key=lambda run: run.scheduled_at or run.created_at)


def late(of: World) -> list[tuple[str, str]]:
    """Return the run and the state of each report of lateness so far."""
    taken = [message for part in iter(lambda: of.bus.take_all("events"), []) for message in part]
    return [(one.body["run_id"], one.body["state"]) for one in taken if one.body["type"] == "run.late"]


def test_instants_wait_for_one_another() -> None:
    """The runs of a schedule queue in its order, each as of its own instant."""
    here = world(job_minutes=25)
    here.upload(definition(**QUARTERLY))
    live(here, 46 * MINUTE)
    instants = [BEGAN + 15 * MINUTE, BEGAN + 30 * MINUTE, BEGAN + 45 * MINUTE]
    assert [run.scheduled_at for run in runs(here)] == instants
    assert [run.state for run in runs(here)] == [RunState.SUCCEEDED, RunState.RUNNING, RunState.QUEUED]
    assert {run.schema for run in runs(here)} == {4}


def test_a_deadline_counts_from_the_instant_and_a_timeout_from_the_place() -> None:
    """A queued run is reported as late once while it waits, and has all of its `timeout` once it begins."""
    here = world(job_minutes=40)
    here.upload(definition(**QUARTERLY))
    live(here, 52 * MINUTE)
    _, second, *_ = runs(here)
    assert second.state is RunState.QUEUED
    assert second.late_at == BEGAN + 50 * MINUTE
    assert second.late
    live(here, 5 * MINUTE)
    begun = here.run(second.id)
    assert begun.state is RunState.RUNNING
    assert begun.admitted_at is not None
    assert begun.deadline == begun.admitted_at + 45 * MINUTE
    live(here, 42 * MINUTE)
    assert here.run(second.id).state is RunState.SUCCEEDED
    assert [state for run_id, state in late(here) if run_id == second.id] == ["QUEUED"]


def test_a_run_that_is_skipped_is_late_at_its_deadline() -> None:
    """The schedule watches each of its instants, also one whose run never begins."""
    here = world(job_minutes=50)
    here.upload(definition(**QUARTERLY, concurrency={"whenFull": "skip"}))
    live(here, 32 * MINUTE)
    _, second = runs(here)
    assert second.state is RunState.SKIPPED
    assert not second.late
    live(here, 20 * MINUTE)
    assert here.run(second.id).late
    assert (second.id, "SKIPPED") in late(here)


def test_a_wait_that_ends_after_the_deadline_is_reported() -> None:
    """A run whose wait someone else ends is reported as late in the same step, as its audits end with it."""
    here = world(job_minutes=50)
    file = definition(deadline={"after": "30m"}, concurrency={"maxWait": "30m"})
    first, second = (groups.start(here, file, key) for key in ("1", "2"))
    here.settle_down()
    here.clock.move(31 * MINUTE)
    # A third run ends the wait of the second, before the checker has looked at it.
    groups.start(here, file, "3")
    here.settle_down()
    assert here.run(first).state is RunState.RUNNING
    skipped = here.run(second)
    assert (skipped.state, skipped.late) == (RunState.SKIPPED, True)
    assert late(here) == [(second, "SKIPPED")]
    live(here, 5 * MINUTE)
    assert second not in [run_id for run_id, _ in late(here)]


def test_a_loop_keeps_its_place_until_its_last_item_has_ended() -> None:
    """Items are written once the run begins, and the next run begins after the last of them."""
    here = world(job_minutes=5, rules=[{"step": "train[1]", "duration": 900}])
    first, second = (groups.start(here, definition(each=[1, 2]), key) for key in ("1", "2"))
    here.settle_down()
    live(here, 10 * MINUTE)
    assert [here.run(run_id).state for run_id in (first, second)] == [RunState.RUNNING, RunState.QUEUED]
    assert here.states(first)["train[0]"] == StepState.SUCCEEDED
    assert "train[0]" not in here.states(second)
    live(here, 8 * MINUTE)
    assert [here.run(run_id).state for run_id in (first, second)] == [RunState.SUCCEEDED, RunState.RUNNING]
    assert here.run_to_end(second).state is RunState.SUCCEEDED
    assert here.run(second).item_count == 2


def test_a_retried_loop_waits_for_a_place() -> None:
    """Only the failed items of a retry run, once the run at work has ended."""
    here = world(job_minutes=5, rules=[{"step": "train[1]", "duration": 60, "fail_times": 1}])
    file = definition(each=[1, 2])
    first = groups.start(here, file, "1")
    assert here.run_to_end(first).state is RunState.FAILED
    second = groups.start(here, file, "2")
    here.settle_down()
    retry_run(here.services, first)
    here.settle_down()
    assert [here.run(run_id).state for run_id in (first, second)] == [RunState.QUEUED, RunState.RUNNING]
    here.run_to_end(second)
    assert here.run_to_end(first).state is RunState.SUCCEEDED
    keys = [key for key, _ in here.task_runner.submitted if key.startswith(first)]
    assert sorted(keys) == [f"{first}/train[0]/1", f"{first}/train[1]/1", f"{first}/train[1]/2"]
