"""Playing a workflow file: what becomes of its steps, what is submitted and when, and what is refused."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest

from atom_emulator.testing import InvalidScript, InvalidWorkflow, Played, StillOpen, play
from atom_workflows.settings import Settings
from support.workflows import chain, definition, fan

EXAMPLES: Final = Path(__file__).parents[4] / "examples"

Player = Callable[..., Played]


@pytest.fixture
def player(tmp_path: Path) -> Player:
    """Plays the text of a workflow."""

    def play_text(text: str, script: Any = None, **options: Any) -> Played:
        file = tmp_path / "flow.yaml"
        file.write_text(text, encoding="utf-8")
        return play(file, script, **options)

    return play_text


def test_without_a_script_every_job_succeeds_at_once(player: Player) -> None:
    """Each step is tried once, and no time passes."""
    played = player(fan(3))
    assert (played.state, played.took, played.errors) == ("SUCCEEDED", timedelta(0), ())
    assert played.attempts == {"root": 1, "leaf0": 1, "leaf1": 1, "leaf2": 1, "join": 1}
    assert played.submissions[0].step == "root"
    assert played.submissions[-1].step == "join"


def test_jobs_take_their_time_and_the_checker_sees_their_end(player: Player) -> None:
    """Two jobs of ten minutes after each other take as much longer as a deployment needs to notice their ends."""
    played = player(chain(2), {"default": {"duration": 600}})
    first, second = played.step("s0"), played.step("s1")
    assert first.began == timedelta(0)
    assert timedelta(minutes=10) <= first.ended < timedelta(minutes=11)  # type: ignore[operator] # it has ended
    assert second.began == first.ended
    assert timedelta(minutes=20) <= played.took < timedelta(minutes=22)
    assert played.submissions[1].at == first.ended


@pytest.mark.parametrize("second", range(0, 60, 5))
def test_the_scheduler_ticks_at_whole_minutes(player: Player, second: int) -> None:
    """The end of a job is noticed within 15 seconds, whenever the run begins."""
    at = datetime(2026, 3, 1, 2, 30, second, tzinfo=UTC)
    took = player(chain(1), {"default": {"duration": 45}}, at=at).took
    assert timedelta(seconds=45) <= took <= timedelta(seconds=60)


def test_hours_pass_as_fast_as_they_can_be_computed(player: Player) -> None:
    """No one waits: a job of nine hours takes what its five hundred polls take, in less time than this suite has."""
    assert player(chain(1), {"default": {"duration": 9 * 3600}}).took > timedelta(hours=9)


def test_a_step_is_tried_again_as_its_policy_says(player: Player) -> None:
    """The script lets two attempts fail; the times between them are the back-off's."""
    text = definition({"a": []}, a={"retry": {"maxAttempts": 3, "backoff": {"initial": "1m", "jitter": 0}}})
    played = player(text, {"rules": [{"step": "a", "fail_times": 2}]})
    assert (played.state, played.attempts) == ("SUCCEEDED", {"a": 3})
    first, second, third = (one.at for one in played.submissions)
    assert timedelta(minutes=1) <= second - first < timedelta(minutes=2)
    assert timedelta(minutes=2) <= third - second < timedelta(minutes=3)


def test_a_failed_step_skips_what_depends_on_it(player: Player) -> None:
    """The reason is among the errors, and in the step's message."""
    played = player(chain(3), {"rules": [{"step": "s1", "always_fail": True, "message": "out of memory"}]})
    assert (played.state, played.errors) == ("FAILED", ("s1: out of memory",))
    assert played.states == {"s0": "SUCCEEDED", "s1": "FAILED", "s2": "SKIPPED"}
    assert (played.step("s1").message, played.step("s2").began) == ("out of memory", None)


@pytest.mark.parametrize("fault", [{"lose_job": "always"}, {"status_errors": [{"status": 404, "times": "forever"}]}])
def test_a_job_without_a_duration_is_polled_if_polls_are_to_fail(player: Player, fault: dict[str, Any]) -> None:
    """A fault of polls has its effect, though a job without a duration ends in no time."""
    played = player(definition({"a": []}, a={"onLost": "fail"}), {"rules": [{"step": "a", **fault}]})
    assert played.state == "FAILED"


@pytest.mark.parametrize(("policy", "state", "attempts"), [("retry", "SUCCEEDED", 2), ("fail", "FAILED", 1)])
def test_a_lost_job_is_as_the_file_says(player: Player, policy: str, state: str, attempts: int) -> None:
    """A job that its Task Runner no longer knows is submitted again, or fails the step."""
    text = definition({"a": []}, a={"onLost": policy})
    played = player(text, {"default": {"duration": 60, "lose_job": "once"}})
    assert (played.state, played.attempts["a"], len(played.jobs("a"))) == (state, attempts, attempts)


