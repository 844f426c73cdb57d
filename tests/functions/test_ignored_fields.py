"""What a start message has too much is ignored, but not in silence."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.errors import MalformedEvent
from atom_workflows.handlers.start import on_start
from atom_workflows.messages.start import StartRequested, read_start_event
from support.workflows import chain

MESSAGE = {"definition": chain(1), "workflow_path": "flow.yaml"}


def warnings(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the warnings about the message."""
    request = read_start_event({**MESSAGE, **body}, event_id="1")
    assert isinstance(request, StartRequested)
    return request.warnings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("paramz", "did you mean params?"),
        ("label", "did you mean labels?"),
        ("run-key", "did you mean run_key?"),
        ("workflowPath", "did you mean workflow_path?"),
        ("tr_auth_jwt", "set WORKFLOW_TR_AUTH_JWT"),
        ("origin", "the known fields are workflow_path, definition, run_key, tr_url, params, labels"),
    ],
)
def test_a_field_that_is_not_known(name: str, meant: str) -> None:
    """An unknown field is named with a suggestion, without its value."""
    [warning] = warnings({name: "hush"})
    assert (name in warning, meant in warning, "hush" in warning) == (True, True, False)


def test_every_known_field_is_silent() -> None:
    """Known fields and the first version's flags cause no warning."""
    known = {"workflow-path": "flow.yaml", "tr-url": "https://t.test", "run_key": "k", "params": {}, "labels": {}}
    assert warnings({**known, "schema": 1, "type": "start"}) == ()


def test_a_definition_beside_an_object(world: World) -> None:
    """A definition beside a path is used, and both caller and run learn it."""
    asked = {"workflow_path": "gs://flows/workflows/daily.yaml"}
    for definition, expected in ((chain(1), HTTPStatus.ACCEPTED), ("steps: []", HTTPStatus.BAD_REQUEST)):
        body = json.dumps({**asked, "definition": definition}).encode()
        text, status, _ = on_start(world.services, {"Content-Type": "application/json"}, body)
        answer = json.loads(text)
        assert (status, len(answer["warnings"])) == (expected, 1)
        assert "the definition was used, the object was not read" in answer["warnings"][0]
        assert list(world.run(answer["run_id"]).warnings) == answer["warnings"]


def test_a_message_of_many_fields() -> None:
    """Many or long field names make no long warnings."""
    found = warnings({f"{number}{'x' * 1_000}": 0 for number in range(1_000)})
    assert (len(found), max(map(len, found)) < 300) == (11, True)
    assert found[-1].startswith("990 more")


def test_the_run_keeps_the_warning(world: World) -> None:
    """The run starts, and keeps the warning."""
    started = handle_start(world.services, read_start_event({**MESSAGE, "paramz": {"a": 1}}, event_id="1"))
    run = world.run_to_end(started.run_id)
    assert (run.state, len(run.warnings)) == ("SUCCEEDED", 1)


def test_a_caller_is_answered_with_the_warning(world: World) -> None:
    """A plain POST is answered with the warnings."""
    body = json.dumps({**MESSAGE, "paramz": {}}).encode()
    text, status, _ = on_start(world.services, {"Content-Type": "application/json"}, body)
    assert (status, len(json.loads(text)["warnings"])) == (HTTPStatus.ACCEPTED, 1)


def test_a_message_without_a_workflow_names_the_misspelled_field() -> None:
    """A message that cannot start a run names its misspelled field."""
    with pytest.raises(MalformedEvent, match=r"needs workflow_path .* did you mean workflow_path"):
        read_start_event({"workflowpath": "gs://b/o"}, event_id="1")
