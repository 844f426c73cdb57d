"""A key names one run: the first answer again, a fresh start once what refused it is fixed, never another's run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import batches
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.records import RunRecord
from atom_workflows.handlers.start import on_start
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Update
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.workflows import chain

PATH = "gs://flows/workflows/nightly.yaml"
ELSEWHERE = "https://elsewhere.test"
INVALID = {"definition": "steps: []"}
ALSO_INVALID = {"definition": "steps: [{id: a, dependsOn: [b]}]"}
TWO, THREE = {"definition": chain(2)}, {"definition": chain(3)}
FILE = {"workflow_path": PATH}
FORBIDDEN = {**TWO, "tr_url": ELSEWHERE}


def post(world: World, body: Mapping[str, Any], key: str = "nightly-0131") -> tuple[int, dict[str, Any]]:
    """Post a request with that key; the answer's status and body."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    text, status, _ = on_start(world.services, headers, json.dumps(body).encode())
    return status, json.loads(text)


def start(world: World, body: Mapping[str, Any]) -> None:
    """Post a request that is accepted."""
    assert post(world, body)[0] == HTTPStatus.ACCEPTED


def publish(world: World, body: Mapping[str, Any], event_id: str = "1") -> RunRecord:
    """Handle a start message; its run."""
    return world.run(handle_start(world.services, read_start_event(body, event_id=event_id)).run_id)


def upload(world: World, text: str, generation: str = "1") -> None:
    """Put a file into the bucket, as its newest generation."""
    world.files.content[PATH, None] = world.files.content[PATH, generation] = text.encode()


def fix_nothing(_world: World) -> None:
    """Leave all as it is: it was the request that was wrong."""


def fix_the_file(world: World) -> None:
    """Upload what was missing."""
    upload(world, chain(2))


def fix_the_settings(world: World) -> None:
    """Allow the Task Runner that was asked for."""
    settings = replace(world.services.settings, task_runner_url=ELSEWHERE)
    world.services = replace(world.services, settings=settings)


CAUSES = {
    "the file is missing": (FILE, HTTPStatus.NOT_FOUND, fix_the_file, FILE),
    "the definition is invalid": (INVALID, HTTPStatus.BAD_REQUEST, fix_nothing, TWO),
    "the Task Runner is not allowed": (FORBIDDEN, HTTPStatus.FORBIDDEN, fix_the_settings, FORBIDDEN),
    "another Task Runner is allowed": (FORBIDDEN, HTTPStatus.FORBIDDEN, fix_nothing, TWO),
}


@pytest.mark.parametrize("batch", [2, 200], ids=["in parts", "whole"])
@pytest.mark.parametrize("cause", CAUSES)
def test_a_key_starts_a_run_once_the_cause_of_its_refusal_is_fixed(
    cause: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key starts a new run once the cause is fixed."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", batch)
    refused, status, fix, asked = CAUSES[cause]
    world = World()
    first, again = (post(world, {**refused, "params": {"a": 1}}) for _ in range(2))
    assert first == again
    assert first[0] == status
    fix(world)
    world.clock.move(timedelta(days=1))
    answered, answer = post(world, asked)
    assert (answered, answer["run_id"]) == (HTTPStatus.ACCEPTED, first[1]["run_id"])
    run = world.run(answer["run_id"])
    assert run.created_at == world.clock.now()
    assert (run.errors, run.finished_at, run.params, run.warnings) == ((), None, {}, ())
    assert run.expire_at == world.clock.now() + world.services.settings.keep_runs
    if refused is not FORBIDDEN or asked is not FORBIDDEN:
        world.settle_down()
        assert world.run(run.id).state == "SUCCEEDED"
        assert len(world.submissions()) == 2


def test_a_key_that_is_refused_for_another_reason_says_so() -> None:
    """An INVALID run has the latest reason."""
    world = World()
    post(world, INVALID)
    status, answer = post(world, ALSO_INVALID)
    assert status == HTTPStatus.BAD_REQUEST
    assert "b" in answer["problems"][0]["message"]
    assert [dict(error) for error in world.run(answer["run_id"]).errors] == answer["problems"]


