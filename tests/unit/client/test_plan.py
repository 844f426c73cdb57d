"""`plan`: verdicts and job bodies that hold whatever jobs return, and hypothetical runs on the real coordinator."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.planning.fates import Fate
from atom_client.planning.walk import Known, plan_run, possible_ends
from atom_emulator.testing import play
from atom_workflows.core.kinds import Ended
from atom_workflows.language.parser import parse_workflow
from support.no_cloud import NO_CLOUD
from support.workflows import layers

DAILY: Final = """
name: daily
params:
  day: {type: date, default: "${{ day(run.scheduledAt, -1) }}"}
  mode: {type: text, enum: [full, delta], default: delta}
  note: {type: text, default: null}
  tables: {type: [text], default: [orders, users]}
steps:
  - id: list
    task: {imageUri: "${{ env.registry }}/list", args: {day: "${{ params.day }}", note: "${{ params.note }}"}}
    outputs: {files: [text], rows: int}
  - id: full
    dependsOn: [list]
    when: params.mode == 'full'
    task: {imageUri: full}
  - id: load
    dependsOn: [list]
    when: params.mode == 'full' or steps.list.outputs.rows > 1000
    task: {imageUri: load, args: [--tables, "${{ params.tables }}", "--rows=${{ steps.list.outputs.rows }}", "end"]}
  - id: report
    dependsOn: [full, load]
    task: {imageUri: report}
  - id: alarm
    dependsOn: [list]
    trigger: any-failed
    task: {imageUri: alarm}
finally:
  - id: clean
    when: run.state == 'FAILED'
    task: {imageUri: clean, args: {state: "it is ${{ run.state }}"}}
