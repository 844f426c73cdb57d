"""Input that can never succeed: answered, logged once, kept as a dead letter, never delivered again."""

from __future__ import annotations

import pytest

from atom_emulator.testing.world import World
from atom_workflows.documents import RUNS
from atom_workflows.ports import Query
from functions.posting import EVENTS, Deployed, Golden, golden

MALFORMED = [f"malformed/{path.stem}" for path in sorted((EVENTS / "malformed").glob("*.json"))]
IGNORED = {"step.unknown", "object.ignored"}
"""What is understood, and asks for nothing that could be done."""


@pytest.mark.parametrize("name", MALFORMED)
def test_what_cannot_be_handled_is_acknowledged_and_logged_once(
    functions: Deployed, world: World, run_id: str, name: str
) -> None:
    """A malformed event is acknowledged, logged once and dead-lettered."""
    writes = world.store.writes
    assert functions.post(name) == 204
    [line] = functions.lines
    assert line["severity"] == "WARNING"
    assert line["action"] in {"event.malformed", *IGNORED}
    assert len(line["message"]) < 500
    # What is not there has a name in words, not Python's.
    assert "None" not in line["message"]
    assert world.store.writes == writes
    assert world.submissions() == []
    letters = world.bus.take_all("dead-letters")
    assert len(letters) == (line["action"] not in IGNORED and holds_message(golden(name)))
    for letter in letters:
        assert letter.attributes["deadLetterReason"][:50] in line["message"]


def holds_message(event: Golden) -> bool:
    """Return True if the request holds a Pub/Sub message."""
    return isinstance(event.body, dict) and isinstance(event.body.get("message"), dict)


def test_an_invalid_workflow_becomes_an_invalid_run(functions: Deployed, world: World) -> None:
    """An invalid upload becomes an INVALID run with its problems."""
    world.files.content["gs://flows/workflows/daily.yaml", "1700000000000001"] = b"name: flow\nsteps:\n  - {ids: a}\n"
    assert functions.post("start-push-bucket-notification") == 204
    [line] = functions.logged("run.invalid")
    run = world.run(line["run_id"])
    assert run.state == "INVALID"
    assert {problem["line"] for problem in run.errors} == {3}


def test_a_file_that_is_gone_becomes_an_invalid_run(functions: Deployed, world: World) -> None:
    """An upload whose file is gone becomes an INVALID run."""
    world.files.content.clear()
    assert functions.post("start-eventarc-object-finalized") == 204
    [line] = functions.logged("run.invalid")
    assert "gs://flows/workflows/daily.yaml" in world.run(line["run_id"]).errors[0]["message"]


@pytest.mark.parametrize("name", ["workflows/readme.md", "other/daily.yaml", "workflows/"])
def test_other_objects_start_nothing(functions: Deployed, world: World, name: str) -> None:
    """An object elsewhere, or with another extension, starts nothing."""
    event = golden("start-push-bucket-notification")
    event.body["message"]["attributes"]["objectId"] = name
    assert functions.post(event) == 204
    assert [line["action"] for line in functions.lines] == ["object.ignored"]
    assert world.store.query(Query(collection=RUNS)) == []


def test_a_person_who_posts_nonsense_gets_400(functions: Deployed) -> None:
    """A plain POST that is no event is answered 400."""
    assert functions.post(Golden("start", {"Content-Type": "application/json"}, "nonsense")) == 400
    assert functions.post(Golden("start", {"Content-Type": "application/json"}, {})) == 400
