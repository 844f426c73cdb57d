"""A Task Runner that answers badly, late or not at all."""

from __future__ import annotations

from e2e.site import Site
from support.call_log import Call, submissions, violations
from support.workflows import definition

SHAKY = """
rules:
  - {step: unavailable, submit_errors: [{status: 503, times: 2}]}
  - {step: busy, submit_errors: [{status: 429, retry_after: 1}]}
  - {step: dropped, submit_errors: [drop]}
  - {step: unheard, submit_errors: [{drop: true, accepted: true}]}
  - {step: garbled, submit_errors: [html]}
  - {step: unseen, duration: 0.5, status_errors: [500, drop]}
  - {step: illegible, duration: 0.5, status_errors: [html, not-json]}
  - {step: limited, duration: 0.5, status_errors: [429]}
  - {step: slow, delay: 1.5}
  - {step: chatty, duration: 0.8, states: [QUEUED, NO_SUCH_STATE, RUNNING]}
"""
SUBMITTED_TWICE = ("busy", "dropped", "unheard", "garbled")
SHORT = {"timeout": "2s"}
NOT_LOOKED_AT = {"unseen": 2, "illegible": 2, "limited": 1}
STEPS = (*SUBMITTED_TWICE, *NOT_LOOKED_AT, "unavailable", "slow", "chatty")


def test_a_shaky_task_runner(site: Site) -> None:
    """A Task Runner's errors delay a run, but cost no attempt and no second job."""
    site.script(SHAKY)
    edges = {"root": [], **{step: ["root"] for step in STEPS}, "join": list(STEPS)}
    run_id = site.start(definition(edges))
    assert site.ended(run_id, within_s=60)["state"] == "SUCCEEDED"
    assert {step["attempt"] for step in site.steps(run_id).values()} == {1}
    calls = site.calls(run_id)
    assert violations(calls, edges) == []
    assert submissions(calls) == dict.fromkeys(edges, 1)
    assert {step: len(asked(calls, step)) for step in STEPS} == {
        **dict.fromkeys(STEPS, 1),
        **dict.fromkeys(SUBMITTED_TWICE, 2),
        "unavailable": 3,
    }
    assert all(len({call.key for call in asked(calls, step)}) == 1 for step in STEPS)
    for step, times in NOT_LOOKED_AT.items():
        assert sum(call.spoilt for call in calls if call.step == step) == times


def test_a_refused_job(site: Site) -> None:
    """A refused submission fails its step at once with the answer's text."""
    site.script("rules: [{step: refused, submit_errors: [{status: 422, times: forever}]}]")
    run_id = site.start(definition({"refused": []}, refused={"retry": {"maxAttempts": 5}}))
    assert site.ended(run_id)["state"] == "FAILED"
    assert "HTTP 422 as the script says" in site.steps(run_id)["refused"]["message"]
    assert len(asked(site.calls(run_id), "refused")) == 1


def test_a_task_runner_that_is_away_for_good(site: Site) -> None:
    """A step that is never accepted fails at its timeout."""
    site.script("""
rules:
  - {step: unwanted, submit_errors: [{status: 503, times: forever}]}
  - {step: unheard, submit_errors: [{drop: true, times: forever}]}
""")
    run_id = site.start(definition({"unwanted": [], "unheard": []}, unwanted=SHORT, unheard=SHORT))
    assert site.ended(run_id)["state"] == "FAILED"
    for step in site.steps(run_id).values():
        said, _, answer = step["message"].partition("; last response: ")
        assert (step["state"], said) == ("FAILED", "timed out: no job was accepted within 2s")
        assert answer not in {"", "none"}


def asked(calls: list[Call], step: str) -> list[Call]:
    """Return a step's submissions, whatever was answered."""
    return [call for call in calls if call.is_submission and call.step == step]
