"""Runs from start to end, in one process."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.preparation import Refusal
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.states import RunState
from atom_workflows.messages.internal import ReadyStep, ready_messages
from atom_workflows.messages.start import read_start_event
from support.workflows import chain, definition, fan


@pytest.mark.parametrize("width", [1, 31, 33, 199, 201, 1_000])
def test_a_fan_submits_each_step_once_and_its_join_last(width: int) -> None:
    """A fan of any width runs each step once, and its join last."""
    world = World()
    run = world.run_to_end(world.start(fan(width)))
    assert run.state is RunState.SUCCEEDED
    submissions = world.submissions()
    assert len(submissions) == len(set(submissions)) == width + 2
    assert submissions[0] == "root/1"
    assert submissions[-1] == "join/1"


def test_a_job_that_goes_on_is_polled_until_it_ends() -> None:
    """A step is RUNNING until a poll reports its job's end."""
    world = World("default: {duration: 25}")
    run_id = world.start(chain(2))
    world.settle_down()
    assert world.states(run_id) == {"s0": "RUNNING", "s1": "PENDING"}
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s1/1"]


def test_a_poll_that_changes_nothing_writes_nothing() -> None:
    """A sweep over jobs that go on as before writes no step."""
    world = World("default: {duration: 1000}")
    run_id = world.start(definition({f"s{i}": [] for i in range(5)}))
    world.settle_down()
    world.clock.move(timedelta(seconds=10))
    before = {name: step.due_at for name, step in world.steps(run_id).items()}
    versions = {d.path: d.version for d in world.store.inner.get([f"runs/{run_id}/steps/s{i}" for i in range(5)]) if d}
    world.tick()
    assert len(world.task_runner.polled) == 5
    assert {name: step.due_at for name, step in world.steps(run_id).items()} == before
    assert versions == {
        d.path: d.version for d in world.store.inner.get([f"runs/{run_id}/steps/s{i}" for i in range(5)]) if d
    }


def test_a_failed_step_skips_what_depends_on_it_and_nothing_else() -> None:
    """A failed step skips its dependents only, and fails the run."""
    world = World("rules: [{step: b, always_fail: true, message: out of memory}]")
    edges: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "other": ["a"], "end": ["other"]}
    run = world.run_to_end(world.start(definition(edges)))
    assert run.state is RunState.FAILED
    assert list(run.errors) == [{"step": "b", "message": "out of memory"}]
    assert world.states(run.id) == {
        "a": "SUCCEEDED",
        "b": "FAILED",
        "c": "SKIPPED",
        "d": "SKIPPED",
        "other": "SUCCEEDED",
        "end": "SUCCEEDED",
    }
    assert "step b " in world.steps(run.id)["d"].message


def test_a_wide_skip_reaches_every_step() -> None:
    """A failed root skips a thousand leaves and their join."""
    world = World("rules: [{step: root, always_fail: true}]")
    run = world.run_to_end(world.start(fan(1_000)))
    assert run.state is RunState.FAILED
    assert world.submissions() == ["root/1"]
    assert sorted(world.states(run.id).values()) == ["FAILED"] + ["SKIPPED"] * 1_001


