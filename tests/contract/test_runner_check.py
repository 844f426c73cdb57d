"""`runner check` finds what breaks the contract, and nothing else."""

from __future__ import annotations

import ast
import json
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.runner_check import rule_names
from contract.flawed_task_runners import (
    AnswersWithoutAJob,
    CannotLookUp,
    CannotStart,
    ChangesItsMind,
    ControlsTheTerminal,
    DeniesRunningJobs,
    EndsFirst,
    EndsSoon,
    FailsOnLookup,
    FailsOnStatus,
    FindsNoKey,
    FindsTheLastJob,
    ForgetsJobs,
    ForgetsKeys,
    ForgetsKeysThatEnd,
    GoodTaskRunner,
    HangsOnKeys,
    HasNoNewJob,
    HasPages,
    IgnoresKeys,
    KnowsEveryJob,
    KnowsNoJob,
    ListsLater,
    MisspellsTheId,
    MixesJobsUp,
    MixesKeysUp,
    NeverStops,
    OneJobForAll,
    RacesOnKeys,
    ReturnsAList,
    RunsAtOnce,
    SaysDone,
    StartsWhatIsLookedUp,
    StopsLater,
    StopsOnce,
    SucceedsAlways,
    TakesKeys,
    serving,
)
from support.deadline import eventually
from support.json_shapes import require_documented

MINIMAL = Path(__file__).parents[2] / "examples" / "task_runner" / "minimal.py"
FAILS = '["sh", "-c", "exit 3"]'