outputs: {day: "${{ params.day }}", rows: "${{ steps.list.outputs.rows }}"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a workflow file that uses most of the language."""
    path = tmp_path / "daily.yaml"
    path.write_text(DAILY)
    return path


def plan(*args: str | Path, stdin: str | None = None, **environment: str) -> Result:
    """Call `plan` with no platform in its environment."""
    arguments = ["plan", *map(str, args)]
    return CliRunner().invoke(cli, arguments, input=stdin, env=NO_CLOUD | environment, catch_exceptions=False)


def planned(*args: str | Path, code: int = 0) -> dict[str, Any]:
    """Return the plan as JSON, with its steps by id."""
    result = plan(*args, "--json")
    assert result.exit_code == code, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return {**found, "steps": {step["id"]: step for step in found["steps"]}}


# -- before a run ----------------------------------------------------------------------------------------------------


def test_each_step_has_a_verdict(file: Path) -> None:
    """A condition that is decided by the parameters has a verdict, and any other is quoted."""
    steps = planned(file)["steps"]
    assert {name: (step["verdict"], step["because"]) for name, step in steps.items()} == {
        "list": ("runs", None),
        "full": ("skipped", "`params.mode == 'full'` was false (`mode` = \"delta\")"),
        "load": ("depends", "depends on `params.mode == 'full' or steps.list.outputs.rows > 1000`"),
        "report": ("depends", "depends on whether `load` runs"),
        "alarm": ("skipped", "no step that it depends on fails, and its trigger is any-failed"),
        "clean": ("depends", "depends on `run.state == 'FAILED'`"),
    }


def test_a_condition_needs_only_what_decides_it(file: Path) -> None:
    """A condition is decided as soon as its known part decides it."""
    steps = planned(file, "--param", "mode=full")["steps"]
    assert {name: step["verdict"] for name, step in steps.items() if step["verdict"] == "runs"}.keys() == {
        "list",
        "full",
        "load",
        "report",
    }


def test_jobs_are_rendered_as_far_as_they_are_known(file: Path) -> None:
    """Known values keep their types, nulls are left out, lists are spliced in, and the rest stands in marks."""
    found = planned(file, "--param", "day=2026-03-01", "--param", "mode=full", "--env", "registry=eu.example")
    first, load, clean = (found["steps"][name] for name in ("list", "load", "clean"))
    assert (first["job"]["imageUri"], first["job"]["args"]) == ("eu.example/list", {"day": "2026-03-01"})
    assert load["job"]["args"] == ["--tables", "orders", "users", "--rows=\u2039steps.list.outputs.rows\u203a", "end"]
    assert load["unknown"] == ["args.2"]
    assert clean["job"]["args"] == {"state": "it is \u2039run.state\u203a"}
    assert found["outputs"] == {"day": "2026-03-01", "rows": "\u2039steps.list.outputs.rows\u203a"}
    assert found["unknown_outputs"] == ["rows"]
    assert found["steps"]["full"]["job"]["labels"] == {"workflow": "daily", "type": "step"}


def test_what_the_deployment_sets_may_be_unknown(file: Path) -> None:
    """Names of `env` that no option and no variable sets are shown as unknown."""
    assert planned(file)["steps"]["list"]["job"]["imageUri"] == "\u2039env.registry\u203a/list"
    result = plan(file, WORKFLOW_ENV_registry="from.shell")
    assert '"imageUri": "from.shell/list"' in result.stdout


@pytest.mark.parametrize("settings", [{}, {"WORKFLOW_BURST_SEC": "1"}, {"WORKFLOW_CHECK_STATE_DURATION_SEC": "1"}])
def test_a_plan_and_an_estimate_agree_on_the_cost(tmp_path: Path, settings: dict[str, str]) -> None:
    """Both read the functions' settings from the environment, and say so if they are not the usual ones."""
    flow = tmp_path / "flow.yaml"
    flow.write_text("steps: [{id: a, task: {imageUri: i}}, {id: b, dependsOn: [a], task: {imageUri: i}}]")
    usd = json.loads(plan(flow, "--json", **settings).stdout)["run_usd"]
    estimated = CliRunner().invoke(cli, ["cost", str(flow), "--json"], env=NO_CLOUD | settings, catch_exceptions=False)
    assert usd == json.loads(estimated.stdout)["run"]["usd"]
    assert ("with the settings from your environment" in plan(flow, **settings).stdout) == bool(settings)


def test_a_hypothetical_run_has_the_settings_of_the_environment(tmp_path: Path) -> None:
    """The end of a job is noticed as late as the functions would notice it with these settings."""
    flow = tmp_path / "flow.yaml"
    flow.write_text("steps: [{id: a, task: {imageUri: i}}]")
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text("default: {duration: 45}")
    options = ("--outputs", jobs, "--json", "--at", "2026-03-01T02:30:40Z")
    took = [json.loads(plan(flow, *options, WORKFLOW_BURST_SEC=burst).stdout)["took_s"] for burst in ("1", "50")]
    assert took[0] > took[1]


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    """A setting that the functions would refuse is reported as by `cost`."""
    flow = tmp_path / "flow.yaml"
    flow.write_text("steps: [{id: a}]")
    result = plan(flow, WORKFLOW_BURST_SEC="often")
    estimated = CliRunner().invoke(cli, ["cost", str(flow)], env=NO_CLOUD | {"WORKFLOW_BURST_SEC": "often"})
    assert result.stderr.startswith("Error: WORKFLOW_BURST_SEC is 'often'; it must be a number of seconds")
    assert (result.exit_code, result.stderr) == (estimated.exit_code, estimated.stderr)


def test_defaults_are_bound_at_the_time_given(file: Path) -> None:
    """`--at` is the time of the run, from which defaults are computed, and the defaults are marked."""
    found = planned(file, "--at", "2026-03-01T02:30Z")
    assert found["params"] == {"day": "2026-02-28", "mode": "delta", "note": None, "tables": ["orders", "users"]}
    assert (found["at"], found["defaults"]) == ("2026-03-01T02:30:00.000Z", ["day", "mode", "note", "tables"])
    assert plan(file, "--at", "soon").exit_code == 2


@pytest.mark.parametrize(
    ("zone", "at", "instant", "day"),
    [
        ("Asia/Tokyo", "2026-03-01T02:30", "2026-02-28T17:30:00.000Z", "2026-03-01"),
        ("America/New_York", "2026-03-01T20:00", "2026-03-02T01:00:00.000Z", "2026-03-01"),
        ("UTC", "2026-03-01T02:30", "2026-03-01T02:30:00.000Z", "2026-03-01"),
        ("Asia/Tokyo", "2026-03-01T02:30Z", "2026-03-01T02:30:00.000Z", "2026-03-01"),
        ("Asia/Tokyo", "2026-03-01T23:30+01:00", "2026-03-01T22:30:00.000Z", "2026-03-02"),
        ("Asia/Tokyo", "2026-03-01", "2026-02-28T15:00:00.000Z", "2026-03-01"),
        # In the gap of daylight saving time, the clock is read as if it had not been put forward.
        ("Europe/Paris", "2026-03-29T02:30", "2026-03-29T01:30:00.000Z", "2026-03-29"),
    ],
)
def test_a_time_without_an_offset_is_in_the_workflows_zone(
    tmp_path: Path, zone: str, at: str, instant: str, day: str
) -> None:
    """`--at` is local time in the file's `timezone`, unless it has an offset; without that field it is in UTC."""
    flow = tmp_path / "flow.yaml"
    of_file = "" if zone == "UTC" else f"timezone: {zone}\n"
    flow.write_text(
        f'{of_file}params: {{day: {{type: date, default: "${{{{ day(run.scheduledAt, 0) }}}}"}}}}\nsteps: [{{id: a}}]'
    )
    for more in ((), ("--outputs", script(tmp_path))):
        found = planned(flow, "--at", at, *more)
        assert found["params"] == {"day": day}
    assert planned(flow, "--at", at)["at"] == instant


def test_a_time_outside_the_calendar_is_refused(tmp_path: Path) -> None:
    """A local time that is no instant of the calendar is a mistake of the user."""
    flow = tmp_path / "flow.yaml"
    flow.write_text("timezone: Asia/Tokyo\nsteps: [{id: a}]")
    result = plan(flow, "--at", "0001-01-01T00:00")
    assert (result.exit_code, "--at is 0001-01-01T00:00:00: the time is out of range" in result.stderr) == (
        2,
        True,
    )


def test_a_small_plan_fits_on_a_screen(file: Path) -> None:
    """People see parameters, steps in order with their jobs, outputs, and what a run costs."""
    result = plan(file, "--param", "mode=delta")
    lines = result.stdout.splitlines()
    assert (result.exit_code, len(lines) < 40) == (0, True)
    assert lines[0] == "daily: 6 steps, 1 of them under finally"
    assert "  mode    delta" in lines
    assert '  tables  ["orders", "users"] (default)' in lines
    assert "  full    skipped: `params.mode == 'full'` was false (`mode` = \"delta\"); after `list`" in lines
    assert [line for line in lines if line.isupper()] == ["PARAMS", "STEPS", "FINALLY", "OUTPUTS"]
    assert "This is what happens if every job succeeds; nothing was started." in result.stdout
    assert lines[-1].startswith("A run costs about $0.00")
    assert "not counting the machines that run its jobs" in lines[-1]


def test_a_large_plan_has_one_line_for_each_step(tmp_path: Path) -> None:
    """A plan of thousands of steps can be searched by line, and its heading counts the verdicts."""
    file = tmp_path / "large.json"
    file.write_text(layers(200, 3))
    lines = plan(file).stdout.splitlines()
    assert len([line for line in lines if "runs" in line and "imageUri" in line]) == 600
    assert "STEPS (600 runs)" in lines
    assert max(map(len, lines)) <= 200


@pytest.mark.parametrize(
    ("edit", "args", "sentence"),
    [
        (("params.mode ==", "params.moode =="), [], "daily.yaml:14:18: `params` has no `moode`"),
        (("", ""), ["--param", "mode=both"], "`params.mode` is `both`, not one of full, delta"),
        (("", ""), ["--param", "mdoe=full"], "there is no param `mdoe`; did you mean `mode`?"),
        (("", ""), ["--env", "x"], "--env is 'x'; it must be NAME=VALUE"),
        (("", ""), ["--outputs", "none.yaml"], "--outputs none.yaml cannot be read: No such file"),
    ],
)
def test_mistakes_are_explained(file: Path, edit: tuple[str, str], args: list[str], sentence: str) -> None:
    """A fault of the file or the options ends with exit code 2 and every problem."""
    file.write_text(DAILY.replace(*edit))
    result = plan(file, *args)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


def test_a_problem_has_an_excerpt(file: Path) -> None:
    """The line of a problem is shown with a caret, as by `validate`."""
    file.write_text(DAILY.replace("params.mode ==", "params.moode =="))
    assert "    when: params.moode == 'full'\n     |                  ^" in plan(file).stderr


def test_a_step_that_cannot_be_evaluated_fails() -> None:
    """An expression that is known to fail is found before the run, with exit code 1, and blocks what is behind it."""
    flow = "params: {n: 0}\nsteps:\n- {id: a, when: 1 // params.n > 0}\n- {id: b, dependsOn: [a]}\n"
    result = plan("-", stdin=flow)
    assert result.exit_code == 1
    assert "  a  FAILS: `when` (line 3) cannot be evaluated: " in result.stdout
    assert "  b  blocked by `a`; after `a`" in result.stdout


def possible_by_trial(fates: Sequence[Fate]) -> set[Ended]:
    """Return the ends of dependencies by trying every combination."""
    ends = set()
    for ran in product(*({Fate.RUNS: [True], Fate.SKIPPED: [False]}.get(fate, [True, False]) for fate in fates)):
        kinds = set(ran)
        if kinds == {False}:
            ends.add(Ended.ALL_SKIPPED)
        else:
            ends.add(Ended.SOME_SKIPPED if False in kinds else Ended.ALL_SUCCEEDED)
    return ends


@pytest.mark.parametrize("count", range(4))
def test_possible_ends_are_those_of_every_combination(count: int) -> None:
    """The ends that dependencies may have are exactly those that some combination of their own ends has."""
    for fates in product([Fate.RUNS, Fate.SKIPPED, Fate.DEPENDS], repeat=count):
        assert possible_ends(fates) == possible_by_trial(fates), fates
    assert possible_ends([Fate.RUNS, Fate.FAILS]) == {Ended.ANY_FAILED}


def drawn_flow(dice: random.Random) -> dict[str, Any]:
    """Draw a workflow whose conditions read a parameter and outputs."""
    steps: list[dict[str, Any]] = []
    for at in range(7):
        needs = [f"s{other}" for other in range(at) if dice.random() < 0.4]
        step: dict[str, Any] = {"id": f"s{at}", "dependsOn": needs, "task": {"imageUri": "i"}, "outputs": {"n": "int"}}
        conditions = ["params.a", "not params.a", "params.a or params.b"]
        conditions += [f"(steps.{need}.outputs.n ?? 0) > 1" for need in needs]
        conditions += [f"params.b or (steps.{need}.outputs.n ?? 0) > 1" for need in needs]
        if dice.random() < 0.6:
            step["when"] = dice.choice(conditions)
        if needs and dice.random() < 0.5:
            step["trigger"] = dice.choice(["all-succeeded", "any-failed", "always"])
        steps.append(step)
    return {"params": {"a": dice.random() < 0.5, "b": dice.random() < 0.5}, "steps": steps}


@pytest.mark.parametrize("seed", range(60))
def test_no_run_contradicts_its_plan(tmp_path: Path, seed: int) -> None:
    """Whatever jobs return, a step that surely runs has run, and one that is surely skipped was skipped."""
    dice = random.Random(seed)  # noqa: S311 (no secret)
    flow = drawn_flow(dice)
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(flow))
    workflow = parse_workflow(file.read_bytes(), filename="flow.json")
    fates = {one.step.id: one.fate for one in plan_run(workflow, Known(params=flow["params"]), path="flow.json").steps}
    for _ in range(3):
        rules = [{"step": step["id"], "outputs": {"n": dice.randrange(4)}} for step in flow["steps"]]
        states = play(file, {"rules": rules}).states
        expected = {Fate.RUNS: "SUCCEEDED", Fate.SKIPPED: "SKIPPED"}
        assert {name: states[name] for name, fate in fates.items() if fate in expected} == {
            name: expected[fate] for name, fate in fates.items() if fate in expected
        }


