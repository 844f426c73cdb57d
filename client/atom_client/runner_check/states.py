"""Check the states that a Task Runner reports, even of unknown jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.results import NO_ID, Row, Seen, failed, not_answered, ok, unchecked
from atom_client.runner_check.rule_names import FAILURE, KEY_AFTER_END, STATUS, STAYS, SUCCESS, UNKNOWN
from atom_client.runner_check.session import Followed, Job, Session
from atom_client.runner_check.submissions import name_of_job
from atom_workflows.core.outcomes import has_ended, has_succeeded, is_known_state
from atom_workflows.errors import JobUnknown, TaskRunnerError
from atom_workflows.ports import JobAnswer

_AFTER_STATUS: Final = (SUCCESS, STAYS, KEY_AFTER_END)


def check_life(session: Session, job: Job, key: str, first: JobAnswer, seen: Seen) -> Iterator[Row]:
    """Follow a job to its end, and check it again afterwards."""
    try:
        followed = session.follow(first)
    except TaskRunnerError as error:
        yield not_answered(STATUS, error)
        yield from (unchecked(rule, "the job could not be followed") for rule in _AFTER_STATUS)
        return
    answered = followed.answer.job_id
    if answered in {"", first.job_id}:
        yield ok(STATUS, f"the states were {' → '.join(followed.states)}")
    else:
        yield failed(STATUS, f"the response to a status call for job {first.job_id} is about job {answered}")
    if not followed.has_ended:
        yield failed(SUCCESS, f"job {first.job_id} did not end within {session.timeout_s:g} s; {_why_open(followed)}")
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


def _why_open(followed: Followed) -> str:
    """Explain why a job counts as open."""
    state = followed.answer.state
    if followed.problem:
        return f"the last status call failed: {followed.problem}"
    if is_known_state(state):
        return f"its state is still {state}; increase --timeout if jobs take longer"
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
    return ok(KEY_AFTER_END, f"{name_of_job(again)}, {again.state}")


def check_unknown_job(session: Session) -> Row:
    """Ask for the status of a job that was never submitted."""
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


def check_failure(session: Session, failing: Job | None, seen: Seen) -> Row:
    """Follow a failing job until it ends."""
    if failing is None:
        return unchecked(FAILURE, "give --failing-args (or --failing-image) to say which job fails")
    try:
        followed = session.follow(session.submit(failing, session.key("fails")))
    except TaskRunnerError as error:
        return not_answered(FAILURE, error)
    state = followed.answer.state
    if not followed.has_ended:
        return failed(FAILURE, f"it did not end within {session.timeout_s:g} s; {_why_open(followed)}")
    seen.failure = followed
    if has_succeeded(state):
        return failed(FAILURE, f"it is reported as {state}; steps that depend on it would run")
    return ok(FAILURE, f"it ended as {state}: {followed.answer.message or 'no message'}")
