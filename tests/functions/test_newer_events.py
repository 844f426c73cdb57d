"""Events and documents of a newer version, at the functions of this one: left to that version, and never lost."""

from __future__ import annotations

import json

from atom_emulator.testing.world import World
from atom_workflows.documents import SCHEMAS, step_path
from atom_workflows.messages.dead_letters import read_dead_letter
from atom_workflows.ports import HeldMessage, Update
from atom_workflows.settings import MAX_DELIVERIES
from functions.posting import Deployed, Golden, golden

NEWER = "newer/dispatcher-step-ready"


def on_delivery(name: str, attempt: int) -> Golden:
    """Return the golden request with the number of its delivery."""
    event = golden(name)
    return Golden(event.function, event.headers, {**event.body, "deliveryAttempt": attempt})


def test_an_event_of_a_newer_version_comes_again(functions: Deployed, world: World, run_id: str) -> None:
    """An event of a newer version is not acknowledged, and changes nothing."""
    writes = world.store.writes
    assert functions.post(on_delivery(NEWER, 1)) == 500
    [line] = functions.logged("event.failed")
    assert (line["reason"], "schema is 3, but this version reads only schemas up to 2" in line["message"]) == (
        "NewerVersion",
        True,
    )
    assert world.store.writes == writes
    assert world.bus.take_all("dead-letters") == []
    assert world.run(run_id).state == "RUNNING"


def test_an_outcome_with_fields_that_are_not_known(functions: Deployed, world: World, run_id: str) -> None:
    """Fields that a newer version adds to an event of this schema are ignored: the outcome ends its step."""
    functions.post("dispatcher-push-step-ready")
    assert functions.post("dispatcher-push-steps-completed-outputs") == 204
    assert not functions.logged("event.malformed")
    assert world.states(run_id)["extract"] == "SUCCEEDED"


def test_its_last_delivery_leaves_a_letter_to_replay(functions: Deployed, world: World, run_id: str) -> None:
    """After its last delivery such an event is a dead letter to replay."""
    assert functions.post(on_delivery(NEWER, MAX_DELIVERIES)) == 204
    [letter] = world.bus.take_all("dead-letters")
    held = HeldMessage(
        id="1", data=letter.data, attributes=letter.attributes, published_at=world.clock.now(), lease=letter
    )
    read = read_dead_letter(held)
    assert (read.error, read.topic, read.is_hopeless, read.run_id) == ("NewerVersion", "steps", False, run_id)


def test_a_run_that_a_newer_version_wrote(functions: Deployed, world: World, run_id: str) -> None:
    """An event about a newer version's run is left to that version."""
    path = step_path(run_id, "extract")
    world.store.commit([Update(path=path, fields={"schema": SCHEMAS[-1] + 1})])
    writes = world.store.writes
    assert functions.post("dispatcher-push-step-ready") == 500
    [line] = functions.logged("event.failed")
    assert path in line["message"]
    assert (world.store.writes, world.submissions()) == (writes, [])


def test_a_caller_is_answered(functions: Deployed, world: World) -> None:
    """A plain POST of a newer version is answered 503 with the reason."""
    body = {"workflow_path": "gs://flows/workflows/daily.yaml", "schema": 3}
    request = Golden("start", {"Content-Type": "application/json"}, json.dumps(body))
    assert functions.post(request) == 503
    assert world.bus.take_all("steps") == []
