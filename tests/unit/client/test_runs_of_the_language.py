"""`runs show`, `cancel` and `retry` on runs with parameters, conditions, outputs and `finally`."""

from __future__ import annotations

import json
from typing import Any

from atom_emulator.testing.world import World
from support.workflows import definition, script
from unit.client.explained import CLEAN, call, flow, said


def shown(world: World, run_id: str, *options: str) -> Any:
    """Return what `runs show` prints for programs."""
    return json.loads(said(world, "runs", "show", run_id, "--json", *options))


def test_defaults_of_params_are_marked() -> None:
    """It can be seen which values were given and which are the file's."""
    world = World()
    more = {"params": {"day": {"type": "text"}, "limit": 8}}
    task = {"imageUri": "image", "args": {"day": "${{ params.day }}", "limit": "${{ params.limit }}"}}
    run_id = world.start(flow({"a": []}, more=more, a={"task": task}), params={"day": "today"})
    assert "params       day=today, limit=8 (default)" in said(world, "runs", "show", run_id)
    run = shown(world, run_id)["run"]
    assert (run["params"], run["defaulted"]) == ({"day": "today", "limit": 8}, ["limit"])


def test_a_tolerated_failure_is_a_warning() -> None:
    """The run SUCCEEDED, and the failure is shown with its reason in the table and as a warning."""
    world = World(script(a={"always_fail": True, "reason": "OOM", "message": "no memory"}))
    run_id = world.start(definition({"a": [], "b": ["a"]}, a={"allowFailure": True}))
    world.run_to_end(run_id)
    text = said(world, "runs", "show", run_id)
    assert "Warning: step `a` failed after 1 attempt (OOM): no memory; allowFailure tolerates it." in text
    assert "tolerated: OOM: no memory" in text
    assert "Step `a` failed" not in text
    [first, _] = shown(world, run_id)["steps"]
    assert (first["tolerated"], first["reason"], first["failure_kind"]) == (True, "OOM", "failed")


def test_skipped_by_choice_is_told_from_blocked() -> None:
    """The first names its values, the second the failed step."""
    world = World(script(bad={"always_fail": True}))
    run_id = world.start(
        definition(
            {"bad": [], "off": [], "behind": ["bad"]}, off={"when": "run.id == ''"}, behind={"when": "run.id != ''"}
        )
    )
    world.run_to_end(run_id)
    text = said(world, "runs", "show", run_id)
    assert "Skipped because `bad` did not succeed: `behind`." in text
    assert "Skipped by choice: `off`: `run.id == ''` was false" in text
    steps = {step["id"]: step for step in shown(world, run_id)["steps"]}
    assert (steps["off"]["skipped_by_choice"], steps["off"]["skipped_because_of"]) == (True, None)
    assert (steps["behind"]["skipped_by_choice"], steps["behind"]["skipped_because_of"]) == (False, "bad")
    assert steps["off"]["when"] == "run.id == ''"


def test_a_step_that_reacts_to_a_failure_is_not_blocked_by_it() -> None:
    """Neither if it ran, nor if its condition skipped it, nor if the run was stopped before it could."""
    edges = {"bad": [], "slow": [], "ran": ["bad"], "off": ["bad"], "both": ["bad", "slow"]}
    world = World(script(bad={"always_fail": True}, slow={"duration": 3600}))
    always = {"trigger": "always"}
    flow = json.loads(definition(edges, ran=always, off={**always, "when": "run.id == ''"}, both=always))
    run_id = world.start(json.dumps({**flow, "timeout": "5m"}))
    world.run_to_end(run_id)
    steps = {step["id"]: step for step in shown(world, run_id)["steps"]}
    assert {steps[name]["skipped_because_of"] for name in ("ran", "off", "both")} == {None}
    assert "Skipped because the run was stopped first: `both`." in said(world, "runs", "show", run_id)


def test_steps_under_finally_stand_apart() -> None:
    """They have a table of their own, and the main part's result is shown while they run."""
    world = World(script(a={"always_fail": True}, clean={"duration": 600}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}))
    world.settle_down()
    text = said(world, "runs", "show", run_id)
    assert text.index("\nfinally:\n") > text.index("\na ")
    assert "Its main part ended as FAILED; the steps under `finally` are running, until 2026-01-01 01:00:00" in text
    found = shown(world, run_id)
    assert (found["run"]["main_state"], found["run"]["failure_count"]) == ("FAILED", 1)
    assert [step["phase"] for step in found["steps"]] == ["main", "finally"]


def test_outputs_are_shown_if_asked_for() -> None:
    """Those of the run and of each step that has some; without the option no document of theirs is read."""
    world = World(script(a={"outputs": {"rows": 12}}))
    more = {"outputs": {"total": "${{ steps.a.outputs.rows + 1 }}"}}
    run_id = world.start(flow({"a": [], "b": ["a"]}, more=more, a={"outputs": {"rows": "int"}}))
    world.run_to_end(run_id)
    text = said(world, "runs", "show", run_id, "--outputs")
    assert 'outputs of the run: {"total": 13}\noutputs of `a`: {"rows": 12}\n' in text
    assert "outputs of" not in said(world, "runs", "show", run_id)
    found = shown(world, run_id, "--outputs")
    assert found["run"]["outputs"] == {"total": 13}
    assert [step["outputs"] for step in found["steps"]] == [{"rows": 12}, {}]
    assert "outputs" not in shown(world, run_id)["steps"][0]


def test_a_run_without_outputs_says_so() -> None:
    """The option is answered, whatever the run has."""
    world = World()
    run_id = world.start(definition({"a": []}))
    assert "There are no outputs." in said(world, "runs", "show", run_id, "--outputs")


def test_cancel_leaves_finally_to_run_unless_it_is_told_not_to() -> None:
    """Without --now the command says that the clean-up runs; with it, the run has ended."""
    world = World(script(a={"duration": 600}, clean={"duration": 600}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}))
    world.settle_down()
    assert f"Run {run_id} is being cancelled" in said(world, "runs", "cancel", run_id)
    world.settle_down()
    again = call(world, "runs", "cancel", run_id)
    assert (again.exit_code, "--now" in again.stderr) == (1, True)
    assert f"Run {run_id} is cancelled" in said(world, "runs", "cancel", run_id, "--now")
    assert world.run(run_id).state == "CANCELLED"


def test_retry_counts_what_runs_again() -> None:
    """Steps that were skipped by choice or tolerated are kept, and handlers behind a failure run again."""
    world = World(script(bad={"fail_times": 1}, soft={"always_fail": True}))
    run_id = world.start(
        definition(
            {"off": [], "soft": [], "bad": [], "react": ["bad"], "good": []},
            off={"when": "run.id == ''"},
            soft={"allowFailure": True},
            react={"trigger": "any-failed"},
        )
    )
    world.run_to_end(run_id)
    counted = {"steps": 2, "items": 0, "again": ["bad", "react"], "blocked": [], "queued": False}
    counted |= {"version": 1, "run_id": run_id, "run": run_id}
    assert json.loads(said(world, "runs", "retry", run_id, "--json")) == counted
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    assert world.states(run_id)["react"] == "SKIPPED"
