"""Steps under `finally`: they run once the others have ended, however that was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import BusUnavailable, RunStateError
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Message, Update
from atom_workflows.run_documents import stop_fields
from support.commands import cancel_run, retry_run
from support.meanwhile import meanwhile
from support.workflows import definition, script

CLEAN = {"id": "clean", "task": {"imageUri": "image", "args": {"state": "${{ run.state }}"}}}


def flow(edges: dict[str, Sequence[str]], *, last: Sequence[dict[str, Any]] = (CLEAN,), **fields: Any) -> str:
    """Return a workflow with steps under `finally`."""
    return json.dumps({**json.loads(definition(edges)), "finally": list(last), **fields})


def state_sent(world: World) -> str:
    """Return the state that the clean-up was given."""
    (body,) = [body for key, body in world.task_runner.submitted if key.split("/")[1] == "clean"]
    return str(body["args"]["state"])


@pytest.mark.parametrize(("outcome", "state"), [("SUCCEEDED", "SUCCEEDED"), ("FAILED", "FAILED")])
def test_they_run_after_a_success_and_after_a_failure(outcome: str, state: str) -> None:
    """They read the state of the main part, and the run ends in it."""
    world = World(script(b={"always_fail": outcome == "FAILED"}))
    run_id = world.start(flow({"a": [], "b": ["a"], "c": ["b"]}))
    run = world.run_to_end(run_id)
    assert (run.state, state_sent(world)) == (state, state)
    assert world.states(run_id)["clean"] == "SUCCEEDED"
    assert [error["step"] for error in run.errors] == (["b"] if state == "FAILED" else [])


def test_they_run_after_a_cancellation() -> None:
    """The run is CANCELLED once they have ended."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": [], "b": ["a"]}))
    world.settle_down()
    cancel_run(world.services, run_id)
    run = world.run_to_end(run_id)
    assert (run.state, state_sent(world)) == (RunState.CANCELLED, "CANCELLED")
    assert world.states(run_id) == {"a": "CANCELLED", "b": "CANCELLED", "clean": "SUCCEEDED"}


def test_they_run_after_the_runs_timeout_with_time_of_their_own() -> None:
    """A clean-up that takes longer than what is left of the run's timeout ends normally."""
    world = World(script(a={"duration": 6000}, clean={"duration": 60}))
    run_id = world.start(flow({"a": []}, timeout="5m"))
    run = world.run_to_end(run_id)
    assert (run.state, state_sent(world)) == (RunState.FAILED, "FAILED")
    assert world.states(run_id) == {"a": "FAILED", "clean": "SUCCEEDED"}
    assert run.errors[0] == {"step": None, "message": "the workflow's timeout of 5m expired"}


def test_their_own_time_is_limited() -> None:
    """Once it is over they are ended, and a run that would have SUCCEEDED has FAILED."""
    world = World(script(clean={"duration": 6000}))
    slow = {**CLEAN, "timeout": "2h"}
    run_id = world.start(flow({"a": []}, last=[slow], finallyTimeout="10m"))
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert "finallyTimeout of 10m expired" in run.errors[0]["message"]
    assert world.clock.now() - run.created_at < timedelta(minutes=12)