def test_a_task_runner_that_is_down_for_a_moment_fails_nothing(player: Player) -> None:
    """Submissions and polls that are not answered are repeated."""
    script = {"default": {"duration": 30, "submit_errors": [503, "drop"], "status_errors": [500, {"garbage": "html"}]}}
    played = player(chain(1), script)
    assert (played.state, len(played.submissions)) == ("SUCCEEDED", 3)


def test_an_answer_may_be_late(player: Player) -> None:
    """A delay passes before each answer."""
    assert player(chain(3), {"default": {"delay": 5}}).took == timedelta(seconds=15)


def test_a_timeout_ends_an_attempt(player: Player) -> None:
    """A job that takes longer than its step may take fails it."""
    text = definition({"a": []}, a={"timeout": "10m"})
    played = player(text, {"default": {"duration": 3600}})
    assert played.state == "FAILED"
    assert "timed out" in played.step("a").message


def test_the_submitted_jobs_are_those_of_the_file() -> None:
    """What a Task Runner would get can be looked at, step by step."""
    played = play(EXAMPLES / "nightly_pipeline.yaml")
    (job,) = played.jobs("load-orders")
    assert job["args"] == ["--table", "orders", "--partitions", 8]
    assert job["labels"] == {"team": "sales", "cost-centre": "4711", "workflow": "nightly_pipeline", "type": "step"}
    assert played.attempts["checked"] == 0


@pytest.mark.parametrize("name", ["retry", "failing_branch", "timeout"])
def test_the_examples_play_as_they_run(name: str) -> None:
    """The script of the command line is read from its file."""
    played = play(str(EXAMPLES / f"{name}.yaml"), EXAMPLES / f"{name}.mock.yaml")
    assert played.state == ("SUCCEEDED" if name == "retry" else "FAILED")


def test_what_the_topic_events_is_told_can_be_looked_at(player: Player) -> None:
    """Reports of the run and of its steps, for whoever subscribes to them."""
    reported = [(one.get("step", "the run"), one["state"]) for one in player(chain(1)).reports]
    assert reported == [("the run", "RUNNING"), ("s0", "SUCCEEDED"), ("the run", "SUCCEEDED")]


def test_a_deployments_settings_count(player: Player) -> None:
    """With bursts of a second the end of a job is noticed a minute later."""
    settings = Settings(burst=timedelta(seconds=1))
    usual, rare = (player(chain(1), {"default": {"duration": 40}}, **given) for given in ({}, {"settings": settings}))
    assert usual.took < timedelta(seconds=60) < rare.took


def test_a_play_is_the_same_each_time(player: Player) -> None:
    """Nothing in it depends on the machine, on chance or on threads."""
    script = {"rules": [{"step": "leaf1*", "fail_times": 1}], "default": {"duration": 90}}
    one, other = (player(fan(20), script) for _ in range(2))
    assert one == other


def test_a_play_leaves_no_thread(player: Player) -> None:
    """Not even one that is given up."""
    before = threading.active_count()
    player(chain(2), {"default": {"duration": 90}})
    with pytest.raises(StillOpen):
        player(chain(2), {"default": {"duration": 90}}, within=timedelta(seconds=45))
    assert threading.active_count() == before


def test_a_run_that_takes_too_long_is_given_up(player: Player) -> None:
    """The error says which steps are open, and how."""
    with pytest.raises(StillOpen, match=r"^flow did not end within 1:00:00: s0 is RUNNING, s1 is PENDING$"):
        player(chain(2), {"default": {"duration": 7200}}, within=timedelta(hours=1))


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (
            {"rules": [{"step": "s0"}, {"step": "s9*"}]},
            "rules[1].step: no job of flow matches s9*; the steps with a job are s0, s1",
        ),
        ({"rules": [{"engine": "edge"}]}, "rules[0]: no job of flow matches it"),
        ({"rules": [{"step": "s0", "fails": 1}]}, "rules[0].fails: unknown; expected one of"),
        ({"rulez": []}, "script.rulez: unknown"),
        ({"rules": [{"step": "s0", "outputs": [3]}]}, "rules[0].outputs: expected a mapping of JSON values"),
        ({"default": {"reason": 137}}, "default.reason: expected one line of text"),
    ],
)
def test_a_wrong_script_is_refused_in_a_sentence(player: Player, script: dict[str, Any], problem: str) -> None:
    """A rule that matches no job is a mistake, such as a misspelled step."""
    with pytest.raises(InvalidScript) as refused:
        player(chain(2), script)
    assert problem in str(refused.value)


def test_a_wrong_file_is_refused_with_its_problems(player: Player) -> None:
    """As `validate` lists them."""
    with pytest.raises(InvalidWorkflow, match=r"flow.yaml:1:\d+: "):
        player("steps: [{id: a, dependsOn: [b]}]")