# -- a hypothetical run ----------------------------------------------------------------------------------------------


def script(tmp_path: Path, *rules: dict[str, Any]) -> Path:
    """Write a script for the mock Task Runner."""
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps({"default": {"duration": 60}, "rules": rules}))
    return path


def test_a_hypothetical_run_says_what_ran_and_why(file: Path, tmp_path: Path) -> None:
    """With outputs for each step, the plan shows the states, the reasons, the jobs as sent, and the run's outputs."""
    rows = script(tmp_path, {"step": "list", "outputs": {"rows": 12, "files": ["a"]}})
    found = planned(file, "--outputs", rows, "--env", "registry=eu", "--param", "day=2026-03-01")
    assert (found["state"], found["outputs"]) == ("SUCCEEDED", {"day": "2026-03-01", "rows": 12})
    steps = found["steps"]
    assert {name: step["state"] for name, step in steps.items()} == {
        "list": "SUCCEEDED",
        **dict.fromkeys(["full", "load", "report", "alarm", "clean"], "SKIPPED"),
    }
    assert steps["list"]["outputs"] == {"rows": 12, "files": ["a"]}
    assert steps["list"]["jobs"][0]["args"] == {"day": "2026-03-01"}
    assert steps["load"]["because"] == (
        "`params.mode == 'full' or steps.list.outputs.rows > 1000` was false (`mode` = \"delta\", `rows` = 12)"
    )
    assert (steps["clean"]["finally"], steps["load"]["finally"]) == (True, False)


