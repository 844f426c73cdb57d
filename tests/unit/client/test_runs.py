"""The `runs` commands on a whole coordinator in one process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import START, World
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.documents import run_path
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import Update
from support.workflows import chain, definition, fan
from unit.client.explained import why

FAILING = 'rules: [{step: s1, always_fail: true, message: "\\e[31mdisk full\\e[0m\\nat sda"}]'


def call(world: World, *args: str) -> Result:
    """Call a command that finds this world's services."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, ["runs", *args], obj=connect, catch_exceptions=False)


def ended(script: str = "", workflow: str = "") -> tuple[World, str]:
    """Return a world with one run that has ended."""
    world = World(script)
    run_id = world.start(workflow or chain(3))
    world.run_to_end(run_id)
    return world, run_id


def test_no_runs_are_said_in_a_sentence() -> None:
    """An empty list says how to start a run."""
    assert "There are no runs yet" in call(World(), "list").stdout


def test_list_shows_the_newest_first() -> None:
    """The newest runs are listed first, up to the limit."""
    world = World()
    ids = []
    for key in ("one", "two", "three"):
        ids.append(world.start(chain(1), run_key=key))
        world.clock.sleep(1)
    lines = call(world, "list", "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["RUN", ids[2], ids[1]]
    assert "RUNNING" in lines[1]


def test_list_leaves_out_what_a_newer_version_wrote() -> None:
    """One run that cannot be read hides no other, and a sentence says which it is and what to do."""
    world, newer = ended()
    world.store.commit([Update(path=run_path(newer), fields={"schema": 99})])
    run_id = world.start(chain(1), run_key="other")
    listed = call(world, "list", "--json")
    assert [run["id"] for run in json.loads(listed.stdout)["runs"]] == [run_id]
    assert f"Not shown, since a newer version wrote them: `{newer}`." in listed.stderr


def test_list_finds_runs_by_state() -> None:
    """Only runs in the state are listed, and a sentence says if there are none."""
    world, run_id = ended(FAILING)
    world.start(chain(1), run_key="other")
    listed = json.loads(call(world, "list", "--state", "failed", "--json").stdout)["runs"]
    assert [run["id"] for run in listed] == [run_id]
    assert "is CANCELLED" in call(world, "list", "--state", "CANCELLED").stdout


def test_show_names_the_failed_step_and_those_skipped_for_it() -> None:
    """`show` prints the failed step's message without escapes, and the skipped steps."""
    world, run_id = ended(FAILING)
    result = call(world, "show", run_id)
    assert result.exit_code == 0
    assert "Step `s1` failed after 1 attempt: disk full at sda." in result.stdout
    assert "Skipped because `s1` did not succeed: `s2`." in result.stdout
    assert "\x1b" not in result.stdout


def test_show_names_ignored_fields_of_the_message() -> None:
    """`show` prints a warning about a misspelled field of the start message."""
    world = World()
    body = {"definition": chain(1), "workflow_path": "flow.yaml", "paramz": {"day": 1}}
    run_id = handle_start(world.services, read_start_event(body, event_id="1")).run_id
    assert "Warning: the start message's field 'paramz'" in call(world, "show", run_id).stdout
    assert "params?" in json.loads(call(world, "show", run_id, "--json").stdout)["run"]["warnings"][0]


def test_times_for_programs_have_one_form() -> None:
    """Times of runs and steps are in UTC, with Z and milliseconds."""
    world, run_id = ended()
    shown = json.loads(call(world, "show", run_id, "--json").stdout)
    found = [each[name] for each in (shown["run"], *shown["steps"]) for name in ("started_at", "finished_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text) for text in found)
    assert shown["run"]["created_at"] == f"{START:%Y-%m-%dT%H:%M:%S}.000Z"


def test_show_explains_why_steps_cannot_be_submitted() -> None:
    """A waiting step is explained by its reason and its next try."""
    world = World("default: {submit_errors: [503]}")
    run_id = world.start(definition({"a": [], "b": []}))
    world.settle_down()
    shown = call(world, "show", run_id).stdout
    [sentence] = [line for line in shown.splitlines() if line.startswith("Not submitted so far")]
    assert "`a` and `b` (tried 1 time, next at " in sentence
    assert "until the timeout at " in sentence


def test_show_hides_what_the_compiler_added() -> None:
    """Steps that the compiler added are shown neither in text nor in JSON."""
    world, run_id = ended(workflow=fan(300))
    assert "~" not in call(world, "show", run_id).stdout
    shown = json.loads(call(world, "show", run_id, "--json").stdout)
    assert len(shown["steps"]) == 302
    assert shown["run"]["state"] == "SUCCEEDED"


def test_show_lists_the_problems_of_an_invalid_run() -> None:
    """An invalid file's problems are shown with line and column."""
    world = World()
    run_id = world.start("steps: [{id: a, dependsOn: [b]}]")
    output = call(world, "show", run_id).stdout
    assert "is INVALID and was not started" in output
    assert "flow.yaml:1:" in output


def test_the_beginning_of_an_id_is_enough() -> None:
    """A unique prefix names the run."""
    world, run_id = ended()
    assert run_id in call(world, "show", "flow").stdout


def test_an_ambiguous_beginning_lists_the_candidates() -> None:
    """A prefix of several runs changes nothing and names them."""
    world = World()
    ids = [world.start(chain(1), run_key=key) for key in ("one", "two")]
    result = call(world, "cancel", "flow-")
    assert result.exit_code == 1
    assert all(run_id in result.stderr for run_id in ids)


@pytest.mark.parametrize("name", ["none", "a/b", "..", "__x__", "flow\x1b[31m", "x" * 2000])
def test_an_unknown_run_is_an_error(name: str) -> None:
    """An unknown id is answered in a sentence, however it looks."""
    world, _ = ended()
    result = call(world, "show", name)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: there is no run")
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("command", ["show", "cancel", "retry", "doctor"])
@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_id_names_no_run(command: str, name: str) -> None:
    """As from a variable that is not set: nothing is looked for, let alone changed."""
    result = call(World(), command, name)
    assert (result.exit_code, result.stderr.startswith("Error: the run's id is empty; ")) == (2, True)


def test_cancel_ends_a_run() -> None:
    """After cancel the run is CANCELLED; a second cancel says so."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(2))
    world.settle_down()
    assert call(world, "cancel", run_id).exit_code == 0
    assert "CANCELLED" in call(world, "show", run_id).stdout
    again = call(world, "cancel", run_id)
    assert (again.exit_code, "has ended" in again.stderr) == (1, True)


def test_retry_runs_again_what_did_not_succeed() -> None:
    """Retry counts the steps that run again, and the run then succeeds."""
    world, run_id = ended("rules: [{step: s1, fail_times: 1}]")
    result = call(world, "retry", run_id)
    assert (
        "2 steps will run again, using the file as it was when the run was started. "
        "If the file has changed, add --with FILE."
    ) in result.stdout
    assert world.run_to_end(run_id).state == "SUCCEEDED"
    again = call(world, "retry", run_id)
    assert (again.exit_code, again.stderr.startswith("Error: ")) == (1, True)


def test_an_invalid_run_cannot_be_retried() -> None:
    """The message says what to do instead."""
    world, run_id = ended(workflow="steps: [{id: a, dependsOn: [b]}]")
    result = call(world, "retry", run_id)
    said = f"Error: run {run_id} is INVALID, so none of its steps can run; fix the file and start it again"
    assert (result.exit_code, " ".join(result.stderr.split())) == (1, said)


def test_the_time_before_a_retry_is_told_apart() -> None:
    """A run that waited for an hour until it was retried did not take an hour."""
    world, run_id = ended("default: {duration: 20}\nrules: [{step: s1, fail_times: 1}]")
    assert f"Run {run_id} FAILED after 20 s." in call(world, "show", run_id).stdout
    world.clock.sleep(3_600)
    call(world, "retry", run_id)
    world.run_to_end(run_id)
    shown = call(world, "show", run_id).stdout
    assert f"Run {run_id} SUCCEEDED 20 s after its retry, 1 h 00 min after its first start: 3 steps" in shown
    listed = call(world, "list").stdout
    assert "  DURATION  IN ALL               STEPS  " in listed
    assert "  20 s      1 h 00 min, retried  3      " in listed
    assert "\nduration     20 s since its retry, 1 h 00 min in all\n" in shown
    told = why(world, run_id)
    assert told.startswith(f"Run {run_id} SUCCEEDED 20 s after its retry, 1 h 00 min after its first start: 3 steps.")


def test_the_time_of_an_open_retry_is_told_apart() -> None:
    """While a retry goes on, both times are so far."""
    world, run_id = ended("default: {duration: 20}\nrules: [{step: s1, fail_times: 1}]")
    world.clock.sleep(3_600)
    call(world, "retry", run_id)
    world.settle_down()
    assert f"Run {run_id} has been RUNNING for 0 ms since its retry (it first started 1 h 00 min ago): " in why(
        world, run_id
    )
    assert "\nduration     0 ms since its retry, 1 h 00 min in all, so far\n" in call(world, "show", run_id).stdout
    call(world, "cancel", run_id)
    world.run_to_end(run_id)
    call(world, "retry", run_id)
    world.run_to_end(run_id)
    assert "\nduration     20 s since its last retry, 1 h 01 min in all\n" in call(world, "show", run_id).stdout


def test_retry_for_programs() -> None:
    """JSON has the run and how many steps run again."""
    world, run_id = ended("rules: [{step: s1, fail_times: 1}]")
    counted = {
        "version": 1,
        "run_id": run_id,
        "run": run_id,
        "steps": 2,
        "items": 0,
        "again": ["s1", "s2"],
        "blocked": [],
        "queued": False,
    }
    assert json.loads(call(world, "retry", run_id, "--json").stdout) == counted


def test_a_time_limit_is_for_those_who_wait() -> None:
    """`--timeout` without `--wait` is a mistake that changes nothing."""
    world, run_id = ended(FAILING)
    result = call(world, "retry", run_id, "--timeout", "1m")
    assert (result.exit_code, "--timeout requires --wait" in result.stderr) == (2, True)
    assert world.run(run_id).state == "FAILED"


def test_markup_in_names_is_printed_as_it_is() -> None:
    """The terminal library's markup in a message is printed unchanged."""
    world = World("default: {message: '[red]x[/red]', always_fail: true}")
    run_id = world.start(definition({"a": []}))
    world.run_to_end(run_id)
    assert "[red]x[/red]" in call(world, "show", run_id).stdout


@pytest.mark.parametrize(
    "args", [("list",), ("show",), ("why",), ("why", "s1"), ("doctor", "--dry-run"), ("watch",), ("retry",)]
)
def test_programs_find_the_run_by_one_name(args: tuple[str, ...]) -> None:
    """In the JSON of every command, `run_id` is the id of the run."""
    world, run_id = ended(FAILING)
    command, *more = args
    answer = json.loads(call(world, command, *([] if command == "list" else [run_id]), *more, "--json").stdout)
    if command == "list":
        [answer] = answer["runs"]
    elif command in {"show", "watch"}:
        answer = answer["run"]
    assert answer["run_id"] == run_id