def test_a_run_that_cannot_start_is_invalid(tmp_path: Path) -> None:
    """A file whose text cannot be kept, even compressed, gives an INVALID run with the reason and without steps."""
    chance = random.Random(7)  # noqa: S311 (noise, not a secret)
    file = tmp_path / "noise.yaml"
    noise = [chance.randbytes(24_000).hex() for _ in range(40)]
    steps = [{"id": f"s{at}", "task": {"imageUri": "image", "args": [text]}} for at, text in enumerate(noise)]
    file.write_text(json.dumps({"name": "noise", "steps": steps}))
    played = play(file)
    assert (played.state, played.steps) == ("INVALID", {})
    assert "can be stored" in played.errors[0]


def test_a_script_of_no_known_form_is_refused(tmp_path: Path) -> None:
    """A list is neither a script nor the path of one."""
    file = tmp_path / "flow.yaml"
    file.write_text(chain(1))
    with pytest.raises(InvalidScript, match="a script is a mapping or the path of a file, not a list"):
        play(file, cast("Any", [{"step": "s0"}]))


def test_an_unknown_step_is_named(player: Player) -> None:
    """The error for a step that the workflow does not have names those that it has."""
    played = player(chain(2))
    with pytest.raises(LookupError, match="there is no step load; the steps are s0, s1"):
        played.step("load")
    with pytest.raises(LookupError, match="there is no step load"):
        played.jobs("load")


BRANCHES: Final = """
name: branches
params: {mode: {type: text, enum: [full, delta], default: delta}}
steps:
  - {id: list, task: {imageUri: "registry.example/${{ params.mode }}"}, outputs: {rows: int}}
  - {id: full, when: params.mode == 'full', dependsOn: [list], task: {imageUri: full}}
  - {id: shaky, dependsOn: [list], allowFailure: true, task: {imageUri: shaky}}
  - {id: broken, dependsOn: [shaky], task: {imageUri: broken}}
  - {id: behind, dependsOn: [broken], task: {imageUri: behind}}
finally:
  - {id: clean-up, task: {imageUri: clean, args: {state: "${{ run.state }}"}}}
outputs: {rows: "${{ steps.list.outputs.rows }}"}
"""


def test_it_says_what_steps_returned_and_why_they_were_skipped(player: Player) -> None:
    """Outputs, reasons, conditions with their values, causes, and steps under `finally` can be looked at."""
    failing = {"always_fail": True, "reason": "OOM"}
    rules = [{"step": "list", "outputs": {"rows": 3}}, {"step": "shaky", **failing}, {"step": "broken", **failing}]
    played = player(BRANCHES, {"rules": rules})
    full, shaky, broken, behind = map(played.step, ("full", "shaky", "broken", "behind"))
    assert played.step("list").outputs == {"rows": 3}
    assert (full.skipped_by_choice, full.cause) == (True, "")
    assert full.because == "`params.mode == 'full'` was false (`mode` = \"delta\")"
    assert (shaky.tolerated, broken.tolerated, broken.reason) == (True, False, "OOM")
    assert (behind.skipped_by_choice, behind.cause) == (False, "broken")
    assert played.jobs("clean-up")[0]["args"] == {"state": "FAILED"}
    # Only a run that succeeds has outputs.
    assert (played.state, played.outputs) == ("FAILED", {})


def test_a_run_has_its_params_and_its_outputs(player: Player) -> None:
    """The params are bound as those of a start message, with the defaults filled in."""
    script = {"rules": [{"step": "list", "outputs": {"rows": 3}}]}
    played = player(BRANCHES, script, params={"mode": "full"})
    assert (played.params, played.outputs) == ({"mode": "full"}, {"rows": 3})
    assert played.states["full"] == "SUCCEEDED"
    assert player(BRANCHES, script).params == {"mode": "delta"}


def test_params_that_do_not_fit_make_the_run_invalid(player: Player) -> None:
    """Every problem is named, and no job is submitted."""
    played = player(BRANCHES, params={"mode": "all", "day": 1})
    assert (played.state, played.steps, played.submissions) == ("INVALID", {}, ())
    assert len(played.errors) == 2


def test_a_rule_may_name_what_an_expression_gives(player: Player) -> None:
    """A rule on an image that is not known from the file is not taken for a misspelled one."""
    script = {"rules": [{"image": "registry.example/delta", "outputs": {"rows": 1}}]}
    assert player(BRANCHES, script).outputs == {"rows": 1}
    with pytest.raises(InvalidScript, match="no job of branches matches lsit; did you mean list"):
        player(BRANCHES, {"rules": [{"step": "lsit", "image": "registry.example/delta"}]})
