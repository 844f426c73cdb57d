"""`runs mark`: what is shown before it is done, what is done, and how it is shown afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from atom_client.cli.output import Output
from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState
from support.command_line import call_runs
from support.commands import cancel_run
from support.groups import limited
from support.groups import start as start_limited
from support.loops import RUN, each, start, step, workflow
from support.meanwhile import meanwhile
from support.workflows import definition, script

DIAMOND = definition({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "x": []})
TYPED = definition(
    {"list": [], "load": ["list"]},
    list={"outputs": {"rows": "int", "day": "text", "files": "[gsUri]"}},
    load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
)


def begun(flow: str = DIAMOND, **steps: Any) -> tuple[World, str]:
    """Return a world with a run that has gone as far as it can without time passing."""
    world = World(script(**steps))
    run_id = world.start(flow)
    world.settle_down()
    return world, run_id


def mark(world: World, run_id: str, *args: str) -> Result:
    """Mark a step."""
    return call_runs(world, "mark", run_id, *args)


def test_a_mark_ends_a_blockage() -> None:
    """What comes after a blocked step runs once that is marked; what is behind another failure cannot run."""
    flow = definition({"a": [], "b": ["a"], "c": ["b"], "x": [], "y": ["b", "x"]})
    world = World(script(a={"always_fail": True}, x={"always_fail": True}))
    run_id = world.start(flow)
    world.run_to_end(run_id)
    shown = mark(world, run_id, "b", "succeeded").stdout.splitlines()
    assert [line.split(maxsplit=2) for line in shown[1:3]] == [
        ["c", "SKIPPED", "it is SKIPPED"],
        ["y", "SKIPPED", "cannot run: `x` stays unsuccessful"],
    ]
    world.run_to_end(run_id)
    assert (world.states(run_id)["c"], world.states(run_id)["y"]) == ("SUCCEEDED", "SKIPPED")


def test_a_failed_step_of_an_ended_run_is_marked() -> None:
    """What is decided again is shown first, and what stays unsuccessful."""
    world, run_id = begun(b={"always_fail": True}, x={"always_fail": True})
    world.run_to_end(run_id)
    shown = mark(world, run_id, "b", "succeeded", "--reason", "loaded by hand")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "STEP  STATE    RUNS AGAIN BECAUSE",
        "d     SKIPPED  it is SKIPPED",
        "",
        (
            f"Step `b` is FAILED, and run {run_id} is FAILED. The run will be continued, and the step will be "
            "SUCCEEDED without being run."
        ),
        "3 other steps will be kept.",
        "`x` stays unsuccessful, so the run will fail again; `runs retry` then reruns what did not succeed.",
        f"Marked. `atom-workflows runs show {run_id}` shows the run.",
    ]
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.states(run_id)["d"] == "SUCCEEDED"
    assert "loaded by hand" in call_runs(world, "show", run_id).stdout


def test_a_dry_run_changes_nothing() -> None:
    """Neither does a user who says no."""
    world, run_id = begun(b={"duration": 900})
    before = world.store.writes
    shown = mark(world, run_id, "b", "skipped", "--dry-run")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        (
            f"Step `b` is RUNNING: its job {world.steps(run_id)['b'].job_id} will be stopped first, and then the step "
            "will be SKIPPED. If the job cannot be stopped, the step ends anyway, usually within ten minutes."
        ),
        "Then, the steps that wait only for it will be decided: `d`.",
    ]
    assert world.store.writes == before


def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless --yes is given."""
    world, run_id = begun(b={"duration": 900}, c={"duration": 900})
    monkeypatch.setattr(Output, "has_reader", property(lambda _: True))
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    shown = mark(world, run_id, "d", "skipped")
    assert (shown.exit_code, shown.stdout.splitlines()[-1]) == (1, "Nothing was changed.")
    assert not world.run(run_id).changes
    assert mark(world, run_id, "d", "skipped", "--yes").exit_code == 0
    assert world.run(run_id).changes