def test_a_hypothetical_run_may_fail(file: Path, tmp_path: Path) -> None:
    """A run that would not succeed ends with exit code 1, and the lines say what failed and who reacted."""
    failing = script(tmp_path, {"step": "list", "always_fail": True, "message": "no\x1b[2J disk"})
    result = plan(file, "--outputs", failing, "--env", "registry=eu")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "  list    FAILED: no disk" in lines
    assert "  full    SKIPPED because step list did not succeed" in lines
    assert "  alarm   SUCCEEDED" in lines
    assert "  clean   SUCCEEDED (`run.state == 'FAILED'` was true (`state` = \"FAILED\"))" in lines
    assert any(line.startswith("This run would end as FAILED after ") for line in lines)


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (
            [{"step": "lsit", "outputs": {}}],
            "outputs.json:1:42: rules[0].step: no job of daily matches lsit; did you mean list?",
        ),
        ([{"step": "list", "outputz": {}}], "rules[0].outputz: unknown; did you mean outputs?"),
    ],
)
def test_a_wrong_script_is_refused(file: Path, tmp_path: Path, rules: list[dict[str, Any]], sentence: str) -> None:
    """A script with a rule that cannot apply is a mistake of the user."""
    result = plan(file, "--outputs", script(tmp_path, *rules), "--env", "registry=eu")
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


