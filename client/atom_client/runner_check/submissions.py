"""Check how a Task Runner handles submissions and their keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.results import NO_ID, Row, failed, not_answered, ok, unchecked
from atom_client.runner_check.rule_names import AT_ONCE, NO_START, OTHER_KEY, SAME_KEY
from atom_client.runner_check.session import Job, Session
from atom_workflows.core.outcomes import has_ended, has_succeeded
from atom_workflows.errors import JobRefused, TaskRunnerError, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer

_FORM: Final = '{"job": {"state": "RUNNING", "jobId": "job-17"}}'


def name_of_job(answer: JobAnswer) -> str:
    """Return a job's name for the report."""
    return f"job {answer.job_id}" if answer.job_id else "a job without an id"


def submit_first(session: Session, job: Job, key: str) -> tuple[JobAnswer | None, str]:
    """Return the first submission's response, or the problem with it."""
    try:
        first = session.submit(job, key)
    except TaskRunnerUnavailable as error:
        is_success = error.status is not None and error.status < 300  # noqa: PLR2004 (HTTP's classes)
        return None, f"{error}; answer with {_FORM}" if is_success else f"{error}"
    except TaskRunnerError as error:
        return None, f"{error}"
    if first.job_id or has_ended(first.state):
        return first, ""
    return None, f"the job is {first.state}, but the response has no usable jobId; answer with {_FORM}"


def check_keys(session: Session, job: Job, key: str, first: JobAnswer) -> Iterator[Row]:
    """Submit the same key again, then another key twice simultaneously."""
    advice = "answer a known key with its job, and do not start another job"
    try:
        again = session.submit(job, key)
    except TaskRunnerError as error:
        yield not_answered(SAME_KEY, error, advice)
    else:
        yield _compare(SAME_KEY, first, again, f"{advice}; otherwise a job may run twice when a response gets lost")
    other = session.key("at-once")
    try:
        one, two = session.submit_twice(job, other)
    except TaskRunnerError as error:
        yield not_answered(AT_ONCE, error, "answer both submissions with the same job")
        yield unchecked(OTHER_KEY, "a submission failed")
        return
    yield _compare(AT_ONCE, one, two, "claim the key and create the job atomically, since an event may arrive twice")
    if not (one.job_id and first.job_id):
        yield unchecked(OTHER_KEY, NO_ID)
    elif one.job_id == first.job_id:
        yield failed(OTHER_KEY, f"it was answered with job {first.job_id}, which has a different key; start a new job")
    else:
        yield ok(OTHER_KEY, f"it started job {one.job_id}")


def _compare(rule: str, one: JobAnswer, two: JobAnswer, advice: str) -> Row:
    if not (one.job_id and two.job_id):
        return unchecked(rule, NO_ID)
    if one.job_id == two.job_id:
        return ok(rule, f"job {one.job_id} both times")
    return failed(rule, f"jobs {one.job_id} and {two.job_id} were started; {advice}")


def check_no_start(session: Session, impossible: Job) -> Row:
    """Submit a job that cannot start."""
    advice = "refuse it with HTTP 400 and a message, or answer with a FAILED job"
    try:
        followed = session.follow(session.submit(impossible, session.key("cannot-start")))
    except JobRefused as error:
        return ok(NO_START, f"it was refused: {error}")
    except TaskRunnerError as error:
        return failed(NO_START, f"{error}; {advice}: without an answer, the step waits until its timeout")
    state = followed.answer.state
    if not followed.has_ended:
        return failed(NO_START, f"it did not end within {session.timeout_s:g} s; {advice}")
    if has_succeeded(state):
        return failed(NO_START, f"it is reported as {state}; {advice}")
    return ok(NO_START, f"it ended as {state}: {followed.answer.message or 'no message'}")
