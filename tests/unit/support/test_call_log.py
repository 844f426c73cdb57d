"""The check of the mock's log finds what it is there to find."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.call_log import Call, between_jobs, calls_of, submissions, violations

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def post(step: str, state: str = "SUCCEEDED", **changed: Any) -> Call:
    """Return a submission, answered with the job's end by default."""
    fields: dict[str, Any] = {"kind": "submit", "step": step, "attempt": 1, "status": 200, "state": state}
    return Call(**fields | changed)


def look(step: str, state: str = "SUCCEEDED", **changed: Any) -> Call:
    """Return a status call."""
    return post(step, state, kind="status", **changed)


GOOD = [post("a", "RUNNING"), look("a", "RUNNING"), look("a"), post("c"), post("b"), post("d", "RUNNING"), look("d")]


def test_a_good_log_has_no_violations() -> None:
    """Answers to submissions and to status calls both show that a dependency succeeded."""
    assert violations(GOOD, DIAMOND) == []


@pytest.mark.parametrize(
    ("calls", "violation"),
    [
        ([post("b"), *GOOD], "b was submitted before a had succeeded"),
        ([post("a", "RUNNING"), look("a", spoilt=True), post("b")], "b was submitted before a had succeeded"),
        ([post("a"), post("b", "FAILED"), post("c"), post("d")], "d was submitted before b had succeeded"),
        ([*GOOD, post("b")], "attempt 1 of b was submitted 2 times"),
        (GOOD[:-2], "d was never submitted"),
        ([*GOOD, post("e")], "e is no step of the workflow"),
    ],
)
def test_violations_are_found(calls: list[Call], violation: str) -> None:
    """A job that is early, repeated, missing or unknown is named."""
    assert violation in violations(calls, DIAMOND)


def test_further_attempts_and_refused_submissions_are_allowed() -> None:
    """Another attempt, or one after a refusal, is no violation."""
    calls = [post("a", "", status=503), post("a", spoilt=True), post("a", "FAILED"), post("a", attempt=2)]
    assert violations(calls, {"a": []}) == []
    assert submissions(calls) == {"a": 2}


def test_lines_become_the_calls_of_one_run() -> None:
    """Calls are assigned to their run by key or by job."""

    def line(call: str, key: str | None, job_id: str, *, fault: str | None = None) -> str:
        fields = {"idempotency_key": key, "job_id": job_id, "state": "SUCCEEDED", "status": 200, "fault": fault}
        return json.dumps({"call": call, **fields})

    lines = [
        line("submit", "flow-1/a/1", "j1", fault="drop"),
        line("submit", "flow-12/a/1", "j2"),
        line("submit", None, "j3"),
        line("status", None, "j2"),
        line("status", None, "j1"),
    ]
    assert calls_of("flow-1", lines) == [
        post("a", key="flow-1/a/1", spoilt=True),
        look("a"),
    ]


def test_steps_without_a_task_are_looked_through() -> None:
    """A step behind one without a task depends on that one's dependencies."""
    edges = {"a": [], "b": ["a"], "gate": ["a", "b"], "wide": ["gate"], "c": ["wide", "b"]}
    assert between_jobs(edges, ["gate", "wide"]) == {"a": [], "b": ["a"], "c": ["a", "b"]}