def check(url: str, *options: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run the command and return its exit code, and the verdict and the detail of each rule."""
    command = ["runner", "check", url, "--json", "--timeout", "2", "--args", '["true"]', "--failing-args", FAILS]
    done = CliRunner().invoke(cli, [*command, *options], catch_exceptions=False)
    document = json.loads(done.stdout)
    require_documented("runner check", document)
    rules: list[dict[str, Any]] = document["rules"]
    return done.exit_code, {one["rule"]: (one["verdict"], one["detail"]) for one in rules}


def test_a_task_runner_that_follows_the_contract_passes() -> None:
    """A Task Runner that follows the contract breaks no rule, and what it supports is reported."""
    with serving(GoodTaskRunner()) as url:
        code, rules = check(url)
    assert code == 0
    verdicts = {rule: verdict for rule, (verdict, _) in rules.items() if verdict != "ok"}
    assert verdicts == {"notifies": "not supported", "token": "not checked"}


def test_a_task_runner_without_ids_is_not_called_broken() -> None:
    """A Task Runner that answers with the end of each job needs no ids, so what they would show is not checked."""
    with serving(RunsAtOnce()) as url:
        code, rules = check(url)
    assert code == 0, rules
    unseen = (rule_names.SAME_KEY, rule_names.AT_ONCE, rule_names.OTHER_KEY, rule_names.STAYS, *rule_names.STOPS)
    assert {rule: rules[rule][0] for rule in unseen} == dict.fromkeys(unseen, "not checked")


def test_a_job_that_can_be_stopped_only_later_is_stopped() -> None:
    """A Task Runner that asks to come again with a stop, as its job has not started, follows the contract."""
    with serving(StopsLater()) as url:
        code, rules = check(url)
    assert (code, rules[rule_names.STOP][0]) == (0, "ok"), rules


@pytest.mark.parametrize("patient", [ForgetsKeysThatEnd, ListsLater, TakesKeys])
def test_a_job_has_to_be_found_only_while_it_runs_and_is_not_new(patient: type[GoodTaskRunner]) -> None:
    """A Task Runner may forget the key of a job that has ended, find a new one later, or take a key without a job."""
    with serving(patient()) as url:
        code, rules = check(url)
    assert (code, rules[rule_names.LOOKUP][0], rules[rule_names.STOP][0]) == (0, "ok", "ok"), rules


def test_a_job_that_ends_before_it_is_found_shows_nothing() -> None:
    """If the key is forgotten at the end, a job that is too short for the check has not broken the rule."""
    with serving(EndsSoon()) as url:
        code, rules = check(url)
    assert (code, rules[rule_names.LOOKUP][0]) == (0, "not checked"), rules
    assert "give --stopping-args" in rules[rule_names.LOOKUP][1]


@pytest.mark.parametrize("limited", [CannotLookUp, HasNoNewJob])
def test_a_task_runner_that_cannot_look_up_breaks_no_rule(limited: type[GoodTaskRunner]) -> None:
    """Looking keys up is optional, also for one that stops jobs, and the row says what follows."""
    with serving(limited()) as url:
        code, rules = check(url)
    assert (code, rules[rule_names.LOOKUP][0]) == (0, "not supported"), rules
    assert "a resubmission with its key" in rules[rule_names.LOOKUP][1]


@pytest.mark.parametrize(
    ("flawed", "rule", "advice"),
    [
        (IgnoresKeys, rule_names.SAME_KEY, "do not start another job"),
        (RacesOnKeys, rule_names.AT_ONCE, "atomically"),
        (OneJobForAll, rule_names.OTHER_KEY, "start a new job"),
        (ForgetsKeys, rule_names.KEY_AFTER_END, "answer with job-"),
        (ForgetsJobs, rule_names.STAYS, "keep jobs that have ended"),
        (SaysDone, rule_names.SUCCESS, "the contract's final states"),
        (KnowsEveryJob, rule_names.UNKNOWN, "answer with HTTP 404"),
        (HasPages, rule_names.UNKNOWN, "answer with HTTP 404"),
        (SucceedsAlways, rule_names.FAILURE, "would run"),
        (ChangesItsMind, rule_names.STAYS, "must not change"),
        (MixesJobsUp, rule_names.STATUS, "is about job"),
        (AnswersWithoutAJob, rule_names.SUBMISSION, '"jobId"'),
        (MisspellsTheId, rule_names.SUBMISSION, "no usable jobId"),
        (KnowsNoJob, rule_names.SUCCESS, "does not know job"),
        (FailsOnStatus, rule_names.STATUS, "HTTP 500"),
        (NeverStops, rule_names.STOP, "still RUNNING"),
        (DeniesRunningJobs, rule_names.STOP, "reported as unknown"),
        (StopsOnce, rule_names.STOP_AGAIN, "answer with HTTP 200"),
        (FindsNoKey, rule_names.LOOKUP, "find each job"),
        (StartsWhatIsLookedUp, rule_names.LOOKUP, '"jobId": null'),
        (FindsTheLastJob, rule_names.LOOKUP, '"jobId": null'),
        (MixesKeysUp, rule_names.LOOKUP, "found job job-1"),
        (FailsOnLookup, rule_names.LOOKUP, "answer with HTTP 404"),
        (ReturnsAList, rule_names.OUTPUTS, "outputs"),
    ],
)
def test_each_flaw_is_named(flawed: type[GoodTaskRunner], rule: str, advice: str) -> None:
    """A broken rule is named, with what to change, and the command fails."""
    with serving(flawed()) as url:
        code, rules = check(url)
    assert code == 1
    verdict, detail = rules[rule]
    assert verdict == "failed", rules
    assert advice in detail


def test_a_task_runner_that_is_down_is_one_failure() -> None:
    """Without a connection nothing else can be checked."""
    with serving(GoodTaskRunner()) as url:
        pass
    code, rules = check(url)
    assert code == 1
    assert [rule for rule, (verdict, _) in rules.items() if verdict == "failed"] == [rule_names.SUBMISSION]


def test_a_stop_that_came_too_late_is_not_called_kept() -> None:
    """A job that succeeded although it was to be stopped shows nothing."""
    with serving(EndsFirst()) as url:
        _, rules = check(url)
    assert rules[rule_names.STOP][0] == "not checked"
    assert "--stopping-args" in rules[rule_names.STOP][1]


def test_a_missing_token_is_named() -> None:
    """A Task Runner on this machine that wants a token is called without one unless it is given."""
    with serving(GoodTaskRunner(), "a-token") as url:
        code, rules = check(url)
    assert code == 1
    assert "no token was sent; give one with --tr-auth-jwt" in rules[rule_names.SUBMISSION][1]


def test_without_a_failing_job_the_rule_is_not_called_kept() -> None:
    """A rule that was not checked is reported as such."""
    with serving(GoodTaskRunner()) as url:
        done = CliRunner().invoke(cli, ["runner", "check", url], catch_exceptions=False)
    assert done.exit_code == 0
    assert "not checked   a job that fails" in done.stdout
    assert done.stdout.endswith("3 rules could not be checked.\n")


def test_whether_a_token_is_needed_is_reported() -> None:
    """A Task Runner that answers calls without a token is reported, but breaks no rule."""
    with serving(GoodTaskRunner(), "a-token") as url:
        code, rules = check(url, "--tr-auth-jwt", "a-token")
        assert (code, rules[rule_names.TOKEN]) == (0, ("ok", "a call without a token is refused with HTTP 401"))
        code, rules = check(url, "--tr-auth-jwt", "another-token")
        assert code == 1
        assert "was not accepted" in rules[rule_names.SUBMISSION][1]
        assert "another-token" not in json.dumps(rules)
    with serving(GoodTaskRunner()) as url:
        code, rules = check(url, "--tr-auth-jwt", "a-token")
        assert (code, rules[rule_names.TOKEN][0]) == (0, "not supported")


@pytest.mark.parametrize("arguments", ["true", '"true"', "[1,"])
def test_arguments_that_are_no_list_are_refused(arguments: str) -> None:
    """Arguments must be a JSON list or object."""
    done = CliRunner().invoke(cli, ["runner", "check", "http://127.0.0.1:1", "--args", arguments])
    assert done.exit_code == 2
    assert '["sh", "-c", "exit 0"]' in done.stderr


def test_the_minimal_task_runner_of_the_page_passes() -> None:
    """The minimal Task Runner, as a user starts it, passes and can stop jobs."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with subprocess.Popen([sys.executable, str(MINIMAL), str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _is_listening(port), within_s=30, what="the minimal Task Runner")
            options = ("--stopping-args", '["sleep", "60"]', "--impossible-args", '["/no/such/program"]')
            code, rules = check(f"http://127.0.0.1:{port}", "--timeout", "30", *options)
        finally:
            process.terminate()
    assert code == 0, rules
    assert rules[rule_names.FAILURE] == ("ok", "it ended as FAILED: exit code 3")
    assert "ended as CANCELLED" in rules[rule_names.STOP][1]
    assert rules[rule_names.LOOKUP][0] == "ok"
    assert rules[rule_names.NO_START][0] == "ok"
    assert "HTTP 400: the job cannot be started: [Errno 2]" in rules[rule_names.NO_START][1]


@pytest.mark.parametrize(
    ("respond", "verdict", "said"),
    [
        ((500, "Traceback"), "failed", "refuse it with HTTP 400"),
        ((200, {"job": {"state": "SUCCEEDED", "jobId": "impossible"}}), "failed", "reported as SUCCEEDED"),
        ((200, {"job": {"state": "RUNNING", "jobId": "impossible"}}), "failed", "did not end within 2 s"),
        ((200, {"job": {"state": "FAILED", "jobId": "impossible"}}), "ok", "it ended as FAILED"),
        ((400, {"message": "no such program"}), "ok", "it was refused"),
    ],
)
def test_a_job_that_cannot_start_must_be_answered(respond: tuple[int, Any], verdict: str, said: str) -> None:
    """A job that cannot start is refused or FAILED; whatever else is answered would keep its step waiting."""
    task_runner = CannotStart(*respond)
    with serving(task_runner) as url:
        _, rules = check(url, "--impossible-args", '["/no/such/program"]')
    assert rules[rule_names.NO_START][0] == verdict
    assert said in rules[rule_names.NO_START][1]


def test_a_task_runner_that_is_not_there_breaks_no_rule() -> None:
    """If the first submission gets no answer, the report says that nothing else could be checked."""
    done = CliRunner().invoke(cli, ["runner", "check", "http://127.0.0.1:1", "--args", '["true"]'])
    assert done.exit_code == 1
    assert done.stdout.endswith("\nThe first submission failed, so nothing else could be checked.\n")


def test_the_minimal_task_runner_has_forty_lines() -> None:
    """The minimal Task Runner has at most forty lines of code."""
    body = ast.parse(MINIMAL.read_text()).body[1:]
    assert sum(bool(line.strip()) for line in MINIMAL.read_text().splitlines()[body[0].lineno - 1 :]) <= 40


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_does_not_wait_for_calls(signum: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the check at once, even while calls from other threads are unanswered."""
    hanging = HangsOnKeys()
    command = [sys.executable, "-m", "atom_client", "runner", "check"]
    with serving(hanging) as url, subprocess.Popen([*command, url], stdout=subprocess.DEVNULL) as process:
        try:
            assert hanging.hanging.wait(30)
            process.send_signal(signum)
            assert process.wait(10) == 128 + signum
        finally:
            process.kill()
            hanging.released.set()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_answer_controls_the_terminal(form: list[str]) -> None:
    """Whatever a Task Runner answers, each row is one line of printable characters."""
    with serving(ControlsTheTerminal()) as url:
        done = CliRunner().invoke(cli, ["runner", "check", url, "--failing-args", FAILS, *form], catch_exceptions=False)
    assert done.exit_code in {0, 1}
    assert all(line.isprintable() for line in done.output.split("\n"))
