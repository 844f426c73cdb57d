"""Params, expressions, outputs, conditions, retries by reason and `finally`, in a file that uses them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from e2e.console import console
from e2e.site import Site
from support.deadline import eventually

DAILY_SCORES: Final = (Path(__file__).parent / "workflows" / "daily_scores.yaml").read_text(encoding="utf-8")
DAY: Final = "2026-03-01"
STEPS: Final = ("list", "score", "quality", "sign-off", "publish", "clean-up")

RAN, FAILED, TOLERATED, SKIPPED, BLOCKED = "ran", "failed", "tolerated", "skipped", "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What jobs do, by step, and what then becomes of the steps and of the run.

    The fates are those of `STEPS`, and all attempts but those named are the first ones.
    """

    fates: tuple[str, ...]
    jobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: str = "SUCCEEDED"
    attempts: Mapping[str, int] = field(default_factory=dict)


LISTED: Final[Mapping[str, Any]] = {"outputs": {"files": ["a", "b"], "rows": 5000}}
SCORED: Final[Mapping[str, Any]] = {"outputs": {"auc": 0.9}}
GOOD: Final[Mapping[str, Any]] = {"outputs": {"ok": True}}
NOT_ASKED: Final = (RAN, RAN, RAN, SKIPPED, RAN, RAN)
ASKED: Final = (RAN, RAN, RAN, RAN, RAN, RAN)
STOPPED: Final = (FAILED, BLOCKED, BLOCKED, BLOCKED, BLOCKED, RAN)

BRANCHES: Final[Mapping[str, Branch]] = {
    "good": Branch(fates=NOT_ASKED),
    "doubtful": Branch(fates=ASKED, jobs={"quality": {"outputs": {"ok": False}}}),
    "unchecked": Branch(
        fates=(RAN, RAN, SKIPPED, RAN, RAN, RAN), jobs={"list": {"outputs": {"files": [], "rows": 1000}}}
    ),
    "check-broken": Branch(
        fates=(RAN, RAN, TOLERATED, RAN, RAN, RAN), jobs={"quality": {"always_fail": True}}, attempts={"quality": 3}
    ),
    "out-of-memory": Branch(
        fates=NOT_ASKED, jobs={"score": {"fail_times": 1, "reason": "OOM", **SCORED}}, attempts={"score": 2}
    ),
    "flaky": Branch(fates=NOT_ASKED, jobs={"list": {"fail_times": 2, **LISTED}}, attempts={"list": 3}),
    "bad-input": Branch(
        fates=STOPPED, jobs={"list": {"always_fail": True, "reason": "BAD_INPUT"}}, state="FAILED", attempts={"list": 1}
    ),
    "no-rows": Branch(fates=STOPPED, jobs={"list": {"outputs": {"files": []}}}, state="FAILED", attempts={"list": 1}),
    "not-published": Branch(
        fates=(RAN, RAN, RAN, SKIPPED, FAILED, RAN),
        jobs={"publish": {"always_fail": True}},
        state="FAILED",
        attempts={"publish": 3},
    ),
    "not-cleaned-up": Branch(
        fates=(RAN, RAN, RAN, SKIPPED, RAN, FAILED),
        jobs={"clean-up": {"always_fail": True}},
        state="FAILED",
        attempts={"clean-up": 3},
    ),
}


def script_of_all() -> str:
    """Return one script for all branches: their jobs differ by the label that names the file."""
    rules = [
        {"labels": {"workflow": name}, "step": step, **behavior}
        for name, branch in BRANCHES.items()
        for step, behavior in branch.jobs.items()
    ]
    ordinary: dict[str, Mapping[str, Any]] = {"list": LISTED, "score": SCORED, "quality": GOOD}
    rules += [{"step": step, **behavior} for step, behavior in ordinary.items()]
    return json.dumps({"rules": rules})


def fate(step: Mapping[str, Any]) -> str:
    """Return what became of a step."""
    if step["state"] == "SKIPPED":
        return SKIPPED if step.get("by_choice") else BLOCKED
    if step["state"] == "FAILED":
        return TOLERATED if step.get("tolerated") else FAILED
    return RAN if step["state"] == "SUCCEEDED" else str(step["state"])


