"""Cancel, and retry from what failed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.states import RunState
from atom_workflows.errors import RunNotFound, RunStateError
from support.commands import cancel_run, reopen_run, retry_run
from support.workflows import chain, definition, fan


def test_a_cancelled_run_submits_nothing_more() -> None:
    """Events under way start no job of a cancelled run."""
    world = World("default: {duration: 15}")
    run_id = world.start(fan(300))
    world.settle_down()
    world.clock.move(timedelta(seconds=20))
    world.tick()
    submitted = len(world.submissions())
    assert submitted == 301
    cancel_run(world.services, run_id)
    assert world.run(run_id).state is RunState.CANCELLED
    world.run_to_end(run_id)
    world.clock.move(timedelta(seconds=600))
    world.tick()
    assert len(world.submissions()) == submitted
    assert sorted(set(world.states(run_id).values())) == ["CANCELLED", "SUCCEEDED"]


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    """A run that has ended cannot be cancelled."""
    world = World()
    run_id = world.start(chain(1))
    world.settle_down()
    with pytest.raises(RunStateError, match="it is SUCCEEDED"):
        cancel_run(world.services, run_id)


def test_a_run_that_does_not_exist_can_be_neither_cancelled_nor_retried() -> None:
    """Both name the run."""
    world = World()
    for command in (cancel_run, retry_run):
        with pytest.raises(RunNotFound, match="no-such-run"):
            command(world.services, "no-such-run")


def test_only_a_run_that_ended_badly_can_be_retried() -> None:
    """A run that goes on refuses it, and one that succeeded unless steps are named."""
    world = World("default: {duration: 15}")
    run_id = world.start(chain(1))
    for problem in ("only a run that has ended can be retried", "name the steps to run again with --from or --only"):
        with pytest.raises(RunStateError, match=problem):
            retry_run(world.services, run_id)
        world.run_to_end(run_id)


def test_tolerated_failures_are_repaired_by_naming_the_step() -> None:
    """A run that SUCCEEDED with tolerated failures is retried from the step that failed."""
    world = World("rules: [{step: a, fail_times: 1}]")
    run_id = world.start(definition({"a": []}, a={"allowFailure": True}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    with pytest.raises(RunStateError, match="name the steps to run again"):
        retry_run(world.services, run_id)
    retry_run(world.services, run_id, first=["a"])
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.states(run_id)["a"] == "SUCCEEDED"


def test_retry_runs_again_what_failed_or_was_skipped_and_nothing_else() -> None:
    """A retry keeps steps that succeeded and runs all others."""
    world = World("rules: [{step: b, fail_times: 1}]")
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"], "d": ["a"], "e": ["c", "d"]}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    retry_run(world.services, run_id)
    run = world.run_to_end(run_id)
    assert run.state is RunState.SUCCEEDED
    assert run.errors == ()
    assert world.submissions() == ["a/1", "b/1", "d/1", "b/2", "c/1", "e/1"]


def test_a_retried_step_has_all_its_attempts_again() -> None:
    """A retried step has all its attempts again."""
    world = World("rules: [{step: a, fail_times: 3}]")
    run_id = world.start(definition({"a": []}, a={"retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}}}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1", "a/2", "a/3", "a/4"]


def test_a_wide_run_can_be_retried() -> None:
    """A retry resets the barriers and counters of a thousand steps."""
    world = World("rules: [{step: root, fail_times: 1}]")
    run_id = world.start(fan(1_000))
    assert world.run_to_end(run_id).state is RunState.FAILED
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert len(world.submissions()) == 1_003


def test_a_cancelled_run_can_be_retried() -> None:
    """A retry of a cancelled run runs its cancelled steps."""
    world = World("default: {duration: 15}")
    run_id = world.start(chain(3))
    world.settle_down()
    cancel_run(world.services, run_id)
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s0/2", "s1/1", "s2/1"]


def test_a_retried_run_is_looked_at_when_its_timeout_is_over() -> None:
    """The first look after a retry is at the latest at its new deadline."""
    world = World("default: {duration: 100000}")
    run_id = world.start(chain(1).replace('"name": "flow"', '"name": "flow", "timeout": "15s"'))
    assert world.run_to_end(run_id).state is RunState.FAILED
    retry_run(world.services, run_id)
    assert world.steps(run_id)["~end"].due_at == world.run(run_id).deadline
    world.settle_down()
    world.clock.move(timedelta(seconds=16))
    world.tick()
    assert world.run_to_end(run_id, within=timedelta(seconds=40)).state is RunState.FAILED


def test_a_retry_that_died_at_once_is_looked_at_when_its_timeout_is_over() -> None:
    """A retry that died at once is looked at by its deadline, too."""
    world = World("default: {duration: 100000}")
    run_id = world.start(chain(1).replace('"name": "flow"', '"name": "flow", "timeout": "15s"'))
    world.run_to_end(run_id)
    reopen_run(Outbox(world.services), run_id)
    assert world.steps(run_id)["~end"].due_at == world.run(run_id).deadline
