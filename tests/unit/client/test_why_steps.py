"""`why RUN STEP`: dependencies, decisions, attempts and the job of one step."""

from __future__ import annotations

import pytest

from atom_emulator.testing.world import World
from support.workflows import chain, definition, fan, script
from unit.client.explained import CLEAN, call, flow, why, why_json


def facts(text: str) -> dict[str, list[str]]:
    """Return the values of an explanation, by their names."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines()[1:]:
        name = line[2:14].strip() or name
        found.setdefault(name, []).append(line[15:])
    return found


def test_each_dependency_is_shown_with_what_it_counts_as() -> None:
    """Successes, skips, tolerated failures and failures are told apart, failures first."""
    world = World(script(bad={"always_fail": True, "reason": "OOM"}, soft={"always_fail": True}))
    run_id = world.start(
        definition(
            {"good": [], "off": [], "soft": [], "bad": [], "join": ["good", "off", "soft", "bad"]},
            off={"when": "run.id == ''"},
            soft={"allowFailure": True},
            join={"trigger": "always"},
        )
    )
    world.run_to_end(run_id)
    found = facts(why(world, run_id, "join"))
    assert found["depends on"] == [
        "`bad` FAILED (OOM): counts as a failure",
        "`soft` FAILED: counts as a success without outputs, since allowFailure tolerates the failure",
        "`off` SKIPPED: counts as skipped by choice",
        "`good` SUCCEEDED: counts as a success",
    ]
    assert found["trigger"] == ["always: runs no matter how its dependencies ended"]
    fates = {one["step"]: one["fate"] for one in why_json(world, run_id, "join")["dependencies"]}
    assert fates == {"good": "succeeded", "off": "skipped", "soft": "tolerated", "bad": "failed"}


def test_a_condition_is_shown_with_the_values_it_was_decided_on() -> None:
    """Whether it held or not, the values and the line of the file are there."""
    world = World(script(a={"outputs": {"rows": 12}}))
    run_id = world.start(
        definition(
            {"a": [], "few": ["a"], "many": ["a"]},
            a={"outputs": {"rows": "int"}},
            few={"when": "steps.a.outputs.rows < 100"},
            many={"when": "steps.a.outputs.rows >= 100"},
        )
    )
    world.run_to_end(run_id)
    assert facts(why(world, run_id, "few"))["when"] == ["`steps.a.outputs.rows < 100` was true (`rows` = 12) (line 1)"]
    text = why(world, run_id, "many")
    assert text.startswith("Step `many` was skipped by choice: `steps.a.outputs.rows >= 100` was false (`rows` = 12).")
    assert facts(why(world, run_id, "a"))["outputs"] == ['{"rows": 12}']


def test_a_condition_that_was_not_reached_says_so() -> None:
    """The trigger decides first; behind a failure no condition is evaluated."""
    world = World(script(a={"always_fail": True, "duration": 60}))
    run_id = world.start(definition({"a": [], "b": ["a"]}, b={"when": "run.id != ''"}))
    world.settle_down()
    assert facts(why(world, run_id, "b"))["when"] == ["`run.id != ''` (line 1): not evaluated yet"]
    world.run_to_end(run_id)
    assert facts(why(world, run_id, "b"))["when"] == ["`run.id != ''` (line 1): it was not reached"]


def test_a_blocked_step_shows_the_chain_to_the_root() -> None:
    """The chain goes through barriers, and ends at the failure with its reason."""
    world = World(script(s7={"always_fail": True, "reason": "OOM", "message": "no memory"}))
    names = [f"s{number}" for number in range(100)]
    run_id = world.start(definition({**{name: [] for name in names}, "b": names, "c": ["b"], "d": ["c"]}))
    world.run_to_end(run_id)
    text = why(world, run_id, "d")
    assert text.startswith("Step `d` was blocked by `c` ← `b` ← `s7` FAILED after 1 attempt (OOM): no memory.")
    assert [one["step"] for one in why_json(world, run_id, "d")["blocked_by"]] == ["c", "b", "s7"]
    assert "~" not in text


def test_a_long_chain_is_shortened() -> None:
    """Of a long way to the root, its beginning and its end are shown."""
    world = World(script(s0={"always_fail": True}))
    run_id = world.start(chain(30))
    world.run_to_end(run_id)
    head = why(world, run_id, "s29").splitlines()[0]
    assert head.startswith("Step `s29` was blocked by `s28` ← `s27` ← `s26` ← `s25` ← `s24` ← 23 more ← `s0` FAILED")


def test_a_waiting_step_names_the_steps_at_the_front() -> None:
    """Behind a chain, what is at work now is named, not only the next dependency."""
    world = World("default: {duration: 600}")
    run_id = world.start(chain(4))
    world.settle_down()
    text = why(world, run_id, "s3")
    assert (
        "Step `s3` is PENDING: its dependency has not ended. "
        "It is now waiting for `s0`, which has been RUNNING for" in text
    )
    assert why_json(world, run_id, "s3")["waits_for"] == ["s0"]


def test_a_step_under_finally_waits_for_the_main_part() -> None:
    """It depends on the main part as a whole."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}))
    world.settle_down()
    text = why(world, run_id, "clean")
    assert "is waiting for the main part to end" in text
    assert facts(text)["depends on"] == ["the main part of the run, which has not ended"]


