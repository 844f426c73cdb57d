"""What was written once is read for ever, and what is written now is what was written: shown by files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.documents import SCHEMAS
from atom_workflows.errors import MalformedEvent, NewerVersion
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Document
from atom_workflows.step_documents import step_record
from compatibility.plain_runs import PLAIN, SCRIPT, documents
from compatibility.written import DOCUMENTS, EARLIER, GOLDEN, MESSAGES, PLAIN_STEP, RUNS, STEP, as_golden, golden

DEFAULTED = sorted(set(DOCUMENTS["step"][1]) - set(DOCUMENTS["step-plain"][1]))
"""Fields that a plain step does not have: those that may be missing."""


def as_event(body: Any) -> Any:
    """Return an event's body with its times as texts."""
    if isinstance(body, dict):
        return {name: as_event(value) for name, value in body.items()}
    if isinstance(body, list):
        return [as_event(value) for value in body]
    return body.isoformat() if hasattr(body, "isoformat") else body


@pytest.mark.parametrize("name", MESSAGES)
def test_an_event_is_written_and_read_as_it_was(name: str) -> None:
    """Events are written and read as earlier versions do."""
    message, read, meaning = MESSAGES[name]
    assert as_golden(message.body) == GOLDEN[name].read_text()
    assert read(as_event(golden(name))) == meaning


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_written_and_read_as_it_was(name: str) -> None:
    """Documents are written and read as earlier versions do."""
    path, fields, read, meaning = DOCUMENTS[name]
    assert as_golden(fields) == GOLDEN[name].read_text()
    assert read(Document(path=path, fields=golden(name), version=0)) == meaning


def test_every_file_is_looked_at() -> None:
    """No golden file is left behind, and none is missing."""
    assert GOLDEN.keys() == {*MESSAGES, *DOCUMENTS, *EARLIER, *RUNS}


@pytest.mark.parametrize("name", EARLIER)
def test_a_document_of_an_earlier_version_is_read(name: str) -> None:
    """A step that was written without its kind is of the kind that its id and its task show."""
    path, meaning = EARLIER[name]
    document = Document(path=path, fields=golden(name), version=0)
    assert step_record(document) == meaning
    assert StoredStep.without_task(document).step == replace(meaning, request=None)


@pytest.mark.parametrize("name", MESSAGES)
def test_an_event_with_more_in_it(name: str) -> None:
    """Unknown fields of an event are ignored at each level."""
    _, read, meaning = MESSAGES[name]
    body = as_event(golden(name))
    del body["schema"]
    # The names of parameters are the user's, so none of them is unknown.
    own = {name: body[name] for name in ("params",) if name in body}
    assert read({**_with_more(body), **own}) == meaning


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_with_more_in_it(name: str) -> None:
    """Unknown fields of a document are ignored."""
    path, _, read, meaning = DOCUMENTS[name]
    fields = {key: value for key, value in golden(name).items() if (key, value) != ("schema", 1)}
    more = {**fields, "added_later": {"a": [1]}}
    if "policies" in more:
        more["policies"] = {**more["policies"], "added_later": 1}
    assert read(Document(path=path, fields=more, version=0)) == meaning


@pytest.mark.parametrize("missing", DEFAULTED)
def test_a_document_with_less_in_it(missing: str) -> None:
    """A missing field of a step has its default."""
    path, fields, _, _ = DOCUMENTS["step"]
    less = {name: value for name, value in fields.items() if name != missing}
    name = {"task": "request"}.get(missing, missing)
    found = step_record(Document(path=path, fields=less, version=0))
    assert found == replace(STEP, **{name: getattr(PLAIN_STEP, name)})


@pytest.mark.parametrize("name", [name for name in MESSAGES if name != "tick-tick"])
def test_an_event_of_a_newer_version(name: str) -> None:
    """It is not malformed: another instance can read it."""
    newer = 5 if name.startswith("steps-run.command") else 3
    with pytest.raises(NewerVersion, match=f"schema is {newer}"):
        MESSAGES[name][1](as_event(golden(name)) | {"schema": newer})


def test_a_tick_is_a_tick_whoever_sends_it() -> None:
    """It only wakes: no version can mean anything else by it."""
    _, read, meaning = MESSAGES["tick-tick"]
    assert read({"type": "tick", "schema": 3, "origin": "dispatcher"}) == meaning
    assert read({"type": "tick", "schema": 3, "origin": "scheduler"}) == read({}) == Tick()


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if not name.startswith("outputs")])
def test_a_document_of_a_newer_version(name: str) -> None:
    """It is refused whole, with its path, rather than read in part."""
    path, fields, read, _ = DOCUMENTS[name]
    newer = SCHEMAS[-1] + 1
    with pytest.raises(NewerVersion, match=f"{re.escape(path)} was written by a newer version: its schema is {newer}"):
        read(Document(path=path, fields={**fields, "schema": newer}, version=0))


def test_a_plain_file_makes_the_documents_that_it_always_made() -> None:
    """Byte for byte, from the start of its run to the end."""
    world = World(SCRIPT)
    run_id = world.start(PLAIN, run_key="1")
    assert as_golden(documents(world, run_id)) == GOLDEN["plain-run-begun"].read_text()
    world.run_to_end(run_id)
    assert as_golden(documents(world, run_id)) == GOLDEN["plain-run-ended"].read_text()


def test_a_node_of_a_kind_that_a_newer_version_made() -> None:
    """It is left to that version like a document of a newer schema."""
    path, fields, read, _ = DOCUMENTS["step"]
    with pytest.raises(NewerVersion, match="waterfall is not a kind of node"):
        read(Document(path=path, fields={**fields, "kind": "waterfall"}, version=0))


@pytest.mark.parametrize("schema", ["2", 0, -1, 1_001, 10**40, 1.5, None, True, [1]])
def test_a_schema_that_is_none(schema: object) -> None:
    """No version writes it, so no instance can ever read it."""
    read: Callable[[Any], object] = MESSAGES["steps-step.ready"][1]
    body: Mapping[str, object] = as_event(golden("steps-step.ready")) | {"schema": schema}
    with pytest.raises(MalformedEvent, match="schema must be a number"):
        read(body)


def _with_more(value: Any) -> Any:
    if isinstance(value, dict):
        return {**{name: _with_more(one) for name, one in value.items()}, "added_later": 1}
    return [_with_more(one) for one in value] if isinstance(value, list) else value