def sent(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a step's last job."""
    body: dict[str, Any] = json.loads(step["sent"])
    return body


def test_each_branch_of_a_file_that_uses_most_of_the_language(site: Site) -> None:
    """Every branch is taken as the file says, and no step has more attempts than it is due."""
    site.script(script_of_all())
    runs = {name: site.start(DAILY_SCORES, name=name, times=2, params={"day": DAY}) for name in BRANCHES}
    for name, run_id in runs.items():
        run, branch = site.ended(run_id), BRANCHES[name]
        steps = site.steps(run_id)
        assert (name, run["state"]) == (name, branch.state)
        assert {step: fate(steps[step]) for step in STEPS} == dict(zip(STEPS, branch.fates, strict=True)), name
        ran = {step: steps[step]["attempt"] for step in STEPS if fate(steps[step]) not in {SKIPPED, BLOCKED}}
        assert ran == {**dict.fromkeys(ran, 1), **branch.attempts}, name
        is_main_part_good = branch.state == "SUCCEEDED" or name == "not-cleaned-up"
        assert sent(steps["clean-up"])["args"] == {"day": DAY, "state": "SUCCEEDED" if is_main_part_good else "FAILED"}
        assert ("outputs" in run) == (branch.state == "SUCCEEDED"), name


def test_values_keep_their_types(site: Site) -> None:
    """A number is sent as a number and a list of outputs is spliced into the arguments."""
    site.script(script_of_all())
    run_id = site.start(DAILY_SCORES, name="good", params={"day": DAY, "shards": 3})
    assert json.loads(site.ended(run_id)["outputs"]) == {"rows": 5000}
    steps = site.steps(run_id)
    assert json.loads(steps["list"]["task"])["args"] == {"day": DAY, "region": "eu", "shards": 3}
    assert sent(steps["score"])["args"] == ["--files", "a", "b", "--strict"]
    assert sent(steps["publish"])["args"] == {"day": DAY, "auc": 0.9}


def test_a_retry_asks_for_a_larger_machine(site: Site) -> None:
    """The reason of the failed attempt decides about the next one's job."""
    site.script(script_of_all())
    run_id = site.start(DAILY_SCORES, name="out-of-memory", params={"day": DAY})
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    assert sent(site.steps(run_id)["score"])["masterType"] == "n1-highmem-16"


def test_wrong_params_leave_a_run_that_can_be_looked_at(site: Site) -> None:
    """The run is INVALID with every problem, and nothing is submitted."""
    run_id = site.start(DAILY_SCORES, params={"day": "tomorrow", "region": "apac", "shards": "8", "regoin": "eu"})
    run = site.ended(run_id)
    assert (run["state"], len(run["errors"])) == ("INVALID", 4)
    assert site.calls(run_id) == []


def test_what_is_cancelled_is_cleaned_up(site: Site) -> None:
    """The steps under `finally` run after a cancellation, and read the state of what was cancelled."""
    site.script(json.dumps({"rules": [{"step": "list", **LISTED}, {"step": "score", "duration": 600}]}))
    run_id = site.start(DAILY_SCORES, params={"day": DAY})
    site.submitted(run_id, "score")
    console(site, "runs", "cancel", run_id).succeeded()
    assert site.ended(run_id)["state"] == "CANCELLED"
    steps = site.steps(run_id)
    assert [steps[step]["state"] for step in STEPS] == ["SUCCEEDED", *["CANCELLED"] * 4, "SUCCEEDED"]
    assert sent(steps["clean-up"])["args"]["state"] == "CANCELLED"


def test_a_retry_evaluates_what_stands_behind_a_failure_again(site: Site) -> None:
    """What succeeded before the failure keeps its outputs; conditions behind it, and `finally`, count anew."""
    site.script(json.dumps({"rules": [{"step": "list", **LISTED}, {"step": "score", "always_fail": True}]}))
    run_id = site.start(DAILY_SCORES, params={"day": DAY})
    assert site.ended(run_id)["state"] == "FAILED"
    site.script(json.dumps({"rules": [{"step": "score", **SCORED}, {"step": "quality", "outputs": {"ok": False}}]}))
    console(site, "runs", "retry", run_id).succeeded()
    assert eventually(lambda: site.run(run_id)["state"] == "SUCCEEDED", within_s=60, what="the end of the retry")
    steps = site.steps(run_id)
    assert tuple(fate(steps[step]) for step in STEPS) == ASKED
    assert (steps["list"]["attempt"], steps["clean-up"]["attempt"]) == (1, 2)
    assert sent(steps["clean-up"])["args"]["state"] == "SUCCEEDED"