def test_what_still_waits_for_others_is_named() -> None:
    """And so is a step that waits itself."""
    world, run_id = begun(
        definition({"a": [], "b": ["a"], "c": [], "d": ["b", "c"]}), a={"duration": 99}, c={"duration": 99}
    )
    lines = mark(world, run_id, "b", "succeeded", "--dry-run").stdout.splitlines()
    assert lines == [
        "Step `b` has not begun. Once it would begin, it will be SUCCEEDED without being run.",
        "`d` will still be waiting for `c`.",
    ]


@pytest.mark.parametrize("words", [["--last", "b", "succeeded"], ["flow", "b", "Succeeded"]])
def test_a_run_is_named_as_for_other_commands(words: list[str]) -> None:
    """By --last or by the name of its workflow."""
    world, run_id = begun(b={"duration": 900})
    assert call_runs(world, "mark", *words).exit_code == 0
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["b"], "give RUN, STEP and the state"),
        (["b", "failed"], "the state is failed; a step can be marked as succeeded or skipped"),
        (["lood", "skipped"], "there is no step lood in run RUN; did you mean `load`?"),
        (["zebra", "skipped"], "there is no step zebra in run RUN; `atom-workflows runs show RUN` lists its steps"),
        (["a", "skipped"], "step a is already SUCCEEDED"),
        (["b", "skipped", "--timeout", "9s"], "--timeout requires --wait; give both, or leave out --timeout"),
        (["b", "succeeded", "--output", "rows"], "--output is 'rows'; it must be NAME=VALUE"),
        (["b", "succeeded", "--output", "rows=1"], "step b does not declare the output rows; it declares none"),
    ],
)
def test_what_is_impossible_is_refused(args: list[str], message: str) -> None:
    """With what to do instead."""
    world, run_id = begun(definition({"a": [], "b": ["a"], "load": ["b"]}), b={"duration": 900})
    shown = mark(world, run_id, *args)
    assert shown.exit_code != 0
    assert message.replace("RUN", run_id) in shown.stderr or message in shown.stderr
    assert not world.run(run_id).changes


def test_outputs_are_given_by_name_or_as_a_file(tmp_path: Path) -> None:
    """A text is taken as it is, and anything else is read as JSON; a name overrides the file."""
    world, run_id = begun(TYPED, list={"always_fail": True})
    world.run_to_end(run_id)
    file = tmp_path / "outputs.json"
    file.write_text('{"rows": 1, "files": ["gs://b/a"]}')
    args = ["list", "succeeded", "--outputs", str(file), "--output", "rows=7", "--output", "day=20260101"]
    assert mark(world, run_id, *args).exit_code == 0
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    shown = json.loads(call_runs(world, "show", run_id, "--step", "list", "--json").stdout)
    assert shown["outputs"] == {"rows": 7, "day": "20260101", "files": ["gs://b/a"]}


def test_outputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """As those of a job would be."""
    world, run_id = begun(TYPED, list={"always_fail": True})
    world.run_to_end(run_id)
    file = tmp_path / "outputs.json"
    file.write_text("[1]")
    assert "--outputs must be a JSON object" in mark(world, run_id, "list", "succeeded", "--outputs", str(file)).stderr
    file.write_text("{")
    assert "--outputs is not JSON" in mark(world, run_id, "list", "succeeded", "--outputs", str(file)).stderr
    shown = mark(world, run_id, "list", "succeeded", "--output", "rows=many", "--output", "day=x")
    assert "step list needs the outputs that it declares (rows, day, files): `rows`" in shown.stderr
    assert "`files` is missing" in shown.stderr
    assert "A skipped step has no outputs" in mark(world, run_id, "list", "skipped", "--dry-run").stdout


def test_a_run_that_waits_in_line_is_refused_for_that() -> None:
    """Its steps do not exist yet, but are not unknown."""
    world = World(script(s0={"duration": 100}))
    for key in ("first", "second"):
        queued = start_limited(world, limited(), key)
        world.settle_down()
    refused = mark(world, queued, "s0", "skipped")
    assert refused.exit_code != 0
    assert "is QUEUED; its steps can be marked once it is RUNNING" in refused.stderr


