"""`runs show RUN --step STEP`: everything about one step, with its attempts and times."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import takewhile
from typing import Any

import pytest

from atom_client.cli.tables import attempts_sheet
from atom_client.views.attempts import time_attempts
from atom_emulator.testing.world import World
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from atom_workflows.step_documents import step_record
from support.commands import cancel_run, retry_run
from support.workflows import definition, script
from unit.client.explained import call, flow, said

LATE: dict[str, Any] = {"duration": 65, "fail_times": 2, "reason": "OOM", "message": "no memory"}
RETRIED: dict[str, Any] = {"retry": {"maxAttempts": 3, "backoff": {"initial": "30s", "jitter": 0}}}


def ended(rules: str, workflow: str) -> tuple[World, str]:
    """Return a world with one run that has ended."""
    world = World(rules)
    run_id = world.start(workflow)
    world.run_to_end(run_id)
    return world, run_id


def shown(world: World, run_id: str, step_id: str) -> str:
    """Return what is shown of a step."""
    return said(world, "runs", "show", run_id, "--step", step_id)


def as_json(world: World, run_id: str, step_id: str) -> Any:
    """Return what is shown of a step for programs."""
    return json.loads(said(world, "runs", "show", run_id, "--step", step_id, "--json"))


def fact(text: str, name: str) -> str:
    """Return a fact of those that are shown."""
    [line] = [line for line in text.splitlines() if line.startswith(f"  {name:12} ")]
    return line.removeprefix(f"  {name:12} ")


def rows(text: str) -> list[str]:
    """Return the rows of the table of attempts."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("ATTEMPT"))
    table = takewhile(lambda line: line[:1].isdigit() and "earlier attempt" not in line, lines[begin + 1 :])
    return [" ".join(line.split()) for line in table]


def test_each_attempt_has_its_end_and_its_times() -> None:
    """A row says when an attempt began, how it ended and why, how long its job took and its back-off before."""
    world, run_id = ended(script(a=LATE), definition({"a": []}, a=RETRIED))
    text = shown(world, run_id, "a")
    assert text.startswith("Step `a` SUCCEEDED after 5 min 00 s.\n")
    assert rows(text) == [
        "1 failed 00:00:00 UTC 1 min 10 s OOM: no memory",
        "2 failed 00:01:40 UTC 30 s back-off 1 min 10 s OOM: no memory",
        "3 succeeded 00:03:50 UTC 1 min 00 s back-off 1 min 10 s",
    ]
    assert fact(text, "attempts") == "3 of 3"
    assert fact(text, "duration") == "5 min 00 s: 3 min 30 s in jobs, 1 min 30 s in back-off"
    assert "job of attempt 2: job-000002\n" in text
    assert f"`atom-workflows why {run_id} a` explains" in text


def test_why_names_the_command_that_lists_attempts() -> None:
    """A step that was tried more than once points to its attempts."""
    world, run_id = ended(script(a=LATE), definition({"a": [], "b": ["a"]}, a=RETRIED))
    assert f"3 of 3; `atom-workflows runs show {run_id} --step a` lists them" in said(world, "why", run_id, "a")
    assert "--step" not in said(world, "why", run_id, "b")


def test_attempts_for_programs_have_names_and_seconds() -> None:
    """The object of a step has a list of attempts beside their number, and its durations."""
    world, run_id = ended(script(a={**LATE, "logsUrl": "https://logs/1"}), definition({"a": []}, a=RETRIED))
    found = as_json(world, run_id, "a")
    assert (found["run_id"], found["step"]["id"], found["step"]["attempts"]) == (run_id, "a", 3)
    assert found["durations"] == {"dependencies_s": 0.0, "dispatch_s": 0.0, "job_s": 210.0, "back_off_s": 90.0}
    assert [one["kind"] for one in found["attempts"]] == ["failed", "failed", "succeeded"]
    assert found["attempts"][1] == {
        "attempt": 2,
        "kind": "failed",
        "retries": 0,
        "job_id": "job-000002",
        "claimed_at": "2026-01-01T00:01:40.000Z",
        "submitted_at": None,
        "running_at": None,
        "ended_at": "2026-01-01T00:02:50.000Z",
        "back_off_s": 30.0,
        "submitting_s": None,
        "queued_s": None,
        "job_s": 70.0,
        "message": "no memory",
        "reason": "OOM",
        "logs_url": "https://logs/1",
    }


def test_waiting_is_told_from_working() -> None:
    """A step that waited for others, and whose job waited in its Task Runner, says how long for each."""
    rules = script(a={"duration": 60}, b={"duration": 40, "states": ["QUEUED", "RUNNING"]})
    world, run_id = ended(rules, definition({"a": [], "b": ["a"]}))
    text = shown(world, run_id, "b")
    [of_a] = as_json(world, run_id, "a")["attempts"]
    assert fact(text, "waited") == "1 min 00 s for its dependencies"
    assert of_a["job_s"] == 60.0
    durations = as_json(world, run_id, "b")["durations"]
    assert durations["dependencies_s"] == 60.0
    assert 0 < durations["queued_s"] < durations["job_s"] == 40.0
    assert fact(text, "duration") == "40 s: 40 s in jobs, 20 s of that before they were running"
    assert rows(text) == ["1 succeeded 00:01:00 UTC 40 s, 20 s of it queued"]


