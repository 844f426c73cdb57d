"""The `runs` commands say where the logs of jobs are, and which jobs could not be stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping

from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from support.workflows import chain, definition


def call(world: World, *args: str) -> Result:
    """Call a command that finds this world's services."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, ["runs", *args], obj=connect, catch_exceptions=False)


def test_show_names_the_log_of_each_job() -> None:
    """A person sees the address, a program gets it."""
    world = World("default: {duration: 15, logsUrl: 'https://logs.test/7'}")
    run_id = world.start(chain(1))
    world.settle_down()
    assert "\nlog of `s0`: https://logs.test/7\n" in call(world, "show", run_id).stdout
    shown = json.loads(call(world, "show", run_id, "--json").stdout)["steps"][0]
    assert (shown["logs_url"], shown["unstopped_jobs"]) == ("https://logs.test/7", [])
    assert "https://logs.test/7" in call(world, "why", run_id, "s0").stdout


def test_a_run_that_has_ended_has_no_deadline() -> None:
    """The time limit of the steps under `finally` is shown only while they run."""
    world = World("default: {duration: 15}")
    run_id = world.start("steps: [{id: a, task: {imageUri: x}}]\nfinally: [{id: z, task: {imageUri: x}}]\ntimeout: 1h")
    world.settle_down()
    assert "\ndeadline " in call(world, "show", run_id).stdout
    world.run_to_end(run_id)
    assert "\ndeadline " not in call(world, "show", run_id).stdout


def test_show_says_that_a_job_has_not_started() -> None:
    """The row of a RUNNING step shows the state of a job that waits at the Task Runner, and none of one that runs."""
    world = World("rules: [{step: s0, duration: 60, states: [QUEUED]}, {step: s1, duration: 60}]")
    run_id = world.start(definition({"s0": [], "s1": []}))
    world.settle_down()
    rows = [line.split() for line in call(world, "show", run_id).stdout.splitlines() if line.startswith(("s0 ", "s1 "))]
    assert [(row[1], row[-1]) for row in rows] == [("RUNNING", "QUEUED"), ("RUNNING", rows[1][-1])]
    assert "RUNNING" not in rows[1][2:]


def test_show_lists_only_as_many_logs_as_one_can_read() -> None:
    """A wide run is not followed by thousands of addresses."""
    world = World("default: {duration: 15, logsUrl: 'https://logs.test/7'}")
    run_id = world.start(definition({f"s{i}": [] for i in range(100)}))
    world.settle_down()
    shown = call(world, "show", run_id).stdout
    assert shown.count("log of `") == 60
    assert "and 40 more logs; --json shows all of them" in shown


def test_jobs_that_could_not_be_stopped_are_named() -> None:
    """A cancellation says how many there are, and `show` says which."""
    world = World("default: {duration: 1000, stop: ignore}")
    run_id = world.start(definition({"a": [], "b": []}))
    world.settle_down()
    said = call(world, "cancel", run_id).stdout
    assert f"Run {run_id} is cancelled: no more jobs will be submitted." in said
    assert "Jobs of 2 steps could not be stopped and may still be running" in said
    shown = call(world, "show", run_id).stdout
    assert "the Task Runner did not stop these jobs of `a`, which may still be running: `job-000001`" in shown
    shown_steps = json.loads(call(world, "show", run_id, "--json").stdout)["steps"]
    assert [one["unstopped_jobs"] for one in shown_steps] == [["job-000001"], ["job-000002"]]


def test_a_cancellation_without_jobs_needs_no_warning() -> None:
    """Nothing is said of jobs if none may still run."""
    world = World()
    run_id = world.start(definition({"a": []}))
    assert call(world, "cancel", run_id).stdout == f"Run {run_id} is cancelled: no more jobs will be submitted.\n"


def test_show_says_which_earlier_job_a_step_waits_for() -> None:
    """A submission that is put off on purpose was not tried in vain."""
    world = World("default: {duration: 1000, stop: {after: 500}}")
    run_id = world.start(chain(1))
    world.settle_down()
    call(world, "cancel", run_id)
    call(world, "retry", run_id)
    world.settle_down()
    shown = call(world, "show", run_id).stdout
    assert "Step `s0` has not been submitted yet: job job-000001 of an earlier attempt is being stopped first." in shown
    assert "(tried" not in shown