OTHERS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], str]] = {
    "definition": (TWO, THREE, "definition"),
    "an invalid definition": (TWO, INVALID, "definition"),
    "tr_url": (TWO, FORBIDDEN, "tr_url"),
    "params": (TWO, {**TWO, "params": {"day": 2}}, "params"),
    "labels": (TWO, {**TWO, "labels": {"team": "a"}}, "labels"),
    "a path": (
        {**TWO, "workflow_path": PATH},
        {"workflow_path": PATH},
        "definition",
    ),
    "generation": ({**FILE, "generation": "1"}, {**FILE, "generation": "2"}, "generation"),
    "a generation that is gone": ({**FILE, "generation": "1"}, {**FILE, "generation": "9"}, "generation"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_request_under_a_key_is_a_conflict(case: str) -> None:
    """Another request under a key is answered 409 and leaves a warning."""
    asked, other, what = OTHERS[case]
    world = World()
    upload(world, chain(2))
    upload(world, chain(3), "2")
    first_status, first = post(world, asked)
    assert first_status == HTTPStatus.ACCEPTED
    for _ in range(2):
        status, answer = post(world, other)
        assert (status, answer["run_id"]) == (HTTPStatus.CONFLICT, first["run_id"])
        assert what in answer["problems"][0]["message"]
    world.settle_down()
    run = world.run(first["run_id"])
    assert run.state == "SUCCEEDED"
    assert len(world.submissions()) == 2
    [warning] = [one for one in run.warnings if "its key" in one]
    assert what in warning


def test_another_message_under_a_key_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Another message under a key is logged, and the run has one warning."""
    world = World()
    first = publish(world, {**TWO, "run_key": "k"})
    for event_id in ("2", "2", "3"):
        run = publish(world, {**THREE, "run_key": "k"}, event_id)
        assert run.id == first.id
        assert len(run.warnings) == 1
    assert [record.levelname for record in caplog.records if "differs in its definition" in record.message] == [
        "WARNING"
    ] * 3


@pytest.mark.parametrize("change", ["replaced", "spoilt", "deleted"])
def test_the_same_request_stays_the_same_when_its_file_changes(change: str) -> None:
    """A repeated request whose file changed is the same run, with a warning."""
    world = World()
    upload(world, chain(2))
    _, first = post(world, FILE)
    if change == "deleted":
        world.files.content.clear()
    else:
        upload(world, chain(3) if change == "replaced" else "steps: []", "2")
    for _ in range(2):
        status, answer = post(world, FILE)
        assert (status, answer["run_id"]) == (HTTPStatus.ACCEPTED, first["run_id"])
        assert [bool(answer.get("warnings"))] == [change != "deleted"]
    world.settle_down()
    run = world.run(first["run_id"])
    assert (run.state, len(world.submissions())) == ("SUCCEEDED", 2)
    assert len(run.warnings) == (change != "deleted")


def test_the_same_message_again_leaves_no_further_warning() -> None:
    """A redelivered message adds nothing to what the first delivery warned of."""
    world = World()
    body = {**TWO, "run_key": "k", "params": {"a": [1, 2.5, None]}, "labels": {"team": "a"}}
    for _ in range(3):
        run = publish(world, body)
        world.settle_down()
    assert run.warnings == ("params were given, but the file declares none; they are stored but not used",)
    assert len(world.submissions()) == 2


@pytest.mark.parametrize("moment", ["get", "commit"])
def test_two_that_replace_a_refused_run_start_it_once(moment: str) -> None:
    """Two starts that replace a refused run start one."""
    world = World()
    post(world, INVALID)
    calls: list[str] = []

    def second_call(name: str, _: Any) -> bool:
        calls.append(name)
        return calls.count(moment) == (1 if moment == "get" else 2)

    store = meanwhile(world, second_call, partial(start, world, TWO))
    status, answer = post(world, TWO)
    assert store.happened
    assert status == HTTPStatus.ACCEPTED
    world.settle_down()
    assert world.run(answer["run_id"]).state == "SUCCEEDED"
    assert len(world.submissions()) == 2


def test_of_two_different_requests_at_once_one_is_a_conflict() -> None:
    """Of two different requests at the same time, the second is a conflict."""
    world = World()
    meanwhile(world, lambda name, _: name == "commit", partial(start, world, TWO))
    status, answer = post(world, THREE)
    assert status == HTTPStatus.CONFLICT
    assert world.run(answer["run_id"]).step_count == 2


@pytest.mark.parametrize("fatal", range(1, 7))
@pytest.mark.parametrize("after", [False, True])
def test_a_start_that_dies_while_it_replaces_a_refused_run_is_continued(
    fatal: int, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """A repeated request continues a start that died."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 2)
    world = World()
    post(world, INVALID)
    plain = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        post(world, TWO)
    world.services = plain
    status, answer = post(world, TWO)
    assert status == HTTPStatus.ACCEPTED
    world.settle_down()
    assert world.run(answer["run_id"]).state == "SUCCEEDED"
    assert world.submissions() == ["s0/1", "s1/1"]


def test_a_warning_is_added_to_a_run_that_changes_meanwhile() -> None:
    """Adding a warning keeps what others write to the run."""
    world = World()
    run_id = publish(world, {**TWO, "run_key": "k"}).id

    def other() -> None:
        world.store.commit([Update(path=f"runs/{run_id}", fields={"description": "changed"})])

    store = meanwhile(world, lambda name, writes: name == "commit" and "warnings" in writes[0].fields, other)
    run = publish(world, {**THREE, "run_key": "k"}, "2")
    assert store.happened
    assert (run.description, len(run.warnings)) == ("changed", 1)
