"""Messages that are invalid, malformed or come twice."""

from __future__ import annotations

import json

import pytest

from e2e.console import console
from e2e.leftovers import require_nothing_left
from e2e.site import Site
from support.call_log import submissions, violations
from support.workflows import definition

PAIR = {"first": [], "second": ["first"]}

MALFORMED = [
    b"not JSON",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b'"text"',
    b"{}",
    b'{"type": "no such type"}',
    b'{"type": "step.ready", "run_id": "no-such-run", "steps": [{"id": "a", "attempt": 1}]}',
    b'{"type": "step.ready", "run_id": "../..", "steps": []}',
    b'{"type": "steps.completed", "run_id": "no-such-run", "outcomes": [{"step": "a", "attempt": -1}]}',
    b'{"type": "run.seed", "run_id": "no-such-run"}',
    b'{"type": "sweep.page", "due_at": "yesterday", "path": "", "until": 3}',
    b'{"workflow_path": 7}',
    b'{"definition": ["a"], "workflow_path": "a.yaml"}',
    b'{"type": "step.ready", "schema": "new", "run_id": "x", "steps": [{"id": "a"}]}',
    b"[" * 5_000,
]


def test_an_invalid_definition_is_answered(site: Site) -> None:
    """An invalid workflow becomes an INVALID run with all its problems."""
    text = "name: bad\nsteps:\n- id: a\n  dependsOn: [no-one]\n  task: {imageUri: i}\n- id: a\n  tsk: {}\n"
    run_id = site.start(text, name="bad")
    run = site.ended(run_id)
    assert run["state"] == "INVALID"
    assert len(run["errors"]) >= 3
    assert site.calls(run_id) == []
    shown = console(site, "runs", "show", run_id).succeeded()
    for error in run["errors"]:
        assert f"{error['line']}:{error['column']}:" in shown
        assert " ".join(error["message"].split()) in shown
    (newest,) = json.loads(console(site, "runs", "list", "--limit", "1", "--json").succeeded())["runs"]
    assert (newest["id"], newest["state"]) == (run_id, "INVALID")


def test_a_start_message_that_comes_twice(site: Site) -> None:
    """A key starts one run, however often it is sent."""
    run_id = site.start(definition(PAIR), times=5)
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    require_nothing_left(site)
    calls = site.calls(run_id)
    assert violations(calls, PAIR) == []
    assert submissions(calls) == {"first": 1, "second": 1}


def test_repeated_events_change_nothing(site: Site) -> None:
    """Repeated events of a run submit no job again."""
    run_id = site.start(definition(PAIR))
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    before = (site.run(run_id), site.steps(run_id), site.calls(run_id))
    ready = {"type": "step.ready", "schema": 1, "run_id": run_id, "steps": [{"id": "first", "attempt": 1}]}
    outcome = {"step": "first", "attempt": 1, "kind": "failed", "message": "too late", "job_id": "", "job_state": ""}
    completed = {"type": "steps.completed", "schema": 1, "run_id": run_id, "outcomes": [outcome]}
    for body in (ready, completed, {**ready, "steps": [{"id": "second", "attempt": None}, {"id": "no-such-step"}]}):
        for _ in range(3):
            site.publish("steps", json.dumps(body).encode())
    site.publish("start", json.dumps({"type": "run.seed", "run_id": run_id}).encode())
    for _ in range(5):
        site.publish("tick", b'{"type": "tick"}')
    require_nothing_left(site)
    assert (site.run(run_id), site.steps(run_id), site.calls(run_id)) == before


@pytest.mark.parametrize(("topic", "given_up"), [("start", 18), ("steps", 18), ("tick", 14)])
def test_malformed_messages_become_dead_letters(site: Site, topic: str, given_up: int) -> None:
    """Malformed messages become dead letters, and the next run goes well.

    An object without a type is a tick; a bucket's other events, and those of a run that is gone, ask for nothing.
    """
    for data in MALFORMED:
        site.publish(topic, data)
    site.publish(topic, b"", note="attributes only")
    site.publish(topic, b"{}", eventType="OBJECT_METADATA_UPDATE", bucketId="b", objectId="o")
    site.publish(topic, b"{}", eventType="OBJECT_FINALIZE")
    assert site.ended(site.start(definition(PAIR)))["state"] == "SUCCEEDED"
    require_nothing_left(site, given_up=given_up)