def test_a_hypothetical_run_needs_what_the_deployment_sets(file: Path, tmp_path: Path) -> None:
    """A run is not played without a value for what the file reads of `env`."""
    result = plan(file, "--outputs", script(tmp_path))
    assert (result.exit_code, "`env.registry` is not set" in result.stderr) == (2, True)


def test_stdin_can_be_planned(tmp_path: Path) -> None:
    """Both kinds of plan read a workflow from standard input."""
    flow = "steps: [{id: a, task: {url: u}}]"
    assert plan("-", stdin=flow).stdout.startswith("<stdin>: 1 step\n")
    assert "This run would end as SUCCEEDED" in plan("-", "--outputs", script(tmp_path), stdin=flow).stdout


def test_values_cannot_command_a_terminal(tmp_path: Path) -> None:
    """Parameters, job bodies and outputs are spelled out where a terminal would interpret them."""
    file = tmp_path / "flow.yaml"
    file.write_text(
        "params: {p: {type: text}}\n"
        "steps: [{id: a, task: {imageUri: '${{ params.p }}'}, outputs: {o: text}}]\n"
        "outputs: {o: '${{ steps.a.outputs.o + params.p }}'}\n"
    )
    hostile = "x\x1b[2J\x9b31m\u202ey"
    rows = script(tmp_path, {"step": "a", "outputs": {"o": hostile}})
    for more in ((), ("--outputs", str(rows))):
        result = plan(file, "--param", f"p={hostile}", *more)
        assert result.exit_code == 0, result.stderr
        assert [sign for sign in result.stdout if sign != "\n" and not sign.isprintable()] == []
        assert "y" in result.stdout