def test_a_failed_clean_up_is_a_failure() -> None:
    """It fails a run that would have SUCCEEDED, unless it is allowed to fail."""
    world = World(script(clean={"always_fail": True}))
    run_id = world.start(flow({"a": []}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    tolerant = World(script(clean={"always_fail": True}))
    run_id = tolerant.start(flow({"a": []}, last=[{**CLEAN, "allowFailure": True}]))
    assert tolerant.run_to_end(run_id).state is RunState.SUCCEEDED


def test_they_are_told_which_steps_failed() -> None:
    """`run.failures` has each failure with its step, kind, reason and message."""
    world = World(script(b={"reason": "OOM", "message": "no memory", "always_fail": True}))
    told = {"id": "tell", "task": {"imageUri": "image", "args": {"failures": "${{ run.failures }}"}}}
    count = {"id": "count", "when": "run.failureCount == 1 and run.state == 'FAILED'", "task": {"imageUri": "image"}}
    run_id = world.start(flow({"a": [], "b": ["a"]}, last=[told, count]))
    world.run_to_end(run_id)
    sent = {key.split("/")[1]: body for key, body in world.task_runner.submitted}
    assert sent["tell"]["args"] == {
        "failures": [{"step": "b", "kind": "failed", "reason": "OOM", "message": "no memory"}]
    }
    assert world.states(run_id)["count"] == "SUCCEEDED"


def test_a_second_cancel_is_refused_unless_it_insists() -> None:
    """A clean-up is not interrupted by accident."""
    world = World(script(a={"duration": 600}, clean={"duration": 600}))
    run_id = world.start(flow({"a": []}))
    world.settle_down()
    cancel_run(world.services, run_id)
    world.settle_down()
    with pytest.raises(RunStateError, match="--now"):
        cancel_run(world.services, run_id)
    cancel_run(world.services, run_id, now=True)
    run = world.run(run_id)
    assert run.state is RunState.CANCELLED
    assert world.states(run_id) == {"a": "CANCELLED", "clean": "CANCELLED"}


def test_cancelled_at_once_a_run_cleans_nothing_up() -> None:
    """`cancel --now` ends the steps under `finally` with the others."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": []}))
    world.settle_down()
    cancel_run(world.services, run_id, now=True)
    assert world.run(run_id).state is RunState.CANCELLED
    assert world.submissions() == ["a/1"]


def test_they_run_again_with_every_retry() -> None:
    """Also if a clean-up alone had failed."""
    world = World(script(clean={"fail_times": 1}))
    run_id = world.start(flow({"a": [], "b": ["a"]}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    retry_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1", "b/1", "clean/1", "clean/2"]


def test_they_do_not_run_if_no_step_was_started() -> None:
    """There is nothing to clean up."""
    world = World("")
    skipped = {**json.loads(definition({"a": []}))["steps"][0], "when": "run.id == ''"}
    run_id = world.start(flow({"a": []}, steps=[skipped]))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == []
    assert world.states(run_id) == {"a": "SKIPPED", "clean": "SKIPPED"}


def test_they_can_depend_on_each_other() -> None:
    """A failure under `finally` blocks what depends on it there."""
    world = World(script(clean={"always_fail": True}))
    after = {"id": "after", "dependsOn": ["clean"], "task": {"imageUri": "image"}}
    run_id = world.start(flow({"a": []}, last=[CLEAN, after]))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.states(run_id) == {"a": "SUCCEEDED", "clean": "FAILED", "after": "SKIPPED"}


def test_two_cancels_end_the_main_part_once() -> None:
    """A cancel that finds the main part ended by another one leaves it at that."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": []}))
    world.settle_down()

    def at_the_end(call: str, argument: Any) -> bool:
        return call == "get" and step_path(run_id, MAIN_END_ID) in argument

    first = meanwhile(world, at_the_end, lambda: cancel_run(world.services, run_id))
    cancel_run(world.services, run_id)
    assert first.happened
    run = world.run_to_end(run_id)
    assert (run.state, state_sent(world)) == (RunState.CANCELLED, "CANCELLED")


@pytest.mark.parametrize(("is_cancelled", "state"), [(True, RunState.CANCELLED), (False, RunState.FAILED)])
@pytest.mark.parametrize("gone", ["clean", MAIN_END_ID])
def test_a_run_ends_though_its_last_steps_are_gone(gone: str, state: RunState, *, is_cancelled: bool) -> None:
    """Steps under `finally` whose documents are missing do not keep a run open."""
    world = World(script(a={"duration": 60}))
    run_id = world.start(flow({"a": []}))
    world.settle_down()
    world.store.inner.delete(step_path(run_id, gone))
    if is_cancelled:
        cancel_run(world.services, run_id)
    assert world.run_to_end(run_id).state is state


