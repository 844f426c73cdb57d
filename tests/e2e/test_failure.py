"""Steps that fail, time out or are tried again, and runs that are retried."""

from __future__ import annotations

import pytest

from e2e.console import console
from e2e.site import Site
from support.call_log import submissions, violations
from support.workflows import definition

CHAIN = {"first": [], "middle": ["first"], "last": ["middle"]}
BRANCHES = {
    "root": [],
    "good": ["root"],
    "after-good": ["good"],
    "bad": ["root"],
    "after-bad": ["bad"],
    "join": ["after-good", "after-bad"],
}
BROKEN = "rules: [{step: bad, always_fail: true, message: no space left on device}]"
RETRY = {"maxAttempts": 3, "backoff": {"initial": "0.3s", "factor": 1}}


@pytest.mark.parametrize("duration_s", [0, 0.3], ids=["answered-at-once", "polled"])
def test_a_step_is_tried_again(site: Site, duration_s: float) -> None:
    """A step that fails twice succeeds with its third job."""
    site.script(f"rules: [{{step: middle, fail_times: 2, duration: {duration_s}}}]")
    run_id = site.start(definition(CHAIN, middle={"retry": RETRY}))
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    calls = site.calls(run_id)
    assert submissions(calls) == {"first": 1, "middle": 3, "last": 1}
    assert [call.attempt for call in calls if call.is_submission and call.step == "middle"] == [1, 2, 3]
    assert violations(calls, CHAIN) == []
    assert site.steps(run_id)["middle"]["attempt"] == 3


def test_a_step_without_tries_left_fails(site: Site) -> None:
    """A step without tries left fails, and its dependents are not submitted."""
    site.script("rules: [{step: middle, always_fail: true, message: out of memory}]")
    run_id = site.start(definition(CHAIN, middle={"retry": {**RETRY, "maxAttempts": 2}}))
    run = site.ended(run_id)
    assert (run["state"], [dict(error) for error in run["errors"]]) == (
        "FAILED",
        [{"step": "middle", "message": "out of memory"}],
    )
    assert site.states(run_id) == {"first": "SUCCEEDED", "middle": "FAILED", "last": "SKIPPED"}
    assert submissions(site.calls(run_id)) == {"first": 1, "middle": 2}


def test_a_job_that_takes_too_long(site: Site) -> None:
    """A step whose job outlasts its timeout is FAILED and says so."""
    site.script("rules: [{step: middle, duration: 600}]")
    run_id = site.start(definition(CHAIN, middle={"timeout": "2s"}))
    assert site.ended(run_id)["state"] == "FAILED"
    steps = site.steps(run_id)
    assert steps["middle"]["state"] == "FAILED"
    assert steps["middle"]["message"].startswith("timed out after 2s")
    assert 2 <= (steps["middle"]["finished_at"] - steps["middle"]["started_at"]).total_seconds() < 10
    assert steps["last"]["state"] == "SKIPPED"


def test_a_branch_fails_and_the_run_is_retried(site: Site) -> None:
    """A retry repeats only the branch that did not succeed."""
    site.script(BROKEN)
    run_id = site.start(definition(BRANCHES))
    run = site.ended(run_id)
    assert run["state"] == "FAILED"
    assert run["errors"] == [{"step": "bad", "message": "no space left on device"}]
    assert site.states(run_id) == dict.fromkeys(BRANCHES, "SUCCEEDED") | {
        "bad": "FAILED",
        "after-bad": "SKIPPED",
        "join": "SKIPPED",
    }
    shown = console(site, "runs", "show", run_id).succeeded()
    assert "Step `bad` failed after 1 attempt: no space left on device." in shown
    assert "Skipped because `bad` did not succeed: `after-bad` and `join`." in shown
    site.script("{}")
    assert "3 steps will run again" in console(site, "runs", "retry", run_id).succeeded()
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    calls = site.calls(run_id)
    assert submissions(calls) == {**dict.fromkeys(BRANCHES, 1), "bad": 2}
    assert violations(calls, BRANCHES) == []
    refused = console(site, "runs", "retry", run_id)
    assert refused.code == 1
    assert "SUCCEEDED" in refused.stderr
    assert "Traceback" not in refused.stderr