def test_a_job_that_was_accepted_late_says_so() -> None:
    """The time until a submission was accepted is not the job's."""
    world, run_id = ended("default: {submit_errors: [429], duration: 20}", definition({"a": []}))
    [only] = as_json(world, run_id, "a")["attempts"]
    assert only["submitting_s"] > 1
    assert only["submitted_at"] > only["claimed_at"]
    [row] = rows(shown(world, run_id, "a"))
    assert "s to be accepted" in row


def test_an_attempt_under_way_shows_the_state_of_its_step() -> None:
    """It has not ended, and its job has taken so long so far."""
    world = World("default: {duration: 600}")
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.settle_down()
    world.clock.move(timedelta(seconds=90))
    text = shown(world, run_id, "a")
    assert rows(text) == ["1 RUNNING 00:00:00 UTC 1 min 30 s"]
    assert fact(text, "duration") == "1 min 30 s so far: 1 min 30 s in jobs"
    [only] = as_json(world, run_id, "a")["attempts"]
    assert (only["kind"], only["ended_at"], only["job_s"]) == (None, None, 90.0)
    waiting = shown(world, run_id, "b")
    assert "ATTEMPT" not in waiting
    assert fact(waiting, "waited") == "1 min 30 s for its dependencies"
    assert as_json(world, run_id, "b")["attempts"] == []


def test_a_back_off_counts_while_it_lasts() -> None:
    """A step that waits for its next attempt shows how long it has waited so far."""
    world = World(script(a={"always_fail": True}))
    run_id = world.start(definition({"a": []}, a=RETRIED))
    world.settle_down()
    world.clock.move(timedelta(seconds=12))
    assert fact(shown(world, run_id, "a"), "duration") == "12 s so far: 12 s in back-off"


def test_attempts_of_earlier_rounds_are_shown() -> None:
    """A retry of the run keeps what was, and the time between the rounds is no back-off."""
    world, run_id = ended(script(a={"fail_times": 1}), definition({"a": []}))
    world.clock.move(timedelta(hours=1))
    retry_run(world.services, run_id)
    world.run_to_end(run_id)
    found = as_json(world, run_id, "a")
    assert [(one["kind"], one["retries"], one["back_off_s"]) for one in found["attempts"]] == [
        ("failed", 0, None),
        ("succeeded", 1, None),
    ]
    assert found["durations"]["dependencies_s"] == 0.0


def test_a_step_that_a_stop_ended_shows_its_attempt() -> None:
    """Its attempt was stopped, for the reason of the stop."""
    world = World("default: {duration: 600}")
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.settle_down()
    cancel_run(world.services, run_id)
    [only] = as_json(world, run_id, "a")["attempts"]
    assert (only["kind"], only["job_id"]) == ("stopped", "job-000001")
    assert "cancelled" in only["message"]
    assert as_json(world, run_id, "b")["attempts"] == []


def test_items_have_attempts_too() -> None:
    """An item is shown like a step; a step with items has no attempts of its own."""
    loop = {"forEach": [1, 2], **RETRIED}
    world, run_id = ended(script(**{"a[1]": {"fail_times": 1}}), definition({"a": []}, a=loop))
    text = shown(world, run_id, "a[1]")
    assert text.startswith("Item `a[1]` SUCCEEDED after ")
    assert [row.split()[1] for row in rows(text)] == ["failed", "succeeded"]
    assert "for its dependencies" not in text
    of_step = shown(world, run_id, "a")
    assert fact(of_step, "items") == "2 items"
    assert "ATTEMPT" not in of_step


def test_an_item_says_how_long_it_waited_for_its_place() -> None:
    """With `maxParallel`, an item waits for a place and not for a dispatcher."""
    loop = {"forEach": [1, 2], "maxParallel": 1}
    world, run_id = ended("default: {duration: 30}", definition({"a": []}, a=loop))
    assert fact(shown(world, run_id, "a[1]"), "waited") == "30 s for a place, since `maxParallel` limits the items"
    assert as_json(world, run_id, "a[1]")["durations"]["place_s"] == 30.0


def test_outputs_and_what_was_sent_are_shown() -> None:
    """What the job got and what it returned stand with the step."""
    work = {"task": {"imageUri": "i", "args": ["${{ run.id }}"]}, "outputs": {"rows": "int"}}
    world, run_id = ended(script(a={"outputs": [{"rows": 7}]}), flow({"a": []}, more={}, a=work))
    text = shown(world, run_id, "a")
    assert f'"args": ["{run_id}"]' in fact(text, "sent")
    assert fact(text, "outputs") == '{"rows": 7}'
    assert as_json(world, run_id, "a")["outputs"] == {"rows": 7}