def test_attempts_show_the_last_failure_and_the_next_time() -> None:
    """A step that is to be retried says what failed, what retries it, and when."""
    world = World(script(a={"always_fail": True, "reason": "OOM"}))
    retry = {"maxAttempts": 3, "when": "failure.reason == 'OOM'"}
    run_id = world.start(definition({"a": []}, a={"retry": retry}))
    world.settle_down()
    found = facts(why(world, run_id, "a"))
    assert found["attempts"] == ["1 of 3; retried when `failure.reason == 'OOM'`"]
    assert found["last failure"] == ["failed (OOM)"]
    assert found["next"][0].startswith("the checker will process it at 00:00:0")
    assert why_json(world, run_id, "a")["next_at"].startswith("2026-01-01T00:00:0")


def test_the_body_that_was_sent_is_shown_with_its_values() -> None:
    """Expressions are shown as what they gave, and nothing before something was sent."""
    world = World(script(a={"outputs": {"rows": 12}, "duration": 60}))
    body = {"imageUri": "image", "args": {"rows": "${{ steps.a.outputs.rows }}"}}
    run_id = world.start(definition({"a": [], "b": ["a"]}, a={"outputs": {"rows": "int"}}, b={"task": body}))
    world.settle_down()
    assert "sent" not in facts(why(world, run_id, "b"))
    assert facts(why(world, run_id, "a"))["outputs"] == ["none; it declares rows"]
    world.run_to_end(run_id)
    assert why_json(world, run_id, "b")["sent"]["args"] == {"rows": 12}
    assert '"args": {"rows": 12}' in facts(why(world, run_id, "b"))["sent"][0]


def test_a_long_body_is_cut_for_people_only() -> None:
    """A large body does not fill the screen; programs get all of it."""
    world = World()
    run_id = world.start(definition({"a": []}, a={"task": {"imageUri": "image", "args": ["x" * 5_000]}}))
    world.run_to_end(run_id)
    assert facts(why(world, run_id, "a"))["sent"][0].endswith("… (`--json` prints all)")
    assert why_json(world, run_id, "a")["sent"]["args"] == ["x" * 5_000]


def test_a_wide_join_is_summed_up_and_read_once() -> None:
    """Of hundreds of dependencies the telling ones are shown, and each document is read once."""
    world = World(script(leaf599={"always_fail": True}))
    run_id = world.start(fan(600))
    world.run_to_end(run_id)
    nodes = len(world.steps(run_id))
    before = world.store.reads
    found = facts(why(world, run_id, "join"))
    assert world.store.reads - before <= 2 * nodes
    assert found["depends on"][0].startswith("`leaf599` FAILED")
    assert found["depends on"][-1] == "… and 588 more: 588 SUCCEEDED"
    assert len(found["depends on"]) == 13


@pytest.mark.parametrize("name", ["extarct", "Extract", "ext ract"])
def test_a_misspelled_step_is_suggested(name: str) -> None:
    """A step that does not exist is answered with the one that may be meant."""
    world = World()
    run_id = world.start(definition({"extract": [], "load": ["extract"]}))
    result = call(world, "why", run_id, name)
    assert (result.exit_code, "did you mean `extract`?" in result.stderr) == (1, True)


@pytest.mark.parametrize("name", ["", " ", "~end", "~1", "a/b", "..", "__x__", "\x1b[31m", "x" * 2_000])
def test_no_name_breaks_it(name: str) -> None:
    """However a step's name looks, the answer is a sentence."""
    world = World()
    run_id = world.start(definition({"extract": []}))
    result = call(world, "why", run_id, name)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: run {run_id} has no step")
    assert "\x1b" not in result.stderr
