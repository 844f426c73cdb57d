"""`runs retry --from`, `--only` and `--failed`: what is shown before it is done, and what is done."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import Result

from atom_client.cli.output import Output
from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from support.command_line import call_runs
from support.loops import RUN, each, run, step, workflow
from support.workflows import definition, script
from unit.client.explained import why

DIAMOND = definition({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"]})

BROKEN = definition(
    {"quality": [], "load": ["quality"], "report": ["load"], "mail": ["report"], "alarm": ["report"]},
    alarm={"trigger": "any-failed"},
)


def ended(flow: str = DIAMOND, text: str = "") -> tuple[World, str]:
    """Return a world with one run that has ended."""
    world = World(text)
    run_id = world.start(flow)
    world.run_to_end(run_id)
    return world, run_id


def retry(world: World, run_id: str, *args: str) -> Result:
    """Retry a run."""
    return call_runs(world, "retry", run_id, *args)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretend that there is a terminal, whose user says no; return the questions that were asked."""
    asked: list[str] = []
    monkeypatch.setattr(Output, "has_reader", property(lambda _: True))

    def refuse(question: str, **_: object) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr(click, "confirm", refuse)
    return asked


def test_what_runs_again_is_shown_with_its_reason() -> None:
    """A table has the steps that run again, and sentences say what is kept."""
    world, run_id = ended()
    lines = retry(world, run_id, "--from", "d", "--only", "b", "--dry-run").stdout.splitlines()
    assert [line.split(maxsplit=2) for line in lines[:4]] == [
        ["STEP", "STATE", "RUNS AGAIN BECAUSE"],
        ["b", "SUCCEEDED", "--only"],
        ["d", "SUCCEEDED", "--from"],
        ["e", "SUCCEEDED", "it comes after `d`"],
    ]
    assert lines[4:] == ["", "2 steps will be kept as they are."]
    assert world.run(run_id).retries == 0


def test_results_that_may_be_outdated_are_named() -> None:
    """A step that is kept behind one that runs again has been told results from before."""
    world, run_id = ended()
    shown = retry(world, run_id, "--only", "a", "--dry-run").stdout
    assert (
        "`b` and `c` will be kept although the preceding steps will run again. They will keep their old results "
        "even if the inputs change; --from runs everything after a step again."
    ) in shown
    assert (
        "`d` will be kept although the preceding step will run again. It"
        in retry(world, run_id, "--only", "b", "--dry-run").stdout
    )


def test_failures_that_stay_are_named() -> None:
    """The run will fail again, unless they are chosen, too."""
    world, run_id = ended(definition({"a": [], "x": [], "y": ["x"]}), script(x={"always_fail": True}))
    shown = retry(world, run_id, "--from", "a", "--dry-run").stdout
    assert (
        "`x` and `y` stay unsuccessful, so the run will fail again; add --failed to run unsuccessful steps again, too."
        in shown
    )
    shown = retry(world, run_id, "--from", "a", "--failed", "--dry-run").stdout
    assert "unsuccessful" not in shown
    assert "x     FAILED     it is FAILED" in shown


def test_steps_that_cannot_run_are_named() -> None:
    """A step behind a failure that stays is not counted, and its row has the failure."""
    world, run_id = ended(BROKEN, script(quality={"always_fail": True}))
    result = retry(world, run_id, "--only", "report", "--dry-run", "--json")
    lines = result.stderr.splitlines()
    assert [line.split(maxsplit=2) for line in lines[1:4]] == [
        ["alarm", "SUCCEEDED", "it comes after `report`"],
        ["mail", "SKIPPED", "cannot run: `quality` stays unsuccessful"],
        ["report", "SKIPPED", "cannot run: `quality` stays unsuccessful"],
    ]
    assert (
        "`mail` and `report` cannot run and will be skipped, since `quality` and `load` stay unsuccessful, so the run "
        "will fail again; add --failed to run unsuccessful steps again, too."
    ) in lines
    assert json.loads(result.stdout)["blocked"] == ["mail", "report"]
    text = retry(world, run_id, "--only", "report").stdout
    assert f"Run {run_id} continues: 1 step will run again, " in text


def test_a_retry_of_only_a_step_that_cannot_run_says_so() -> None:
    """There is no count of none."""
    world, run_id = ended(definition({"x": [], "y": ["x"]}), script(x={"always_fail": True}))
    result = retry(world, run_id, "--only", "y")
    assert f"Run {run_id} continues, but none of its steps can run, " in result.stdout
    assert "`y` cannot run and will be skipped, since `x` stays unsuccessful" in result.stdout


def test_a_step_that_could_not_run_again_is_blocked_and_not_stopped() -> None:
    """The run, the step and the summary name the failure that was kept."""
    world, run_id = ended(BROKEN, script(quality={"always_fail": True}))
    retry(world, run_id, "--only", "report")
    assert world.run_to_end(run_id).state == "FAILED"
    assert {name: world.steps(run_id)[name].cause for name in ("report", "mail")} == {
        "report": "quality",
        "mail": "quality",
    }
    assert why(world, run_id, "report").startswith("Step `report` was blocked by `load` ← `quality` FAILED")
    shown = [why(world, run_id), call_runs(world, "show", run_id).stdout]
    assert "3 blocked" in shown[0]
    assert "Skipped because `quality` did not succeed: `load`, `mail` and `report`." in shown[1]
    assert "stopped" not in " ".join(shown)


