"""What each kind of event makes of the documents, the jobs and the log."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.documents import ROUND_PATH, RUNS
from atom_workflows.ports import Create, Query
from functions.posting import EVENTS, Deployed, golden

STARTS = [path.stem for path in sorted(EVENTS.glob("start-*.json")) if "seed" not in path.stem]
UPLOADS = [name for name in STARTS if "notification" in name or "finalized" in name]
ALL = [path.stem for path in sorted(EVENTS.glob("*.json"))]
KNOWN = {"severity", "message", "action", "event_id"}


def runs(world: World) -> list[str]:
    """Return the ids of all runs."""
    return [document.id for document in world.store.query(Query(collection=RUNS))]


@pytest.mark.parametrize("name", STARTS)
def test_every_form_of_a_start_starts_one_run(functions: Deployed, world: World, name: str) -> None:
    """Each form of a start starts one run, however often it is delivered."""
    assert functions.post(name) == 204
    [line] = functions.logged("run.start")
    [run_id] = runs(world)
    assert line["run_id"] == run_id
    assert world.run(run_id).state == "RUNNING"
    assert functions.post(name) == 204
    assert not functions.logged("run.start")
    assert runs(world) == [run_id]
    world.run_to_end(run_id)
    assert world.submissions() == ["extract/1", "load/1"]
    assert world.run(run_id).state == "SUCCEEDED"


def test_an_upload_is_one_run_in_every_form_of_its_notification(functions: Deployed, world: World) -> None:
    """Notification and Eventarc event of one generation are the same trigger."""
    assert [functions.post(name) for name in UPLOADS] == [204] * len(UPLOADS)
    [run_id] = runs(world)
    assert world.run(run_id).source["generation"] == "1700000000000001"


def test_a_start_message_brings_params_and_labels(functions: Deployed, world: World, run_id: str) -> None:
    """Parameters may be any JSON, and labels are kept."""
    functions.post("start-push-inline")
    assert runs(world) == [run_id]
    empty = World()
    functions.on(empty.services)
    functions.post("start-push-inline")
    run = empty.run(run_id)
    assert run.params == {"day": "2026-01-01", "matrix": [[1, 2], [3, 4]]}
    assert run.labels == {"team": "données"}


def test_a_seed_request_publishes_ready_steps_again(functions: Deployed, world: World, run_id: str) -> None:
    """A request to continue a healthy run publishes its ready steps again."""
    assert functions.post("start-push-run-seed") == 204
    world.run_to_end(run_id)
    assert world.run(run_id).state == "SUCCEEDED"


@pytest.mark.parametrize("name", ["dispatcher-push-step-ready", "dispatcher-eventarc-step-ready"])
def test_a_ready_step_is_submitted_once(functions: Deployed, world: World, run_id: str, name: str) -> None:
    """A ready step's job is submitted once, though its event comes twice."""
    assert [functions.post(name), functions.post(name)] == [204, 204]
    assert world.submissions() == ["extract/1"]
    assert world.states(run_id) == {"extract": "RUNNING", "load": "PENDING"}


def test_a_completed_step_wakes_its_dependents(functions: Deployed, world: World, run_id: str) -> None:
    """An outcome ends its step and starts the dependent one."""
    functions.post("dispatcher-push-step-ready")
    assert functions.post("dispatcher-push-steps-completed") == 204
    world.settle_down()
    assert world.states(run_id)["extract"] == "SUCCEEDED"
    assert world.submissions() == ["extract/1", "load/1"]


@pytest.mark.parametrize("name", ["checker-push-tick", "checker-push-scheduler-tick", "checker-push-sweep-page"])
def test_a_tick_polls_due_jobs(functions: Deployed, world: World, run_id: str, name: str) -> None:
    """A job that has ended is found out, whatever woke the checker."""
    functions.post("dispatcher-push-step-ready")
    world.clock.move(timedelta(seconds=30))
    # The page that the golden event names is the next one of a round.
    page = {"next_due_at": START - timedelta(minutes=1), "next_path": "runs/flow-00cfe846bce2/steps/a"}
    round_fields = {"schema": 1, "at": START, "until": START + timedelta(minutes=5), **page}
    world.store.commit([Create(path=ROUND_PATH, fields=round_fields)])
    assert functions.post(name) == 204
    assert len(world.task_runner.polled) == 1
    world.settle_down()
    assert world.states(run_id)["extract"] == "SUCCEEDED"


@pytest.mark.parametrize("name", ALL)
def test_every_decision_is_one_line_of_json(functions: Deployed, world: World, run_id: str, name: str) -> None:
    """A log line has severity, message, action, event id, and the step it is about."""
    event = golden(name)
    event_id = event.headers.get("ce-id") or event.body.get("id") or event.body["message"]["messageId"]
    functions.post(event)
    for line in functions.lines:
        assert line.keys() >= KNOWN
        assert line["severity"] in {"INFO", "WARNING"}
        assert line["event_id"] == event_id
        if line["action"].startswith("step."):
            assert (line["run_id"], line["step_id"]) == (run_id, "extract")
            assert isinstance(line["attempt"], int)


def test_a_submission_is_logged(functions: Deployed, run_id: str) -> None:
    """A submission is logged with run, step and job."""
    functions.post("dispatcher-push-step-ready")
    assert {line["action"] for line in functions.lines} >= {"step.submit"}


def test_an_idle_tick_logs_nothing(functions: Deployed) -> None:
    """A tick with nothing in flight logs no line."""
    assert functions.post("checker-push-scheduler-tick") == 204
    assert functions.lines == []