def test_a_step_is_retried_as_its_policy_says() -> None:
    """A step that fails twice succeeds in its third attempt, each with its own key."""
    world = World("rules: [{step: s1, fail_times: 2}]")
    retry = {"maxAttempts": 3, "backoff": {"initial": "10s", "factor": 2, "jitter": 0}}
    run_id = world.start(definition({"s0": [], "s1": ["s0"], "s2": ["s1"]}, s1={"retry": retry}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s1/1", "s1/2", "s1/3", "s2/1"]


def test_a_step_that_takes_too_long_fails() -> None:
    """A job that outlives the step's timeout fails the step."""
    world = World("rules: [{step: slow, duration: 10000}]")
    run = world.run_to_end(world.start(definition({"slow": []}, slow={"timeout": "30s"})))
    assert run.state is RunState.FAILED
    assert "timed out after 30s" in run.errors[0]["message"]


def test_a_workflow_timeout_ends_the_run() -> None:
    """When the workflow's timeout passes, running steps fail and waiting ones are skipped."""
    world = World("default: {duration: 10000}")
    text = chain(2).replace('"name": "flow"', '"name": "flow", "timeout": "90s"')
    run = world.run_to_end(world.start(text))
    assert run.state is RunState.FAILED
    assert "timeout of 1m30s" in run.errors[0]["message"]
    assert world.states(run.id) == {"s0": "FAILED", "s1": "SKIPPED"}


def test_a_refused_job_fails_its_step_with_the_answer() -> None:
    """A 4xx answer fails the step at once with its text."""
    world = World("rules: [{step: s0, submit_errors: [422]}]")
    text = definition({"s0": []}, s0={"retry": {"maxAttempts": 5}})
    run = world.run_to_end(world.start(text))
    assert run.state is RunState.FAILED
    assert world.submissions() == ["s0/1"]
    assert "HTTP 422" in run.errors[0]["message"]


def test_an_unavailable_task_runner_uses_up_no_attempt() -> None:
    """Answers of 429 and 503 are waited out with the same attempt and key."""
    world = World("rules: [{step: s0, submit_errors: [503, 429, 503]}]")
    run = world.run_to_end(world.start(chain(1)))
    assert run.state is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1"] * 4


def test_a_task_runner_that_never_takes_the_job_fails_the_step_in_time() -> None:
    """A step that is never accepted fails at its timeout."""
    world = World("rules: [{step: s0, submit_errors: [{status: 503, times: forever}]}]")
    run = world.run_to_end(world.start(definition({"s0": []}, s0={"timeout": "5m"})))
    assert run.state is RunState.FAILED
    assert "no job was accepted within 5m" in run.errors[0]["message"]
    assert "503" in run.errors[0]["message"]


def test_failed_status_calls_fail_no_job() -> None:
    """Failed status calls cost time and nothing else."""
    world = World("default: {duration: 15, status_errors: [500, 503, 500, 500]}")
    assert world.run_to_end(world.start(chain(1))).state is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1"]


def test_a_lost_job_is_run_again_after_a_grace_period() -> None:
    """A lost job is run again, even with `maxAttempts: 1`."""
    world = World("default: {duration: 15, lose_job: once}")
    assert world.run_to_end(world.start(chain(1))).state is RunState.SUCCEEDED
    assert world.submissions() == ["s0/1", "s0/2"]


def test_a_lost_job_fails_its_step_if_on_lost_says_so() -> None:
    """With onLost: fail a job is never run a second time."""
    world = World("default: {duration: 15, lose_job: once}")
    run = world.run_to_end(world.start(definition({"s0": []}, s0={"onLost": "fail"})))
    assert run.state is RunState.FAILED
    assert world.submissions() == ["s0/1"]
    assert "no longer knows job" in run.errors[0]["message"]


def test_barriers_of_the_user_pass_without_a_job() -> None:
    """A step without a task succeeds when released."""
    text = definition({"gate": [], "a": ["gate"], "done": ["a"]}).replace(
        '{"id": "gate", "dependsOn": [], "task": {"imageUri": "image"}}', '{"id": "gate"}'
    )
    text = text.replace('"dependsOn": ["a"], "task": {"imageUri": "image"}', '"dependsOn": ["a"]')
    world = World()
    run = world.run_to_end(world.start(text))
    assert run.state is RunState.SUCCEEDED
    assert world.submissions() == ["a/1"]


def test_the_job_is_sent_as_the_first_version_sent_it() -> None:
    """The body has the first version's fields and labels."""
    world = World()
    task = {"name": "job", "imageUri": "img", "args": [["a", 1], None], "labels": {"team": "x"}}
    world.run_to_end(world.start(definition({"s": []}, s={"task": task}), path="dags/My_Flow.yaml"))
    assert world.task_runner.submitted[0][1] == {
        "job_name": "job",
        "imageUri": "img",
        "scaleTier": "BASIC",
        "args": [["a", 1], None],
        "labels": {"team": "x", "workflow": "my_flow", "type": "step"},
    }


def test_a_repeated_start_starts_nothing() -> None:
    """A repeated trigger finds its run, even after it ended."""
    world = World()
    first = world.start(chain(2))
    assert world.start(chain(2)) == first
    world.run_to_end(first)
    assert world.start(chain(2)) == first
    world.settle_down()
    assert world.submissions() == ["s0/1", "s1/1"]


def test_stale_and_repeated_ready_events_submit_nothing() -> None:
    """Stale, repeated or wrong events submit nothing."""
    world = World("default: {duration: 15}")
    run_id = world.start(chain(3))
    world.settle_down()
    repeated = [ReadyStep(step_id="s0", attempt=1), ReadyStep(step_id="s1"), ReadyStep(step_id="none")]
    world.bus.publish(ready_messages(run_id, repeated) * 3)
    world.settle_down()
    assert world.submissions() == ["s0/1"]
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    world.bus.publish(ready_messages(run_id, repeated))
    world.settle_down()
    assert world.submissions() == ["s0/1", "s1/1", "s2/1"]


def test_the_outside_world_is_told_of_every_step_and_of_the_run() -> None:
    """The events topic reports the end of each step and of the run."""
    world = World()
    run_id = world.start(fan(40))
    world.run_to_end(run_id)
    changes = [change for message in world.changes() for change in message.body["changes"]]
    ended = {change["step"] for change in changes if change.get("state") == "SUCCEEDED" and "step" in change}
    assert ended == set(world.states(run_id))
    assert {"run": run_id, "state": "SUCCEEDED"}.items() <= changes[-1].items()


def test_an_idle_tick_is_one_query() -> None:
    """A tick with nothing in flight reads one document and writes none."""
    world = World()
    world.run_to_end(world.start(chain(3)))
    reads, writes = world.store.reads, world.store.writes
    world.tick()
    assert (world.store.reads - reads, world.store.writes - writes) == (1, 0)


def test_a_start_that_comes_again_goes_on_though_its_file_is_gone() -> None:
    """A repeated start continues its run though the file is gone."""
    world, path = World(), "gs://bucket/flow.yaml"
    asked = read_start_event({"workflow_path": path, "run_key": "test"}, event_id="event-1")
    world.files.content[path, None] = chain(1).encode()
    run_id = handle_start(world.services, asked).run_id
    world.bus.take_all("steps")
    world.files.content.clear()
    handle_start(world.services, asked)
    world.settle_down()
    assert world.run(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("notation", "value"),
    [
        ("int", 3.0),
        ("duration", "60m"),
        ("time", "06:00:00"),
        ("instant", "2026-01-01T00:00:00+02:00"),
        ({"a": "int or null"}, {}),
    ],
)
def test_a_start_that_comes_again_is_known_however_its_values_are_spelt(notation: Any, value: Any) -> None:
    """Parameters are stored in the notation of their types, and a repeated start is still the same request."""
    world, path = World(), "gs://bucket/flow.yaml"
    flow = {**json.loads(chain(1)), "params": {"p": {"type": notation}}}
    world.files.content[path, None] = json.dumps(flow).encode()
    body = {"workflow_path": path, "run_key": "test", "params": {"p": value}}
    handle_start(world.services, read_start_event(body, event_id="event-1"))
    again = handle_start(world.services, read_start_event(body, event_id="event-1"))
    other = handle_start(world.services, read_start_event({**body, "params": {}}, event_id="event-1"))
    world.files.content.clear()
    gone = handle_start(world.services, read_start_event(body, event_id="event-1"))
    assert (again.refusal, gone.refusal, other.refusal) == (None, None, Refusal.KEY_IN_USE)
