"""An attempt is timed out on the Task Runner's word, or after minutes without one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.states import RunState
from atom_workflows.core.timeouts import UNHEARD_FOR
from atom_workflows.documents import step_path
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Document, Query, Store, Update
from support.helpful_clock import HelpfulClock

MINUTE = timedelta(minutes=1)


def one_step(timeout: str, attempts: int = 1) -> str:
    """Return a workflow of one step."""
    step = {"id": "a", "timeout": timeout, "retry": {"maxAttempts": attempts}, "task": {"imageUri": "i"}}
    return json.dumps({"steps": [step]})


def play(world: World, run_id: str, *, paused: range = range(0), most: int = 90) -> None:
    """Tick each minute, unless the scheduler is paused, until the run has ended."""
    world.settle_down()
    for minute in range(most):
        if minute not in paused:
            handle_tick(replace(world.services, clock=HelpfulClock(world, "start", "steps", "tick")), Tick())
            world.settle_down("start", "steps", "tick")
        if world.run(run_id).state.is_terminal:
            return
        world.clock.move(max(timedelta(0), START + (minute + 1) * MINUTE - world.clock.now()))


@pytest.mark.parametrize(("duration", "timeout"), [(585, "10m"), (561, "10m"), (599, "10m"), (3555, "1h")])
def test_a_job_that_ended_within_its_timeout_has_succeeded(duration: int, timeout: str) -> None:
    """A job that ended in time succeeds though the last look came before."""
    world = World(f"default: {{duration: {duration}}}", burst=timedelta(seconds=50))
    run_id = world.start(one_step(timeout, attempts=3))
    play(world, run_id)
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1"]


@pytest.mark.parametrize("attempts", [1, 2])
def test_jobs_that_ended_while_the_scheduler_was_paused_are_found_out(attempts: int) -> None:
    """A checker that comes an hour late asks before it judges."""
    world = World("default: {duration: 300}", burst=timedelta(seconds=50))
    run_id = world.start(one_step("1h", attempts))
    play(world, run_id, paused=range(1, 70))
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1"]


def test_a_job_that_goes_on_is_timed_out_soon_after_its_deadline() -> None:
    """A job that goes on is timed out soon after its deadline."""
    world = World("default: {duration: 100000}", burst=timedelta(seconds=50))
    run_id = world.start(one_step("10m"))
    play(world, run_id)
    finished_at = world.run(run_id).finished_at
    assert world.run(run_id).state is RunState.FAILED
    assert "timed out after 10m" in world.steps(run_id)["a"].message
    assert finished_at is not None
    assert finished_at - START <= timedelta(minutes=10, seconds=20)


def test_a_silent_task_runner_does_not_hold_an_overdue_step_for_ever() -> None:
    """Without an answer, five minutes after the deadline the job is to be stopped, and ten later the attempt ends."""
    world = World(
        "default: {duration: 300, status_errors: [{status: 503, times: 100000}]}", burst=timedelta(seconds=50)
    )
    run_id = world.start(one_step("10m"))
    play(world, run_id)
    finished_at = world.run(run_id).finished_at
    assert world.run(run_id).state is RunState.FAILED
    assert "has not responded" in world.steps(run_id)["a"].message
    assert finished_at is not None
    longest = UNHEARD_FOR + world.services.settings.stop_timeout
    assert longest <= finished_at - START - timedelta(minutes=10) <= longest + timedelta(minutes=3)


def test_a_job_is_heard_behind_its_deadline_once_its_task_runner_is_back() -> None:
    """A job that ended in time succeeds though no one answered at its deadline."""
    world = World("default: {duration: 300, status_errors: [{status: 503, times: 9}]}", burst=timedelta(seconds=50))
    run_id = world.start(one_step("10m", attempts=2))
    play(world, run_id)
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1"]


def test_a_checking_interval_of_ten_minutes_means_ten_minutes() -> None:
    """Old jobs are neither polled nor read more often than asked for."""
    world = World("default: {duration: 100000}", burst=timedelta(seconds=50), check_interval=timedelta(minutes=10))
    run_id = world.start(one_step("24h"))
    play(world, run_id, most=60)
    polled = len(world.task_runner.polled)
    reads = world.store.reads
    for _ in range(180):
        handle_tick(world.services, Tick())
        world.clock.move(MINUTE)
    assert 15 <= len(world.task_runner.polled) - polled <= 20
    # Once a minute whether anything is due, the job when it is, and the audits of its run.
    assert world.store.reads - reads < 180 + 20 * 4 + 40 * 8


def test_the_checker_reads_no_tasks() -> None:
    """The checker does not read tasks."""
    world = World("default: {duration: 1000}")
    task = {"imageUri": "i", "args": {"sql": "x" * 60_000}}
    run_id = world.start(json.dumps({"steps": [{"id": "a", "task": task}]}))
    world.settle_down()
    world.clock.move(MINUTE)
    sizes: list[int] = []

    class Weighed:
        """A store that weighs what the checker's query for due steps returns."""

        def __getattr__(self, name: str) -> Any:
            """Everything else."""
            return getattr(world.store, name)

        def query(self, query: Query) -> list[Document]:
            """See `ports.Store.query`."""
            found = world.store.query(query)
            sizes.extend(len(str(document.fields)) for document in found if query.group)
            return found

    handle_tick(replace(world.services, store=cast(Store, Weighed())), Tick())
    assert sizes
    assert max(sizes) < 2_000
    assert world.steps(run_id)["a"].job_state == "RUNNING"


