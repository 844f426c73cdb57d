"""What the console answers when a step is to be marked: the command's words, a form, and a mark that was seen."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import retry_run
from support.command_line import call_runs
from support.workflows import chain, definition, script
from unit.client.console.asking import Page

REFUSED: Final = 409
WRONG: Final = 400
MISSING: Final = 404
DIAMOND: Final = definition({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
TYPED: Final = definition(
    {"list": [], "load": ["list"]},
    list={"outputs": {"rows": "int", "day": "text", "files": "[gsUri]", "note": "text or null"}},
    load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
)


def failed(flow: str = DIAMOND, **steps: Any) -> tuple[World, str]:
    """Return a world with a run that has failed."""
    world = World(script(**steps))
    run_id = world.start(flow)
    world.run_to_end(run_id)
    return world, run_id


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_preview_of_a_mark_has_the_words_of_the_command(state: str) -> None:
    """Every sentence and row of `runs mark --dry-run` is in the preview, and so are the members of its JSON."""
    world, run_id = failed(b={"always_fail": True})
    found = Page(world.services).preview(f"/runs/{run_id}/mark", step="b", state=state).body
    printed = call_runs(world, "mark", run_id, "b", state, "--dry-run").stdout
    rows = [" ".join(row) for row in found["table"]["rows"]]
    [_, *shown] = [" ".join(line.split()) for line in printed.splitlines() if line]
    assert shown == [*rows, *found["lines"]]
    counted = json.loads(call_runs(world, "mark", run_id, "b", state, "--dry-run", "--json").stdout)
    assert {name: found[name] for name in counted if name in found} | {"queued": False} == counted
    assert not world.run(run_id).changes


def test_mark_that_was_seen_is_made() -> None:
    """The run records who made it, and why."""
    world, run_id = failed(b={"always_fail": True})
    page = Page(world.services)
    asked = {"step": "b", "state": "succeeded"}
    seen = page.preview(f"/runs/{run_id}/mark", **asked).body["seen"]
    done = page.post(f"/runs/{run_id}/mark", **asked, seen=seen, reason="loaded by hand")
    assert (done.status, done.body["effect"], done.text) == (
        200,
        "reopens",
        f"Marked `b` as succeeded: run {run_id} continues.",
    )
    [change] = world.run(run_id).changes
    assert (change.what, change.actor, change.why) == ("mark b succeeded", "someone@here", "loaded by hand")
    world.run_to_end(run_id)
    assert world.states(run_id) == dict.fromkeys("abcd", "SUCCEEDED")


@pytest.mark.parametrize(
    ("step", "state", "effect", "said"),
    [
        ("b", "skipped", "stops_job", "Marked `b` as skipped: its job is being stopped first."),
        ("d", "succeeded", "waits", "Marked `d` as succeeded: it will end that way when its turn comes."),
    ],
)
def test_steps_of_an_open_run_are_marked(step: str, state: str, effect: str, said: str) -> None:
    """The answer says when the mark takes effect."""
    world = World(script(b={"duration": 900}))
    run_id = world.start(DIAMOND)
    world.settle_down()
    page = Page(world.services)
    asked = {"step": step, "state": state}
    seen = page.preview(f"/runs/{run_id}/mark", **asked).body["seen"]
    done = page.post(f"/runs/{run_id}/mark", **asked, seen=seen)
    assert (done.body["effect"], done.text) == (effect, said)


def test_preview_describes_a_form_for_the_declared_outputs() -> None:
    """Each has its type, and its own problem; nothing can be confirmed until all are right."""
    world, run_id = failed(TYPED, list={"always_fail": True})
    page = Page(world.services)
    found = page.preview(
        f"/runs/{run_id}/mark", step="list", state="succeeded", outputs={"rows": "many", "day": "20260101"}
    ).body
    assert [(one["name"], one["type"], one["required"]) for one in found["outputs"]] == [
        ("rows", "int", True),
        ("day", "text", True),
        ("files", ["gsUri"], True),
        ("note", "text or null", False),
    ]
    problems = {one["param"]: one["message"] for one in found["output_problems"]}
    assert (list(problems), problems["files"]) == (["rows", "files"], "`files` is missing")
    assert "seen" not in found
    asked = {"step": "list", "state": "succeeded"}
    right = {"rows": "7", "day": "20260101", "files": '["gs://b/a"]'}
    seen = page.preview(f"/runs/{run_id}/mark", **asked, outputs=right).body["seen"]
    assert page.post(f"/runs/{run_id}/mark", **asked, outputs={**right, "rows": "8"}, seen=seen).status == REFUSED
    assert page.post(f"/runs/{run_id}/mark", **asked, outputs=right, seen=seen).status == 200
    world.run_to_end(run_id)
    shown = json.loads(call_runs(world, "show", run_id, "--step", "list", "--json").stdout)
    assert shown["outputs"] == {"rows": 7, "day": "20260101", "files": ["gs://b/a"], "note": None}


def test_mark_of_a_run_that_has_changed_is_refused() -> None:
    """What someone else did in the meantime is said, and nothing is done."""
    world, run_id = failed(b={"always_fail": True})
    page = Page(world.services)
    asked = {"step": "b", "state": "succeeded"}
    seen = page.preview(f"/runs/{run_id}/mark", **asked).body["seen"]
    retry_run(world.services, run_id, actor="ana@there")
    world.run_to_end(run_id)
    refused = page.post(f"/runs/{run_id}/mark", **asked, seen=seen)
    assert (refused.status, "changed after the preview was shown" in refused.error) == (REFUSED, True)
    assert [change.actor for change in world.run(run_id).changes] == ["ana@there"]


def test_preview_of_a_mark_survives_progress_elsewhere() -> None:
    """Other steps of an open run end all the time; that is no reason to ask again."""
    world = World(script(a={"duration": 60}, b={"duration": 900}))
    run_id = world.start(definition({"a": [], "b": []}))
    world.settle_down()
    page = Page(world.services)
    asked = {"step": "b", "state": "succeeded"}
    seen = page.preview(f"/runs/{run_id}/mark", **asked).body["seen"]
    world.clock.move(timedelta(minutes=5))
    world.tick()
    world.settle_down()
    assert world.states(run_id)["a"] == "SUCCEEDED"
    assert page.post(f"/runs/{run_id}/mark", **asked, seen=seen).status == 200


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"step": "bb", "state": "skipped"}, REFUSED, "there is no step bb in run"),
        ({"step": "a", "state": "skipped"}, REFUSED, "step a is already SUCCEEDED"),
        ({"step": "b", "state": "failed"}, WRONG, "a step can be marked as succeeded or skipped"),
        ({"step": " ", "state": "skipped"}, WRONG, "name the step"),
        ({"step": "b", "state": "succeeded", "outputs": {"x": "1"}}, REFUSED, "does not declare the output x"),
        ({"step": "b", "state": "succeeded", "outputs": {"x": 1}}, WRONG, "must be a map of strings"),
    ],
)
def test_marks_that_are_impossible_are_refused(body: dict[str, Any], status: int, said: str) -> None:
    """With the sentences of the command line."""
    world, run_id = failed(b={"always_fail": True})
    found = Page(world.services).preview(f"/runs/{run_id}/mark", **body)
    assert (found.status, said in found.error) == (status, True), found.error


def test_read_only_console_marks_nothing() -> None:
    """Not even a preview is given."""
    world, run_id = failed(b={"always_fail": True})
    page = Page(world.services, read_only=True)
    assert page.preview(f"/runs/{run_id}/mark", step="b", state="skipped").status == 403
    assert Page(world.services).preview("/runs/none/mark", step="b", state="skipped").status == MISSING


def test_abbreviated_ids_of_runs_are_not_marked() -> None:
    """A change accepts only the id itself."""
    world, run_id = failed(chain(2), s1={"always_fail": True})
    assert Page(world.services).preview(f"/runs/{run_id[:-2]}/mark", step="s1", state="skipped").status == MISSING