def test_the_list_of_a_loop_that_cannot_run_is_not_computed_again() -> None:
    """A loop that had items is blocked like any other step."""
    world = World()
    run(world, workflow(step("a"), step("train", "a", for_each=each([1, 2]))))
    world.task_runner.jobs.script = parse_script(script(a={"always_fail": True}))
    retry(world, RUN, "--from", "a")
    world.run_to_end(RUN)
    shown = retry(world, RUN, "--only", "train").stdout
    assert f"Run {RUN} continues, but none of its steps can run, " in shown
    assert "computed again" not in shown


def test_loops_and_steps_under_finally_are_explained() -> None:
    """A loop is named by its items, and steps under `finally` say why they run."""
    world = World()
    run(world, workflow(step("train", for_each=each([1, 2, 3])), step("z", "train"), finally_steps=(step("clean"),)))
    rows = [line.split(maxsplit=2) for line in retry(world, RUN, "--only", "train[1]", "--dry-run").stdout.splitlines()]
    assert rows[1:3] == [["train", "SUCCEEDED", "--only train[1]"], ["clean", "SUCCEEDED", "it is under `finally`"]]
    text = retry(world, RUN, "--from", "train").stdout
    assert "continues: 3 steps will run again" in text
    assert "The lists of `train` are computed again, and all of their items run." in text
    assert world.run_to_end(RUN).state == "SUCCEEDED"


def test_a_person_is_asked_and_may_say_no(terminal: list[str]) -> None:
    """On a terminal, nothing is done until the user agrees; --yes does not ask."""
    world, run_id = ended()
    result = retry(world, run_id, "--from", "d")
    assert terminal == ["Run these steps again?"]
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "Nothing was changed.")
    assert world.run(run_id).retries == 0
    assert retry(world, run_id, "--from", "d", "--yes").exit_code == 0
    assert (len(terminal), world.run(run_id).retries) == (1, 1)


def test_a_retry_without_names_asks_nothing(terminal: list[str]) -> None:
    """It runs what did not succeed, as it always has."""
    world, run_id = ended(DIAMOND, script(b={"fail_times": 1}))
    assert retry(world, run_id).exit_code == 0
    assert terminal == []


def test_without_a_terminal_no_one_is_asked() -> None:
    """As by every other command, a script gets what it asks for."""
    world, run_id = ended()
    result = retry(world, run_id, "--from", "d", "--reason", "new table")
    assert (result.exit_code, "continues: 2 steps will run again" in result.stdout) == (0, True)
    assert [(one.what, one.why) for one in world.run(run_id).changes] == [("retry --from d", "new table")]


def test_json_has_the_steps_and_nothing_else_on_stdout() -> None:
    """What is shown to people goes to stderr."""
    world, run_id = ended()
    counts = {"version": 1, "run_id": run_id, "run": run_id, "steps": 2, "items": 0, "again": ["d", "e"], "blocked": []}
    result = retry(world, run_id, "--from", "d", "--dry-run", "--json")
    assert json.loads(result.stdout) == {**counts, "dry_run": True}
    assert "RUNS AGAIN BECAUSE" in result.stderr
    assert json.loads(retry(world, run_id, "--from", "d", "--json").stdout) == {**counts, "queued": False}


@pytest.mark.parametrize(
    ("args", "code", "problem"),
    [
        (("--from", "dd"), 1, "no step dd can run again in run {}; `atom-workflows runs show {}`"),
        (("--only", "b[1]"), 1, "no item b[1] can run again in run {}; step `b` has no items"),
        (("--only", "\x1b[31m"), 1, "no step "),
        (
            ("--only", "a", "--only", "d"),
            1,
            "but b, c between them would be kept. Name those in between as well, use --from a",
        ),
        (("--failed",), 2, "--failed adds to --from and --only"),
        ((), 1, "run {} is SUCCEEDED; name the steps to run again with --from or --only"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(args: tuple[str, ...], code: int, problem: str) -> None:
    """Nothing is changed by a wrong name or a wrong option."""
    world, run_id = ended()
    result = retry(world, run_id, *args)
    assert (result.exit_code, problem.replace("{}", run_id) in " ".join(result.stderr.split())) == (code, True)
    assert "\x1b" not in result.stderr
    assert world.run(run_id).retries == 0


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    """A typo is answered with the step that was meant."""
    world, run_id = ended(definition({"extract": [], "load": ["extract"]}))
    assert "did you mean `extract`?" in retry(world, run_id, "--from", "extrct").stderr


def test_a_step_that_was_run_again_by_choice_needed_one_attempt() -> None:
    """Only attempts since the latest retry count as needed."""
    world, run_id = ended(definition({"a": [], "b": ["a"]}, b={"retry": {"maxAttempts": 2}}))
    world.task_runner.jobs.script = parse_script(script(b={"fail_times": 2}))
    retry(world, run_id, "--from", "a")
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    shown = call_runs(world, "show", run_id).stdout
    assert ": 2 steps, of which `b` needed more than one attempt." in shown


def test_many_steps_are_cut_off() -> None:
    """The table ends after a screen, and says how many more there are."""
    world, run_id = ended(definition({"a": [], **{f"b{number}": ["a"] for number in range(100)}}))
    lines = retry(world, run_id, "--from", "a", "--dry-run").stdout.splitlines()
    assert len(lines) == 63
    assert "and 41 more steps" in lines