def test_a_cancel_ends_the_run_if_someone_else_insists_and_dies() -> None:
    """If the run is to end without its clean-up after all, whoever is about to begin that ends the run instead."""
    world = World()
    run_id = world.start(flow({"a": [], "b": ["a"]}))

    def insist() -> None:
        stop = Stop(kind=StopKind.CANCEL, reason="now", requested_at=world.clock.now(), now=True)
        world.store.commit([Update(path=run_path(run_id), fields={"stop": stop_fields(stop)})])

    store = meanwhile(world, lambda name, writes: name == "commit" and "main_state" in str(writes), insist)
    cancel_run(world.services, run_id)
    assert store.happened
    assert world.run(run_id).state is RunState.CANCELLED
    assert set(world.states(run_id).values()) == {"CANCELLED"}


def test_nothing_follows_nothing() -> None:
    """If no step was started, steps under `finally` are skipped, also those that always run."""
    always = {"id": "always", "dependsOn": ["clean"], "trigger": "always", "task": {"imageUri": "image"}}
    world = World("")
    run_id = world.start(flow({"a": []}, last=(CLEAN, always)))
    cancel_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.CANCELLED
    assert world.states(run_id) == {"a": "CANCELLED", "clean": "SKIPPED", "always": "SKIPPED"}
    assert world.submissions() == []


def test_the_reason_of_a_cancellation_is_kept() -> None:
    """The stop itself is cleared when the steps under `finally` begin; a cancellation is no error of the run."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": []}))
    world.settle_down()
    cancel_run(world.services, run_id, reason="the wrong day")
    run = world.run_to_end(run_id)
    assert (run.state, run.stop, run.errors) == (RunState.CANCELLED, None, ())
    assert [error["message"] for error in run.main_errors] == ["the wrong day"]


def test_the_run_as_a_whole_has_the_result_of_its_main_part() -> None:
    """It is read when the step is submitted, not when the run starts."""
    world = World("")
    told = {"id": "tell", "task": {"imageUri": "image", "args": {"run": "${{ json(run) }}"}}}
    run_id = world.start(flow({"a": []}, last=[told]))
    world.run_to_end(run_id)
    sent = {key.split("/")[1]: body for key, body in world.task_runner.submitted}
    assert json.loads(sent["tell"]["args"]["run"])["state"] == "SUCCEEDED"


def test_a_step_that_was_stopped_in_a_later_attempt_is_told_as_stopped() -> None:
    """Its earlier failure is not how it ended."""
    world = World(script(a={"fail_times": 1, "reason": "OOM", "duration": 80}))
    told = {"id": "tell", "task": {"imageUri": "image", "args": {"failures": "${{ run.failures }}"}}}
    steps = [
        {"id": "a", "task": {"imageUri": "image"}, "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}}},
    ]
    run_id = world.start(flow({"a": []}, last=[told], steps=steps, timeout="2m"))
    world.run_to_end(run_id)
    sent = {key.split("/")[1]: body for key, body in world.task_runner.submitted}
    (failure,) = sent["tell"]["args"]["failures"]
    assert (failure["kind"], failure["reason"]) == ("stopped", "")
    assert world.steps(run_id)["a"].attempt == 2


def test_the_oldest_of_thousands_of_failures_are_told() -> None:
    """The first step that failed is the first failure, whatever its name, and each failure is counted."""
    later = {f"f{number}": ["slow"] for number in range(2_100)}
    failing = {name: {"always_fail": True} for name in ("f*", "zz")}
    world = World(script(slow={"duration": 20}, **failing))
    args = {
        "first": "${{ run.failures[0].step }}",
        "listed": "${{ len(run.failures) }}",
        "all": "${{ run.failureCount }}",
    }
    told = {"id": "tell", "task": {"imageUri": "image", "args": args}}
    world.run_to_end(world.start(flow({"slow": [], **later, "zz": []}, last=[told])))
    sent = {key.split("/")[1]: body for key, body in world.task_runner.submitted}
    assert sent["tell"]["args"] == {"first": "zz", "listed": 100, "all": 2_101}


def test_their_time_is_watched_from_the_moment_they_begin() -> None:
    """The checker looks at the run when their time is up, however far away the run's next audit was."""
    world = World(script(clean={"duration": 6000}))
    run_id = world.start(flow({"a": []}, finallyTimeout="30s"))
    world.store.commit([Update(path=step_path(run_id, END_ID), fields={"due_at": START + timedelta(days=1)})])
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert world.clock.now() - run.created_at < timedelta(minutes=1)


