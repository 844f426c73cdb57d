"""A plain HTTP POST starts a run, as one did in the first version's deployed form."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest

from atom_emulator.testing.world import TASK_RUNNER_URL, World
from atom_workflows.handlers.start import on_start

PATH = "gs://flows/workflows/daily.yaml"


def post(world: World, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """Post a request; the answer's status and body."""
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    text, status, answered = on_start(world.services, named, json.dumps(body).encode())
    assert answered["Content-Type"] == "application/json"
    return status, json.loads(text)


@pytest.mark.parametrize("fields", [("workflow-path", "tr-url"), ("workflow_path", "tr_url")])
def test_a_post_starts_a_run(world: World, fields: tuple[str, str]) -> None:
    """A POST with the flags' names as fields starts a run, with - or _."""
    status, answer = post(world, dict(zip(fields, (PATH, TASK_RUNNER_URL), strict=True)))
    assert (status, set(answer)) == (HTTPStatus.ACCEPTED, {"run_id"})
    run = world.run_to_end(answer["run_id"])
    assert (run.state, run.source["path"]) == ("SUCCEEDED", PATH)


def test_the_task_runner_need_not_be_named(world: World) -> None:
    """Without `tr-url` the deployment's own Task Runner is used."""
    _, answer = post(world, {"workflow-path": PATH})
    assert world.run(answer["run_id"]).task_runner_url == TASK_RUNNER_URL


def test_a_task_runner_that_is_not_allowed_is_refused(world: World) -> None:
    """A Task Runner that is not allowed is answered 403, and gets no job."""
    status, answer = post(world, {"workflow-path": PATH, "tr-url": "https://elsewhere.test"})
    assert status == HTTPStatus.FORBIDDEN
    assert world.run(answer["run_id"]).state == "INVALID"
    assert "add it to WORKFLOW_TASK_RUNNER_ALLOW" in answer["problems"][0]["message"]
    world.settle_down()
    assert world.submissions() == []


def test_a_further_task_runner_may_be_allowed() -> None:
    """A Task Runner of WORKFLOW_TASK_RUNNER_ALLOW may be named."""
    world = World(task_runner_url="https://own.test", allowed_task_runner_urls=(TASK_RUNNER_URL,))
    status, answer = post(world, {"definition": "steps: [{id: a, task: {url: u}}]", "tr-url": f"{TASK_RUNNER_URL}/"})
    assert status == HTTPStatus.ACCEPTED
    assert world.run_to_end(answer["run_id"]).state == "SUCCEEDED"
    assert world.submissions() == ["a/1"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"workflow-path": "gs://flows/workflows/none.yaml"}, HTTPStatus.NOT_FOUND),
        ({"definition": "steps: [{id: a, dependsOn: [b]}]"}, HTTPStatus.BAD_REQUEST),
    ],
)
def test_what_cannot_run_is_answered_with_its_problems(world: World, body: dict[str, Any], status: int) -> None:
    """A missing file is answered 404 and an invalid one 400, with all problems."""
    answered, answer = post(world, body)
    assert answered == status
    assert answer["problems"]
    assert world.run(answer["run_id"]).state == "INVALID"


def test_what_is_no_json_is_said_in_words(world: World) -> None:
    """A body that is no JSON is explained without Python's names or a trace."""
    for raw, reason in ((b"gs://b/o", "is not JSON: Expecting value"), (b"[" * 100_000, "nested too deeply")):
        text, status, _ = on_start(world.services, {"Content-Type": "application/json"}, raw)
        assert status == HTTPStatus.BAD_REQUEST
        assert reason in json.loads(text)["error"]
        assert "Error:" not in json.loads(text)["error"]


def test_the_same_idempotency_key_starts_one_run(world: World) -> None:
    """Calls with the same Idempotency-Key are answered with one run."""
    first, again, other = (post(world, {"workflow-path": PATH}, Idempotency_Key=key) for key in ("a", "a", "b"))
    assert first == again
    assert other[1]["run_id"] != first[1]["run_id"]
    assert post(world, {"workflow-path": PATH})[1] != post(world, {"workflow-path": PATH})[1]


def test_whole_numbers_are_texts_too(world: World) -> None:
    """A whole number as key or label is the same as its digits."""
    body = {"definition": "steps: [{id: a, task: {url: u}}]", "run_key": 20260131, "labels": {"build": 17}}
    status, answer = post(world, body)
    assert status == HTTPStatus.ACCEPTED
    assert world.run(answer["run_id"]).labels == {"build": "17"}
    assert post(world, {**body, "run_key": "20260131"})[1]["run_id"] == answer["run_id"]


@pytest.mark.parametrize(
    "fields", [{"run_key": True}, {"run_key": 1.5}, {"labels": {"a": True}}, {"labels": {"a": None}}]
)
def test_other_values_are_no_texts(world: World, fields: dict[str, Any]) -> None:
    """A label or key that is no text or whole number is refused."""
    assert post(world, {"definition": "steps: [{id: a, task: {url: u}}]", **fields})[0] == HTTPStatus.BAD_REQUEST


def test_a_task_runner_is_called_as_the_settings_spell_it(world: World) -> None:
    """The Task Runner is called by the settings' spelling of its address."""
    _, answer = post(world, {"workflow-path": PATH, "tr-url": TASK_RUNNER_URL.upper()})
    assert world.run_to_end(answer["run_id"]).state == "SUCCEEDED"
    assert world.run(answer["run_id"]).task_runner_url == TASK_RUNNER_URL
