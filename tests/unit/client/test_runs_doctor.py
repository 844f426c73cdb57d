"""`runs doctor` on a whole coordinator in one process."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from support.workflows import chain
from unit.client.test_runs import call, ended


def begun(script: str = "default: {duration: 1000}") -> tuple[World, str]:
    """Return a world with a run whose first step runs."""
    world = World(script)
    run_id = world.start(chain(3))
    world.settle_down()
    return world, run_id


def miscounted() -> tuple[World, str]:
    """Return a world with a run of which one counter is too high."""
    world, run_id = begun()
    world.store.commit([Update(path=step_path(run_id, "s1"), fields={"remaining": 2})])
    return world, run_id


def test_a_run_that_is_well_lists_what_it_waits_for() -> None:
    """The steps of a healthy run are listed with their jobs."""
    world, run_id = begun()
    result = call(world, "doctor", run_id)
    assert result.exit_code == 0
    assert f"Run {run_id} is RUNNING: 0 of 3 steps ended." in result.stdout
    assert "s0 is RUNNING, attempt 1, job " in result.stdout
    assert "Nothing is wrong with the run" in result.stdout


def test_a_next_look_is_not_in_the_past() -> None:
    """A job's next look is shown only while it is in the future."""
    world, run_id = begun()
    assert "; next check " in call(world, "doctor", run_id).stdout
    world.clock.move(timedelta(minutes=10))
    printed = call(world, "doctor", run_id).stdout
    assert ("s0 is RUNNING" in printed, "next check" in printed) == (True, False)


def test_a_run_that_has_ended_is_well() -> None:
    """A run that has ended is well."""
    world, run_id = ended()
    result = call(world, "doctor", run_id)
    assert (result.exit_code, "Nothing is wrong with the run" in result.stdout) == (0, True)


def test_a_wrong_counter_is_reported_and_fixed() -> None:
    """A wrong counter is reported with both counts, and fixed."""
    world, run_id = miscounted()
    first = call(world, "doctor", run_id)
    assert "Problem: step s1 counts 2 of its dependencies as unfinished and 0 as unsuccessful" in first.stdout
    assert "their states show 1 and 0 (fixed)." in first.stdout
    assert first.exit_code == 0
    assert "Nothing is wrong" in call(world, "doctor", run_id).stdout


def test_a_dry_run_changes_nothing() -> None:
    """`--dry-run` reports the same, changes nothing, and exits with 1."""
    world, run_id = miscounted()
    for _ in range(2):
        result = call(world, "doctor", "--dry-run", run_id)
        assert (result.exit_code, "(would be fixed)" in result.stdout) == (1, True)


def test_what_cannot_be_fixed_says_what_to_do() -> None:
    """A deleted document is named, with the command that ends the run."""
    world, run_id = begun()
    world.store.inner.delete(step_path(run_id, "s2"))
    result = call(world, "doctor", run_id)
    assert result.exit_code == 1
    assert "step s2 is missing, though step s1 and 1 more are connected to it (cannot be fixed)" in result.stdout
    assert f"`atom-workflows runs cancel {run_id}` ends the run" in result.stdout


def test_a_checker_that_does_not_come_is_noticed() -> None:
    """A step that has been due for minutes shows that no checker came."""
    world, run_id = begun()
    world.clock.move(timedelta(minutes=5))
    result = call(world, "doctor", run_id)
    assert (result.exit_code, "the checker has not processed it" in result.stdout) == (1, True)


def test_a_job_that_runs_for_long_is_no_sign_of_a_missing_checker() -> None:
    """A long job's old due time does not count as a missed look."""
    world, run_id = begun("default: {duration: 100000}")
    for _ in range(20):
        world.clock.move(timedelta(minutes=1))
        world.tick()
    result = call(world, "doctor", run_id)
    assert (result.exit_code, "the checker has not processed it" in result.stdout) == (0, False)


def test_what_no_one_took_is_published_again() -> None:
    """A released step whose event is lost is published by the doctor."""
    world = World()
    run_id = world.start(chain(1))
    world.bus.take_all("steps")
    assert "Published again: 1 released step" in call(world, "doctor", run_id).stdout
    world.settle_down()
    assert world.states(run_id) == {"s0": "SUCCEEDED"}


def test_a_program_gets_json() -> None:
    """--json prints one object with what was found and what was fixed."""
    world, run_id = miscounted()
    printed = json.loads(call(world, "doctor", "--json", run_id).stdout)
    assert printed["under_way"] == ["s0"]
    assert [(one["step"], one["flaw"], one["fixed"]) for one in printed["found"]] == [("s1", "miscounted", True)]


SILENT = "default: {duration: 90000, status_errors: [{status: 500, times: forever}]}"
DEAF = "default: {submit_errors: [{status: 503, times: forever}]}"


@pytest.mark.parametrize(
    ("script", "minutes", "sentence"),
    [
        ("default: {duration: 90000, lose_job: always}", 0.5, "has been reporting job "),
        ("default: {duration: 90000, states: [COMPLETING]}", 0.5, "'COMPLETING', which the contract does not define"),
        (SILENT, 8, "has given no valid response to queries about job "),
        (DEAF, 20, "has not accepted its job for "),
    ],
)
def test_a_task_runner_that_keeps_a_step_waiting_is_reported(script: str, minutes: float, sentence: str) -> None:
    """`doctor`, `show` and events report an odd job, and its step goes on."""
    world, run_id = begun(script)
    for _ in range(int(minutes * 6)):
        world.clock.move(timedelta(seconds=10))
        world.tick()
    doctored = call(world, "doctor", "--dry-run", run_id)
    assert (doctored.exit_code, sentence in doctored.stdout) == (1, True)
    assert "Problem: step s0: the Task Runner " in doctored.stdout
    assert "Nothing is wrong" not in doctored.stdout
    assert sentence in call(world, "show", run_id).stdout
    assert [one["step"] for one in json.loads(call(world, "doctor", "--json", run_id).stdout)["odd"]] == ["s0"]
    events = [change.get("message", "") for message in world.changes() for change in message.body["changes"]]
    assert any(sentence.partition(" for ")[0] in said for said in events)
    assert world.states(run_id)["s0"] in {"RUNNING", "DISPATCHING"}


@pytest.mark.parametrize("script", [SILENT, DEAF])
def test_a_short_silence_is_not_reported(script: str) -> None:
    """An outage of four minutes is not reported."""
    world, run_id = begun(script)
    for _ in range(24):
        world.clock.move(timedelta(seconds=10))
        world.tick()
    assert "Nothing is wrong with the run" in call(world, "doctor", "--dry-run", run_id).stdout