def test_many_of_them_do_not_hide_a_main_step_from_a_stop() -> None:
    """The main part ends once all its steps have, also if a page of open steps holds only steps under `finally`."""
    last = [{**CLEAN, "id": f"a{number:02}"} for number in range(60)]
    world = World(script(z={"duration": 6000}))
    run_id = world.start(flow({"z": []}, last=last, timeout="1m"))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.states(run_id) == {"z": "FAILED", **{one["id"]: "SUCCEEDED" for one in last}}


def test_they_run_after_barriers_alone() -> None:
    """A barrier that succeeded has run, though it has no job."""
    world = World("")
    run_id = world.start(flow({"a": []}, steps=[{"id": "gate"}, {"id": "join", "dependsOn": ["gate"]}]))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert (world.states(run_id)["clean"], state_sent(world)) == ("SUCCEEDED", "SUCCEEDED")


def test_they_run_after_a_condition_without_an_answer() -> None:
    """A run that failed before its first job still raises its alarm."""
    world = World("")
    step = {"id": "a", "task": {"imageUri": "i"}, "when": "fromJson(params.p).x == 1"}
    run_id = world.start(flow({}, steps=[step], params={"p": {"type": "text"}}), params={"p": "{}"})
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.states(run_id) == {"a": "FAILED", "clean": "SUCCEEDED"}
    assert state_sent(world) == "FAILED"


def test_they_do_not_run_after_barriers_that_were_skipped() -> None:
    """Joins of skipped steps, and the barriers that the compiler adds, are no reason to clean up."""
    world = World("")
    steps: list[dict[str, Any]] = [
        {"id": f"s{n}", "task": {"imageUri": "i"}, "when": "run.id == ''"} for n in range(40)
    ]
    steps.append({"id": "join", "dependsOn": [f"s{n}" for n in range(40)]})
    run_id = world.start(flow({}, steps=steps))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert set(world.states(run_id).values()) == {"SKIPPED"}


def test_they_run_after_a_stop_though_a_main_step_is_gone() -> None:
    """What is left is cleaned up, whatever became of the document of a step."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": [], "b": ["a"]}))
    world.settle_down()
    world.store.inner.delete(step_path(run_id, "b"))
    cancel_run(world.services, run_id)
    assert world.run_to_end(run_id).state is RunState.CANCELLED
    assert world.states(run_id) == {"a": "CANCELLED", "clean": "SUCCEEDED"}


def test_an_audit_begins_what_a_failed_tick_left() -> None:
    """If the tick that ended the main part could not publish the steps after it, they begin within a minute or so."""
    world = World(script(a={"duration": 6000}))
    run_id = world.start(flow({"a": []}, timeout="5m"))
    world.settle_down()
    world.clock.move(timedelta(minutes=5))
    # The job is stopped first. As no event can say so, the main part ends half a minute later.
    for _ in range(40):
        with suppress(BusUnavailable):
            handle_tick(replace(world.services, bus=ClosedBus()), Tick())
        if world.run(run_id).main_state is not None:
            break
        world.clock.move(timedelta(seconds=1))
    assert world.run(run_id).main_state is RunState.FAILED
    ended = world.clock.now()
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert state_sent(world) == "FAILED"
    assert world.clock.now() - ended < timedelta(minutes=1, seconds=30)


class ClosedBus:
    """A bus that takes nothing."""

    def publish(self, messages: Sequence[Message]) -> None:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise BusUnavailable("the bus is away")


def test_a_cancellation_of_the_clean_up_leaves_the_first_cause() -> None:
    """If the main part failed as the Task Runner cancelled a job, that is still told, but not what the stop cancels."""
    world = World(script(a={"states": ["CANCELLED"]}, clean={"duration": 600}))
    run_id = world.start(flow({"a": []}))
    world.settle_down()
    assert world.states(run_id) == {"a": "CANCELLED", "clean": "RUNNING"}
    cancel_run(world.services, run_id, now=True)
    run = world.run(run_id)
    assert (run.state, [error["step"] for error in run.errors]) == (RunState.FAILED, ["a"])