def test_what_was_not_shown_is_not_done() -> None:
    """If someone cancels the run while the mark is confirmed, it is not reopened."""
    world, run_id = begun(a={"duration": 1000})
    commits = meanwhile(world, lambda call, _: call == "commit", lambda: cancel_run(world.services, run_id))
    refused = mark(world, run_id, "b", "succeeded")
    assert (commits.happened, refused.exit_code) == (True, 1)
    assert f"run {run_id} has ended since the mark was accepted: it is CANCELLED" in refused.stderr
    assert world.run(run_id).state is RunState.CANCELLED


def test_json_says_what_the_mark_does() -> None:
    """Before and after."""
    world, run_id = begun(b={"always_fail": True})
    world.run_to_end(run_id)
    plan = json.loads(mark(world, run_id, "b", "skipped", "--json", "--dry-run").stdout)
    assert plan == {
        "version": 1,
        "run_id": run_id,
        "run": run_id,
        "step": "b",
        "state": "SKIPPED",
        "effect": "reopens",
        "again": ["d"],
        "released": [],
        "waiting": {},
        "queued": False,
        "dry_run": True,
    }
    done = json.loads(mark(world, run_id, "b", "skipped", "--json").stdout)
    assert {**done, "dry_run": True} == plan


def test_a_marked_step_is_shown_with_who_when_and_why() -> None:
    """Before it has ended and afterwards, by `show`, `why` and JSON, with the attempts that it had."""
    world, run_id = begun(b={"duration": 900})
    mark(world, run_id, "d", "skipped", "--reason", "not on Sundays")
    step_shown = call_runs(world, "show", run_id, "--step", "d").stdout
    assert "marked       as skipped by " in step_shown
    assert "not on Sundays; it has not been released yet" in step_shown
    assert "marked as skipped by" in call_runs(world, "show", run_id).stdout
    mark(world, run_id, "b", "succeeded")
    assert "its job is being stopped first" in call_runs(world, "show", run_id, "--step", "b").stdout
    world.run_to_end(run_id)
    of_b = json.loads(call_runs(world, "show", run_id, "--step", "b", "--json").stdout)
    assert (of_b["step"]["mark"]["state"], of_b["attempts"][0]["kind"]) == ("SUCCEEDED", "stopped")
    assert call_runs(world, "show", run_id, "--step", "b").stdout.startswith(
        "Step `b` SUCCEEDED: marked as succeeded by "
    )
    why = call_runs(world, "why", run_id, "d").stdout
    assert why.startswith("Step `d` was skipped by choice: marked as skipped by ")
    steps = {one["id"]: one for one in json.loads(call_runs(world, "show", run_id, "--json").stdout)["steps"]}
    assert steps["a"]["mark"] is None
    assert (steps["d"]["mark"]["why"], steps["d"]["skipped_by_choice"]) == ("not on Sundays", True)


def test_an_item_and_a_loop_are_marked_by_their_names() -> None:
    """A loop that has not begun shows its mark, although another node has it until then."""
    world = World(script(first={"duration": 60}))
    start(world, workflow(step("first"), step("train", "first", for_each=each([1, 2]))))
    world.settle_down()
    shown = mark(world, RUN, "train", "skipped")
    assert "Step `train` has not begun." in shown.stdout
    assert "marked as skipped by" in call_runs(world, "show", RUN).stdout
    assert "marked       as skipped by" in call_runs(world, "show", RUN, "--step", "train").stdout
    assert "there is no step train[0]" in mark(world, RUN, "train[0]", "skipped").stderr