def test_a_timed_out_submission_keeps_the_last_answer() -> None:
    """A step that was never accepted shows the last response."""
    script = "default: {submit_errors: [{status: 429, times: 100000}]}"
    world = World(script, burst=timedelta(seconds=50))
    run_id = world.start(one_step("2m"))
    play(world, run_id)
    step = world.steps(run_id)["a"]
    assert "no job was accepted within 2m; last response: the Task Runner responded with HTTP 429" in step.message


def test_an_unknown_submission_is_repeated_behind_its_deadline_without_haste() -> None:
    """An unknown submission is repeated after the deadline, with its back-off."""
    world = World("default: {submit_errors: [{status: 502, times: 100000}]}", burst=timedelta(seconds=50))
    run_id = world.start(one_step("2m"))
    play(world, run_id)
    assert world.run(run_id).state is RunState.FAILED
    assert len(world.submissions()) <= 8


def test_a_late_word_that_no_job_was_accepted_leaves_a_job_that_was() -> None:
    """A late timeout leaves a job that was accepted meanwhile."""
    world = World("default: {duration: 100}", burst=timedelta(seconds=1))
    run_id = world.start(one_step("2m"))
    (ready,) = world.bus.take_all("steps")
    world.deliver(ready)
    running = world.steps(run_id)["a"]
    claimed_at = world.clock.now() - timedelta(minutes=10)
    dispatching = {
        "state": "DISPATCHING",
        "job_id": "",
        "answered": True,
        "claimed_at": claimed_at,
        "due_at": claimed_at,
    }
    world.store.commit([Update(path=step_path(run_id, "a"), fields=dispatching)])
    handle_tick(world.services, Tick())
    (late,) = world.bus.take_all("steps")
    back = {"state": "RUNNING", "job_id": running.job_id, "claimed_at": world.clock.now()}
    world.store.commit([Update(path=step_path(run_id, "a"), fields=back)])
    world.deliver(late)
    assert world.steps(run_id)["a"].state == "RUNNING"


@pytest.mark.parametrize(("duration", "kind"), [(60, "timeout"), (57, "timeout"), (30, "failed")])
def test_a_job_that_its_task_runner_ended_in_time_is_timed_out(duration: int, kind: str) -> None:
    """The reason TIMEOUT means the attempt's time only if that is up."""
    rule = f"default: {{states: [RUNNING, FAILED], duration: {duration}, reason: TIMEOUT, message: killed}}"
    world = World(rule, burst=timedelta(seconds=50))
    step = {"id": "a", "timeout": "1m", "retry": {"maxAttempts": 2, "when": "failure.kind == 'timeout'"}}
    run_id = world.start(json.dumps({"steps": [step | {"task": {"imageUri": "i"}}]}))
    play(world, run_id)
    ended = world.steps(run_id)["a"]
    assert (ended.last_kind, ended.reason) == (kind, "TIMEOUT")
    assert ended.message == ("timed out after 1m; killed" if kind == "timeout" else "killed")
    assert world.submissions() == (["a/1", "a/2"] if kind == "timeout" else ["a/1"])
