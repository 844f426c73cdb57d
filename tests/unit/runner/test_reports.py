"""A report has the contract's form, which the client of the contract reads back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atom_workflows.adapters.task_runner.answers import read_status, receive_answer
from atom_workflows.errors import JobUnknown
from atom_workflows.runner.reports import JobReport, JobState, refusal, unknown_job


def received(response: tuple[int, dict[str, Any]], job_id: str = "job-1") -> Any:
    """Return a response as the coordinator reads it."""
    status, body = response
    return read_status(receive_answer(status, {}, iter([json.dumps(body).encode()]), job_id=job_id), job_id)


def test_a_report_is_read_back_as_it_was() -> None:
    """The coordinator reads the state, id, message, reason and outputs of a report."""
    report = JobReport(
        job_id="job-1", state=JobState.FAILED, message="no space left", reason="EXIT_2", outputs={"rows": 12}
    )
    answer = received(report.to_response())
    assert (answer.job_id, answer.state, answer.message, answer.reason) == (
        "job-1",
        "FAILED",
        "no space left",
        "EXIT_2",
    )
    assert answer.outputs == '{"rows":12}'


@pytest.mark.parametrize("state", list(JobState))
def test_outputs_and_reason_are_of_jobs_that_have_ended(state: JobState) -> None:
    """Outputs and a reason are sent only once a job has ended."""
    _, body = JobReport(job_id="job-1", state=state, reason="EXIT_2", outputs={}).to_response()
    assert ("outputs" in body["job"]) == ("reason" in body["job"]) == state.is_terminal


def test_fields_that_say_nothing_are_left_out() -> None:
    """A report without a log, hints, outputs and a reason has only the first version's fields."""
    _, body = JobReport(job_id="job-1", state=JobState.SUCCEEDED).to_response()
    assert body == {"job": {"state": "SUCCEEDED", "jobId": "job-1", "message": ""}}


def test_a_log_and_hints_may_be_named_in_any_state() -> None:
    """A job in progress names its log, and says that its end will be reported."""
    report = JobReport(job_id="job-1", state=JobState.RUNNING, logs_url="http://localhost/logs/x", notifies=True)
    _, body = report.to_response()
    assert body["job"]["logsUrl"] == "http://localhost/logs/x"
    assert body["job"]["notifies"] is True


def test_long_texts_are_cut_to_what_is_read() -> None:
    """A message and a reason are no longer than what the coordinator keeps of them; a message ends with an ellipsis."""
    _, body = JobReport(job_id="job-1", state=JobState.FAILED, message="x" * 9000, reason="R" * 99).to_response()
    assert (body["job"]["message"], len(body["job"]["reason"])) == (f"{'x' * 1999}…", 64)


@pytest.mark.parametrize("job_id", ["job-1", "", "x" * 3000])
def test_an_unknown_job_is_reported_in_the_contracts_form(job_id: str) -> None:
    """The coordinator reads the response about an unknown job as such, whatever the id."""
    with pytest.raises(JobUnknown):
        received(unknown_job(job_id), job_id)


def test_a_refusal_says_why() -> None:
    """A refusal is HTTP 400 with a message."""
    assert refusal("args must be a list") == (400, {"message": "args must be a list"})
