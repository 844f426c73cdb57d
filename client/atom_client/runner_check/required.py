"""What every Task Runner has to do: submissions, keys, states, and jobs that it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from atom_client.runner_check.results import Row, failed, not_answered, ok, unchecked
from atom_client.runner_check.session import Followed, Job, Session
from atom_workflows.core.outcomes import has_ended, has_succeeded, is_known_state
from atom_workflows.errors import JobRefused, JobUnknown, TaskRunnerError, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer

SUBMISSION: Final = "submission"
SAME_KEY: Final = "the same key again"
AT_ONCE: Final = "the same key twice at once"
OTHER_KEY: Final = "another key"
STATUS: Final = "status"
SUCCESS: Final = "a job that succeeds"
STAYS: Final = "a state that stays"
KEY_AFTER_END: Final = "the same key after the end"
UNKNOWN: Final = "an unknown job"
FAILURE: Final = "a job that fails"
NO_START: Final = "a job that cannot start"

_FORM: Final = '{"job": {"state": "RUNNING", "jobId": "job-17"}}'
NO_JOB: Final = "no job could be submitted"
NO_ID: Final = "the response to the submission reports a job that has ended but has no id"
_AFTER_SUBMISSION: Final = (SAME_KEY, AT_ONCE, OTHER_KEY, STATUS, SUCCESS, STAYS, KEY_AFTER_END, UNKNOWN, FAILURE)
_AFTER_STATUS: Final = (SUCCESS, STAYS, KEY_AFTER_END)


@dataclass(slots=True)
class Seen:
    """Results of the required checks that the optional ones use: how each of the two jobs ended, if it did."""

    takes_jobs: bool = False
    success: Followed | None = None
    failure: Followed | None = None


def check_required(
    session: Session, succeeding: Job, failing: Job | None, seen: Seen, *, impossible: Job | None = None
) -> Iterator[Row]:
    """Yield a row for each required rule, as soon as it has been checked.

    `impossible` is a job that cannot start; only someone who knows what runs the jobs can name one.
    """
    key = session.key("succeeds")
    first, problem = _submit_first(session, succeeding, key)
    if first is None:
        yield failed(SUBMISSION, problem)
        yield from (unchecked(rule, NO_JOB) for rule in _AFTER_SUBMISSION)
        return
    seen.takes_jobs = True
    yield ok(SUBMISSION, f"{_name(first)} was accepted, and is {first.state}")
    yield from _check_keys(session, succeeding, key, first)
    yield from _check_life(session, succeeding, key, first, seen)
    yield _check_unknown_job(session)
    yield _check_failure(session, failing, seen)
    if impossible is not None:
        yield _check_no_start(session, impossible)


def _name(answer: JobAnswer) -> str:
    return f"job {answer.job_id}" if answer.job_id else "a job without an id"


def _submit_first(session: Session, job: Job, key: str) -> tuple[JobAnswer | None, str]:
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


def _check_keys(session: Session, job: Job, key: str, first: JobAnswer) -> Iterator[Row]:
    """Submit the same key again, and another key twice at once."""
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
        return ok(rule, f"both times job {one.job_id}")
    return failed(rule, f"jobs {one.job_id} and {two.job_id} were started; {advice}")


def _check_life(session: Session, job: Job, key: str, first: JobAnswer, seen: Seen) -> Iterator[Row]:
    """Follow a job to its end, and check it again afterwards."""
    try:
        followed = session.follow(first)
    except TaskRunnerError as error:
        yield not_answered(STATUS, error)
        yield from (unchecked(rule, "the job could not be followed") for rule in _AFTER_STATUS)
        return
    yield _check_status(first, followed)
    if not followed.has_ended:
        yield failed(SUCCESS, f"job {first.job_id} has not ended within {session.timeout_s:g} s; {_why_open(followed)}")
        yield from (unchecked(rule, "the job has not ended") for rule in (STAYS, KEY_AFTER_END))
        return
    seen.success = followed
    end = followed.answer
    if has_succeeded(end.state):
        yield ok(SUCCESS, f"it ended as {end.state}")
    else:
        yield failed(SUCCESS, f"it ended as {end.state} ({end.message or 'no message'}); make sure this job succeeds")
    yield _check_that_it_stays(session, first.job_id, end)
    yield _check_key_after_end(session, job, key, end, first.job_id)


def _check_status(first: JobAnswer, followed: Followed) -> Row:
    answered = followed.answer.job_id
    if answered not in {"", first.job_id}:
        return failed(STATUS, f"a status call for job {first.job_id} was answered with job {answered}")
    return ok(STATUS, f"the states were {' → '.join(followed.states)}")


def _why_open(followed: Followed) -> str:
    """Explain why a job counts as open."""
    state = followed.answer.state
    if followed.problem:
        return f"the last status call failed: {followed.problem}"
    if is_known_state(state):
        return f"its state is still {state}; give --timeout if jobs take longer"
    return f"its state is {state}, which is not final: the contract's final states are SUCCEEDED, FAILED and CANCELLED"


def _check_that_it_stays(session: Session, job_id: str, end: JobAnswer) -> Row:
    if not job_id:
        return unchecked(STAYS, NO_ID)
    try:
        later = session.status(job_id)
    except TaskRunnerError as error:
        return not_answered(STAYS, error, "keep jobs that have ended, since their final state may be read later")
    if later.state != end.state:
        return failed(STAYS, f"it was {end.state} and is now {later.state}; a job that has ended must not change")
    return ok(STAYS, f"it is still {later.state}")


def _check_key_after_end(session: Session, job: Job, key: str, end: JobAnswer, job_id: str) -> Row:
    try:
        again = session.submit(job, key)
    except TaskRunnerError as error:
        return not_answered(KEY_AFTER_END, error, "answer with the job that has ended")
    if again.job_id not in {"", job_id}:
        return failed(KEY_AFTER_END, f"job {again.job_id} was started; answer with {job_id}, which has ended")
    if not has_ended(again.state):
        return failed(KEY_AFTER_END, f"job {job_id} was {end.state} and is now reported as {again.state}")
    return ok(KEY_AFTER_END, f"{_name(again)}, {again.state}")


def _check_unknown_job(session: Session) -> Row:
    job_id = session.unknown_job()
    example = json.dumps({"message": f"no job {job_id}"})
    form = f"answer with HTTP 404 and a JSON object without a job, such as {example}"
    try:
        answer = session.status(job_id)
    except JobUnknown:
        return ok(UNKNOWN, "it is reported as unknown")
    except TaskRunnerError as error:
        return not_answered(UNKNOWN, error, form)
    return failed(UNKNOWN, f"job {job_id}, which was never submitted, is reported as {answer.state}; {form}")


def _check_failure(session: Session, failing: Job | None, seen: Seen) -> Row:
    if failing is None:
        return unchecked(FAILURE, "give --failing-args (or --failing-image) to say which job fails")
    try:
        followed = session.follow(session.submit(failing, session.key("fails")))
    except TaskRunnerError as error:
        return not_answered(FAILURE, error)
    state = followed.answer.state
    if not followed.has_ended:
        return failed(FAILURE, f"it has not ended within {session.timeout_s:g} s; {_why_open(followed)}")
    seen.failure = followed
    if has_succeeded(state):
        return failed(FAILURE, f"it is reported as {state}; steps that depend on it would run")
    return ok(FAILURE, f"it ended as {state}: {followed.answer.message or 'no message'}")


def _check_no_start(session: Session, impossible: Job) -> Row:
    advice = "refuse it with HTTP 400 and a message, or answer with a FAILED job"
    try:
        followed = session.follow(session.submit(impossible, session.key("cannot-start")))
    except JobRefused as error:
        return ok(NO_START, f"it was refused: {error}")
    except TaskRunnerError as error:
        return failed(NO_START, f"{error}; {advice}: without an answer, its step waits until its timeout")
    state = followed.answer.state
    if not followed.has_ended:
        return failed(NO_START, f"it has not ended within {session.timeout_s:g} s; {advice}")
    if has_succeeded(state):
        return failed(NO_START, f"it is reported as {state}; {advice}")
    return ok(NO_START, f"it ended as {state}: {followed.answer.message or 'no message'}")