def test_attempts_that_are_not_kept_are_counted() -> None:
    """A step with more attempts than it keeps says how many are missing."""
    policies = {"retry": {"maxAttempts": 25, "backoff": {"initial": "1s", "factor": 1}}}
    world, run_id = ended(script(a={"always_fail": True}), definition({"a": []}, a=policies))
    text = shown(world, run_id, "a")
    assert [row.split()[0] for row in rows(text)] == [str(number) for number in range(6, 26)]
    assert "5 earlier attempts are not listed: a step keeps its last 20.\n" in text


def test_a_step_of_an_older_version_shows_its_last_attempt() -> None:
    """What an older version did not keep is counted as missing, and the last attempt is read from the step."""
    world, run_id = ended(script(a=LATE), definition({"a": []}, a=RETRIED))
    world.store.commit([Update(path=step_path(run_id, "a"), fields={"attempts": ""})])
    text = shown(world, run_id, "a")
    assert rows(text) == ["3 succeeded 00:03:50 UTC 1 min 10 s"]
    assert "2 earlier attempts are not listed" in text


def test_what_a_task_runner_says_is_printed_safely() -> None:
    """Nothing that a terminal would interpret gets into the table."""
    evil = {"always_fail": True, "message": "\x1b[2Jgone\nnext\u202e", "reason": "\x07BEL"}
    world, run_id = ended(script(a=evil), definition({"a": []}))
    text = shown(world, run_id, "a")
    assert not {"\x1b", "\u202e", "\x07"} & set(text)
    assert len(rows(text)) == 1


@pytest.mark.parametrize(
    "options", [["--failed"], ["--items", "a"], ["--page", "2"], ["--sort", "duration"], ["--state", "FAILED"]]
)
def test_options_that_choose_steps_do_not_fit(options: list[str]) -> None:
    """With --step, there is nothing to choose from."""
    world, run_id = ended("", definition({"a": []}))
    result = call(world, "runs", "show", run_id, "--step", "a", *options)
    assert result.exit_code == 2
    assert "--step shows one step" in result.output


def test_a_step_of_the_newest_run() -> None:
    """A step is found in whatever run is named."""
    world, run_id = ended("", definition({"a": []}))
    assert said(world, "runs", "show", "--last", "--step", "a") == shown(world, run_id, "a")


@pytest.mark.parametrize("name", ["b", "a[0]", "../x", "", "~end", "x" * 3_000, "\x1b[31m"])
def test_a_step_that_does_not_exist(name: str) -> None:
    """It is refused in a sentence, whatever was typed."""
    world, run_id = ended("", definition({"a": []}))
    result = call(world, "runs", "show", run_id, "--step", name)
    assert result.exit_code == 1
    assert f"run {run_id} has no step" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("command", [("runs", "show", "--step"), ("why",)])
def test_a_step_of_a_run_that_has_not_begun(command: tuple[str, ...]) -> None:
    """Its steps are not written yet, or never will be, which is not said to be a wrong name."""
    world = World("default: {duration: 600}")
    one_at_a_time = flow({"a": []}, more={"concurrency": {"limit": 1}})
    world.start(one_at_a_time, run_key="1")
    waiting = world.start(one_at_a_time, run_key="2")
    invalid = world.start("steps: [{id: a, dependsOn: [b]}]")
    for run_id, state in ((waiting, "QUEUED"), (invalid, "INVALID")):
        words = [*command[:2], run_id, *command[2:], "a"]
        result = call(world, *words)
        assert result.exit_code == 1
        assert f"run {run_id} is {state} and has not begun, so it has no steps" in result.output
        assert f"`atom-workflows why {run_id}` explains why" in result.output


def test_a_table_says_all_in_plain_text() -> None:
    """Columns are aligned, and each duration says what it measures."""
    world, run_id = ended(script(a=LATE), definition({"a": []}, a=RETRIED))
    [document] = world.store.get([step_path(run_id, "a")])
    assert document is not None
    step = step_record(document)
    now = world.services.clock.now()
    first = attempts_sheet(step, time_attempts(step, now), now=now).plain().splitlines()[:2]
    assert first == [
        "ATTEMPT  END        BEGAN         WAITED               JOB         MESSAGE",
        "1        failed     00:00:00 UTC                       1 min 10 s  OOM: no memory",
    ]


def test_a_step_is_read_without_reading_its_run_whole() -> None:
    """One step of a wide run costs few documents."""
    names = [f"s{number}" for number in range(500)]
    world, run_id = ended("", definition({"root": [], **{name: ["root"] for name in names}}))
    world.store.reads = 0
    shown(world, run_id, "s7")
    assert world.store.reads <= 6
