"""Parameters of a start: bound once, or refused with every problem, on each way in."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any

from atom_emulator.testing.world import World
from atom_workflows.handlers.start import on_start
from functions.posting import Deployed, Golden, golden

PATH = "gs://flows/workflows/daily.yaml"
FLOW = """
params:
  day: {type: date}
  shards: {type: int, max: 64, default: 8}
  region: {type: text, enum: [eu, us], default: eu}
steps:
  - {id: a, task: {imageUri: i, args: {day: "${{ params.day }}", n: "${{ params.shards }}", r: "${{ params.region }}"}}}
"""
WRONG = {"shards": 128, "regoin": "eu"}
PROBLEMS = [
    "there is no param `regoin`; did you mean `region`?",
    "`params.day` is required",
    "`params.shards` is 128, but at most 64 is allowed",
]


def post(world: World, params: dict[str, Any], **fields: Any) -> tuple[int, dict[str, Any]]:
    """Post a plain start of the flow."""
    body = {"definition": FLOW, "params": params, **fields}
    text, status, _ = on_start(world.services, {"Content-Type": "application/json"}, json.dumps(body).encode())
    return status, json.loads(text)


def test_a_call_is_answered_400_with_every_problem(world: World) -> None:
    """A call whose parameters do not fit is answered 400 with every problem, and its run can be looked at."""
    status, answer = post(world, WRONG)
    assert status == HTTPStatus.BAD_REQUEST
    assert sorted(problem["message"] for problem in answer["problems"]) == sorted(PROBLEMS)
    run = world.run(answer["run_id"])
    assert (run.state, [error["message"] for error in run.errors]) == (
        "INVALID",
        [problem["message"] for problem in answer["problems"]],
    )


def test_a_call_must_send_the_declared_type(world: World) -> None:
    """A number sent as text is refused with what to send."""
    status, answer = post(world, {"day": "2026-01-01", "shards": "8"})
    assert status == HTTPStatus.BAD_REQUEST
    assert "send 8" in answer["problems"][0]["message"]


def test_a_call_that_fits_is_accepted(world: World) -> None:
    """Given values and defaults reach the job with their types."""
    status, answer = post(world, {"day": "2026-01-01", "shards": 12})
    assert status == HTTPStatus.ACCEPTED
    assert world.run_to_end(answer["run_id"]).state == "SUCCEEDED"
    assert world.task_runner.submitted[0][1]["args"] == {"day": "2026-01-01", "n": 12, "r": "eu"}


def test_a_message_leaves_an_invalid_run_with_every_problem(functions: Deployed, world: World) -> None:
    """A message whose parameters do not fit is acknowledged, and its INVALID run lists every problem."""
    world.files.content[PATH, None] = FLOW.encode()
    body = {"workflow_path": PATH, "params": WRONG, "run_key": "k"}
    pushed = golden("start-push-inline")
    assert functions.post(_with_data(pushed, body)) == HTTPStatus.NO_CONTENT
    [line] = functions.logged("run.invalid")
    errors = world.run(line["run_id"]).errors
    assert sorted(error["message"] for error in errors) == sorted(PROBLEMS)


def _with_data(request: Golden, body: dict[str, Any]) -> Golden:
    message = {**request.body["message"], "data": base64.b64encode(json.dumps(body).encode()).decode()}
    return Golden(function=request.function, headers=request.headers, body={**request.body, "message": message})


def test_an_upload_that_needs_parameters_says_how_to_start_it(functions: Deployed, world: World) -> None:
    """The INVALID run of an uploaded file with required parameters names the command that starts it."""
    world.files.content[PATH, "1700000000000001"] = FLOW.encode()
    assert functions.post("start-eventarc-object-finalized") == HTTPStatus.NO_CONTENT
    [line] = functions.logged("run.invalid")
    messages = [error["message"] for error in world.run(line["run_id"]).errors]
    command = f"atom-workflows start {PATH} --param day=…"
    assert messages[0] == "`params.day` is required"
    advice = (
        f"an upload cannot provide parameters: start the workflow with `{command}`, set them in `schedules`, or write "
        "`schedules: []` to upload it without running it"
    )
    assert messages[1:] == [advice]