def test_a_mark_that_a_cancel_left_without_effect_is_shown_with_the_retry() -> None:
    """The step says so, and the retry's plan says if it keeps the mark."""
    world, run_id = begun(definition({"slow": [], "last": ["slow"]}), slow={"duration": 900})
    mark(world, run_id, "last", "succeeded", "--reason", "loaded by hand")
    call_runs(world, "cancel", run_id)
    world.run_to_end(run_id)
    facts = call_runs(world, "show", run_id, "--step", "last").stdout
    assert "loaded by hand; it ended before that, but a retry that does not name it ends it as marked" in facts
    plan = call_runs(world, "retry", run_id, "--only", "last", "--dry-run").stdout
    assert "`last` will run, and not end as succeeded, as " in plan
    assert (
        "`last` will not run, but end as succeeded, as " in mark(world, run_id, "slow", "skipped", "--dry-run").stdout
    )
    done = call_runs(world, "retry", run_id).stdout
    assert "`last` will not run, but end as succeeded, as " in done


def test_a_step_that_succeeded_is_refused_with_the_command_that_runs_it_again() -> None:
    """The command is complete, and quoted for a shell; a run that has ended is not awaited."""
    world = World(script())
    start(world, workflow(step("each", for_each=each([1, 2]))))
    world.settle_down()
    world.run_to_end(RUN)
    refused = mark(world, RUN, "each[1]", "succeeded").stderr
    assert f"item each[1] is already SUCCEEDED; `atom-workflows runs retry {RUN} --only 'each[1]'` runs it" in refused
    world, run_id = begun(b={"duration": 900})
    refused = mark(world, run_id, "a", "skipped").stderr
    assert f"once the run has ended, `atom-workflows runs retry {run_id} --only a` runs it again" in refused


@pytest.mark.parametrize("command", [["mark", RUN, "each[9]", "skipped"], ["retry", RUN, "--only", "each[9]"]])
def test_an_item_that_does_not_exist_is_refused_with_those_that_do(command: list[str]) -> None:
    """Whichever command names it."""
    world = World(script(each={"always_fail": True}))
    start(world, workflow(step("each", for_each=each([1, 2, 3, 4]))))
    world.settle_down()
    world.run_to_end(RUN)
    assert "its items are each[0] to each[3]" in call_runs(world, *command).stderr


def test_a_plan_says_what_is_true_of_a_run_that_was_cancelled() -> None:
    """It has not failed before."""
    world, run_id = begun(definition({"a": [], "b": []}), a={"duration": 900}, b={"duration": 900})
    call_runs(world, "cancel", run_id)
    world.run_to_end(run_id)
    assert "so the run will fail;" in mark(world, run_id, "a", "succeeded", "--dry-run").stdout
    assert "so the run will fail;" in call_runs(world, "retry", run_id, "--only", "a", "--dry-run").stdout


def test_a_mark_says_which_earlier_one_it_replaces() -> None:
    """With who made that, when and why."""
    world, run_id = begun(b={"duration": 900})
    mark(world, run_id, "d", "skipped", "--reason", "not on Sundays")
    again = mark(world, run_id, "d", "succeeded").stdout
    assert "This replaces an earlier mark: " in again
    assert " marked it as skipped at 2026-" in again
    assert ": not on Sundays." in again


def test_a_run_that_a_mark_reopened_is_not_said_to_be_retried() -> None:
    """Neither by its facts nor by its result, nor by the attempts of the marked step."""
    world, run_id = begun(definition({"a": [], "b": ["a"]}), a={"always_fail": True, "duration": 30})
    world.run_to_end(run_id)
    mark(world, run_id, "a", "succeeded")
    world.run_to_end(run_id)
    shown = call_runs(world, "show", run_id).stdout
    assert "reopened     1 time, last by a mark at " in shown
    assert "after a mark reopened it" in shown
    assert "retr" not in shown
    of_a = call_runs(world, "show", run_id, "--step", "a").stdout
    assert "none in this round, since the step is marked; 1 attempt in all" in of_a


def test_a_plan_names_steps_under_finally() -> None:
    """They do not depend on the marked step, but run once the main steps have ended."""
    world = World(script(a={"duration": 900}))
    start(world, workflow(step("a"), finally_steps=(step("last"),)))
    world.settle_down()
    shown = mark(world, RUN, "a", "succeeded", "--dry-run").stdout
    assert "No other step depends on it; `last` under `finally` will run after the main steps." in shown
