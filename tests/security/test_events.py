"""Hostile events: none comes again for ever, costs more than an honest one, or sends a token elsewhere."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any, Final

import pytest

from atom_emulator.testing.world import World
from atom_workflows.adapters.task_runner.tokens import tokens_for
from atom_workflows.bounded_json import MAX_DEPTH
from atom_workflows.documents import RUNS, run_path
from atom_workflows.errors import CredentialUnusable
from atom_workflows.handlers.checker import on_tick
from atom_workflows.handlers.dispatcher import on_steps
from atom_workflows.handlers.start import on_start
from atom_workflows.messages.fields import MAX_ITEMS
from atom_workflows.messages.start import MAX_PATH_BYTES
from atom_workflows.ports import Query, Update
from atom_workflows.settings import Settings

JSON: Final = {"Content-Type": "application/json"}
FLOW: Final = "steps: [{id: a, task: {url: u}}]"
FINALIZED: Final = "google.cloud.storage.object.v1.finalized"


def pushed(body: Any, **attributes: str) -> bytes:
    """Return a Pub/Sub push of that body."""
    data = base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode()
    return json.dumps(
        {"message": {"data": data, "messageId": "1", "attributes": attributes}, "subscription": "s"}
    ).encode()


def cloud_event(kind: str, data: Any, *, event_id: str = "1") -> tuple[dict[str, str], bytes]:
    """Return a request with a structured CloudEvent."""
    event = {"specversion": "1.0", "id": event_id, "source": "s", "type": kind, "data": data}
    return {"content-type": "application/cloudevents+json"}, json.dumps(event).encode()


def runs(world: World) -> int:
    """Return the number of runs."""
    return len(world.store.inner.query(Query(collection=RUNS)))


@pytest.mark.parametrize(
    "data",
    [
        {"bucket": "b", "name": "workflows/\ud800.yaml", "generation": "1"},
        {"bucket": "\udfff", "name": "workflows/a.yaml", "generation": "1"},
        {"bucket": "b", "name": "workflows/a.yaml", "generation": "\ud800"},
        {"bucket": "b", "name": f"workflows/{'é' * 700}.yaml", "generation": "1"},
        {"bucket": "b", "name": "workflows/a.yaml", "generation": "1" * 3_000},
    ],
)
def test_an_object_that_cannot_be_is_dropped(data: dict[str, str]) -> None:
    """An upload with an impossible name is acknowledged and starts nothing."""
    world = World()
    assert on_start(world.services, *cloud_event(FINALIZED, data))[1] == HTTPStatus.NO_CONTENT
    assert runs(world) == 0


def test_an_event_id_that_cannot_be_stored_is_dropped() -> None:
    """An event whose id cannot be stored is acknowledged."""
    world = World()
    message = json.loads(pushed({"definition": FLOW}))
    headers, raw = cloud_event("google.cloud.pubsub.topic.v1.messagePublished", message, event_id="\ud800")
    assert on_start(world.services, headers, raw)[1] == HTTPStatus.NO_CONTENT
    assert runs(world) == 0


@pytest.mark.parametrize(
    "name", ["workflows/\x1b[2J\u202e\x9b.yaml", "workflows/../../x.yaml", "workflows/a\nb.yaml", "workflows/?a#b.yaml"]
)
def test_an_odd_name_is_only_a_name(name: str) -> None:
    """No odd character of an object's name gets into a run's id."""
    world = World()
    raw = pushed({}, eventType="OBJECT_FINALIZE", bucketId="b", objectId=name, objectGeneration="1")
    assert on_start(world.services, {}, raw)[1] == HTTPStatus.NO_CONTENT
    [document] = world.store.inner.query(Query(collection=RUNS))
    assert set(document.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert document.fields["state"] == "INVALID"


def test_a_path_is_no_longer_than_a_storage_s() -> None:
    """A path is limited, so that a run's problems fit into its document."""
    world = World()
    definition = "steps:\n" + "- {idd: x}\n" * 200
    body = {"definition": definition, "params": {"a": "b" * 99_000}, "labels": {"x": "y" * 99_000}}
    for length, status in ((MAX_PATH_BYTES, HTTPStatus.BAD_REQUEST), (MAX_PATH_BYTES + 4, HTTPStatus.BAD_REQUEST)):
        path = "\U0001f600" * (length // 4)
        assert on_start(world.services, JSON, json.dumps(body | {"workflow_path": path}).encode())[1] == status
    [document] = world.store.inner.query(Query(collection=RUNS))
    assert len(document.fields["errors"]) == 101


@pytest.mark.parametrize(
    "raw",
    [
        b'{"definition": "' + FLOW.encode() + b'", "params": {"a": ' + b"[" * 90_000 + b"]" * 90_000 + b"}}",
        b'{"definition": "' + FLOW.encode() + b'", "params": {"a": "' + b"x" * 100_001 + b'"}}',
        b'{"definition": "' + FLOW.encode() + b'", "params": {"a": ' + b"9" * 5_000 + b"}}",
        b'{"definition": "' + FLOW.encode() + b'", "params": {"a": NaN}}',
        b'{"definition": "' + FLOW.encode() + b'", "labels": {"__name__": "x"}}',
        b'{"definition": "' + FLOW.encode() + b'", "labels": {"a/b": "x"}}',
        b'{"definition": "' + FLOW.encode() + b'", "run_key": "' + b"x" * 2_001 + b'"}',
        b'{"definition": "' + FLOW.encode() + b'", "run_key": {"$ne": 1}}',
        b'{"definition": ' + b"[" * 100_000,
        b'{"type": "run.seed", "run_id": "../control/checker"}',
        b'{"type": "run.seed", "run_id": "a/steps/b"}',
        b'{"type": "run.seed", "run_id": "__x__"}',
    ],
)
def test_a_start_message_has_limits(raw: bytes) -> None:
    """A start message with deep, huge or misnamed fields starts nothing."""
    world = World()
    assert on_start(world.services, {}, pushed(raw))[1] == HTTPStatus.NO_CONTENT
    assert on_start(world.services, JSON, raw)[1] == HTTPStatus.BAD_REQUEST
    assert runs(world) == 0


OWN: Final = "https://runner.test/v1"


@pytest.mark.parametrize(
    "url",
    [
        *("http://runner.test/v1", "https://runner.test", "https://runner.test/v1/x", "https://runner.test/v1?a=b"),
        *(
            "https://runner.test/v1#",
            "https://runner.test/v1/..",
            "https://runner.test/V1",
            "https://runner.test:444/v1",
        ),
        *("https://runner.test@evil.test/v1", "https://evil.test/v1", "//runner.test/v1", "https://runner.test/v1\n"),
        *(
            "https://runner.test./v1",
            "http://169.254.169.254/computeMetadata/v1",
            "http://127.0.0.1:8080",
            "file:///etc/passwd",
            " " + OWN,
        ),
    ],
)
def test_jobs_and_tokens_go_to_allowed_addresses_alone(url: str) -> None:
    """Only the exact address of a setting gets jobs and tokens."""
    world = World(task_runner_url=OWN)
    text, status, _ = on_start(world.services, JSON, json.dumps({"definition": FLOW, "tr_url": url}).encode())
    assert status == HTTPStatus.FORBIDDEN
    assert world.run(json.loads(text)["run_id"]).state == "INVALID"
    world.settle_down()
    assert world.submissions() == []
    with pytest.raises(CredentialUnusable):
        tokens_for(Settings(task_runner_url=OWN, task_runner_token="t")).token_for(url)  # noqa: S106 (no secret)


@pytest.mark.parametrize("depth", [*range(60, 70), *range(150, 1_100, 19), 5_000])
def test_no_depth_makes_an_event_come_again(depth: int) -> None:
    """An event of any depth is acknowledged."""
    world = World()
    deep = "[" * depth + "]" * depth
    message = f'{{"definition": "{FLOW}", "params": {{"a": {deep}}}, "run_key": "k"}}'
    pushes = [pushed(message.encode()), f'{{"message": {{"data": "e30="}}, "x": {deep}, "subscription": "s"}}'.encode()]
    for raw in pushes:
        for handle in (on_start, on_steps, on_tick):
            assert handle(world.services, {"user-agent": "APIs-Google"}, raw)[1] == HTTPStatus.NO_CONTENT
    headers = {"content-type": "application/cloudevents+json"}
    event = f'{{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {deep}}}'
    assert on_start(world.services, headers, event.encode())[1] == HTTPStatus.NO_CONTENT
    assert on_start(world.services, JSON, message.encode())[1] in {HTTPStatus.ACCEPTED, HTTPStatus.BAD_REQUEST}
    world.settle_down()
    assert runs(world) == (depth <= MAX_DEPTH - 2)


def test_parameters_of_an_earlier_version_may_be_deep() -> None:
    """A stored run with deep parameters is read without them."""
    world = World()
    run_id = world.start(FLOW)
    deep = '{"p": ' + "[" * 200 + "]" * 200 + "}"
    world.store.inner.commit([Update(path=run_path(run_id), fields={"params": deep})])
    assert "nested too deeply" in world.run_to_end(run_id).params["params"]


def test_without_a_setting_no_address_is_allowed() -> None:
    """A deployment that names no Task Runner sends nothing anywhere."""
    for url in ("", "/", "https://evil.test"):
        assert not Settings().may_use_task_runner(url)


@pytest.mark.parametrize(
    "path", ["x", "/", "a//b", "runs/r", "runs/r/steps/", "runs/../steps/s", "runs/r/steps/s/x", "\0"]
)
def test_a_sweep_goes_on_behind_a_step_alone(path: str) -> None:
    """A page of due steps begins behind a step's path only."""
    world = World()
    times = dict.fromkeys(("due_at", "until", "valid_until"), "2026-01-01T00:00:00+00:00")
    raw = pushed({"type": "sweep.page", "path": path, **times})
    assert on_tick(world.services, {}, raw)[1] == HTTPStatus.NO_CONTENT


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01", "9" * 2_001])
def test_a_time_is_one_that_can_be_counted(time: str) -> None:
    """An event with a time beyond the calendar is malformed."""
    world = World()
    raw = pushed({"type": "sweep.page", "path": "runs/r/steps/s", "due_at": time, "until": time, "valid_until": time})
    assert on_tick(world.services, {}, raw)[1] == HTTPStatus.NO_CONTENT


@pytest.mark.parametrize("kind", ["step.ready", "steps.completed"])
def test_an_event_names_so_many_steps_at_most(kind: str) -> None:
    """An event that names too many steps is malformed."""
    world = World()
    items = [{"id": "s", "step": "s", "attempt": 1, "kind": "failed"}] * (MAX_ITEMS + 1)
    reads = world.store.reads
    raw = pushed({"type": kind, "run_id": "r", "steps": items, "outcomes": items})
    assert on_steps(world.services, {}, raw)[1] == HTTPStatus.NO_CONTENT
    assert world.store.reads == reads
