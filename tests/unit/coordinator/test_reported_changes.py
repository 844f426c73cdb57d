"""What subscribers of the topic `events` are told besides states."""

from __future__ import annotations

import json
from typing import Any

from atom_emulator.testing.world import World
from support.workflows import definition, script


def reported(world: World) -> list[dict[str, Any]]:
    """Return all changes that were published, oldest first."""
    return [change for message in world.changes() for change in message.body["changes"]]


def test_a_step_that_fails_is_reported_with_its_reason() -> None:
    """The Task Runner's reason is there, and whether the failure is tolerated."""
    world = World(script(a={"always_fail": True, "reason": "OOM"}))
    run_id = world.start(definition({"a": []}, a={"allowFailure": True}))
    world.run_to_end(run_id)
    [failed] = [change for change in reported(world) if change["state"] == "FAILED"]
    assert (failed["reason"], failed["tolerated"]) == ("OOM", True)


def test_a_skip_by_choice_is_reported_with_its_values() -> None:
    """It can be told from a skip behind a failure, and says what it was decided on."""
    world = World(script(a={"outputs": {"rows": 12}}))
    flow = definition({"a": [], "b": ["a"]}, a={"outputs": {"rows": "int"}}, b={"when": "steps.a.outputs.rows > 1000"})
    world.run_to_end(world.start(flow))
    [skipped] = [change for change in reported(world) if change["state"] == "SKIPPED"]
    assert skipped["by_choice"] is True
    assert skipped["because"] == "`steps.a.outputs.rows > 1000` was false (`rows` = 12)"


def test_a_step_is_reported_as_running_with_the_number_of_its_items() -> None:
    """Its items are reported by their own names once they have been created."""
    world = World()
    world.run_to_end(world.start("steps: [{id: train, forEach: [a, b], task: {imageUri: x}}]"))
    of_steps = [change for change in reported(world) if "step" in change]
    [running] = [change for change in of_steps if "items" in change]
    assert (running["step"], running["state"], running["items"]) == ("train", "RUNNING", 2)
    assert {change["step"] for change in of_steps} == {"train", "train[0]", "train[1]"}


def test_the_end_of_a_run_is_reported_with_its_outputs() -> None:
    """Whoever waits for the run's results need not read its document."""
    world = World(script(a={"outputs": {"rows": 12}}))
    flow = json.loads(definition({"a": []}, a={"outputs": {"rows": "int"}}))
    world.run_to_end(world.start(json.dumps({**flow, "outputs": {"total": "${{ steps.a.outputs.rows + 1 }}"}})))
    [end] = [change for change in reported(world) if "run" in change and change["state"] == "SUCCEEDED"]
    assert end["outputs"] == {"total": 13}


def test_changes_of_a_plain_run_have_no_more_fields() -> None:
    """What has nothing to say is left out."""
    world = World()
    world.run_to_end(world.start(definition({"a": []})))
    known = {"run", "step", "state", "attempt", "job_state", "message", "at"}
    assert all(change.keys() <= known for change in reported(world))
