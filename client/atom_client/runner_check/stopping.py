"""Check how a Task Runner stops jobs and finds them by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.results import NO_ID, Row, failed, not_answered, ok, unchecked, unsupported
from atom_client.runner_check.rule_names import LOOKUP, STOP, STOP_AGAIN, STOP_UNKNOWN, STOPS
from atom_client.runner_check.session import Job, Session
from atom_workflows.core.outcomes import has_ended, has_succeeded
from atom_workflows.errors import JobUnknown, LookupUnsupported, TaskRunnerError
from atom_workflows.ports import JobAnswer, StopAnswer

_STOPPED: Final = "stops"


def check_stop(session: Session, job: Job) -> Iterator[Row]:
    """Submit a job, look it up, stop it, and await its end."""
    try:
        answer = session.submit(job, session.key(_STOPPED))
        job_id = answer.job_id
        if not job_id:
            yield from (unchecked(rule, NO_ID) for rule in STOPS)
            return
        # Once the job has ended, its key may be forgotten.
        lookup = _check_lookup(session, job_id)
        stopped = session.stop(job_id)
    except TaskRunnerError as error:
        yield not_answered(STOP, error, "answer with HTTP 405 if jobs cannot be stopped")
        yield from (unchecked(rule, "no job could be stopped") for rule in STOPS[1:])
        return
    if stopped is StopAnswer.CANNOT:
        yield from (unsupported(rule, "jobs cannot be stopped, so a retry may overlap the old job") for rule in STOPS)
        return
    yield _check_that_it_ends(session, answer, stopped)
    try:
        again = session.stop(job_id)
    except TaskRunnerError as error:
        yield not_answered(STOP_AGAIN, error, "answer with HTTP 200, or with 404 if the job is no longer known")
    else:
        cannot = failed(STOP_AGAIN, "the first request was accepted, but the second was answered with HTTP 405 or 501")
        yield cannot if again is StopAnswer.CANNOT else ok(STOP_AGAIN, "stopping a job that has ended is allowed")
    try:
        session.stop(session.unknown_job())
    except TaskRunnerError as error:
        yield not_answered(STOP_UNKNOWN, error, "answer with HTTP 404 and a JSON object")
    else:
        yield ok(STOP_UNKNOWN, "it changes nothing")
    yield lookup


def _check_that_it_ends(session: Session, answer: JobAnswer, stopped: StopAnswer) -> Row:
    job_id = answer.job_id
    try:
        later = session.status(job_id)
        if stopped is StopAnswer.GONE and not has_ended(later.state):
            return failed(STOP, f"job {job_id} was reported as unknown, but its status is {later.state}")
        followed = session.follow(later)
    except JobUnknown:
        return ok(STOP, f"job {job_id} is gone")
    except TaskRunnerError as error:
        return not_answered(STOP, error)
    state = followed.answer.state
    if has_succeeded(state):
        return unchecked(STOP, f"job {job_id} ended as {state} before it could be stopped; give --stopping-args")
    if followed.has_ended:
        return ok(STOP, f"job {job_id} ended as {state}")
    waited = f"{session.timeout_s:g} s"
    return failed(STOP, f"the request was accepted, but after {waited}, job {job_id} is still {state}")


def _check_lookup(session: Session, job_id: str) -> Row:
    """Look up the job's key, and a key that was never submitted."""
    try:
        found = session.find(session.key(_STOPPED))
        if found is None:
            return _judge_unfound(session, job_id)
        other = session.look_up(session.key("never-submitted"))
    except LookupUnsupported:
        why = "so if a submission's response is lost, its job can be stopped only after a resubmission with its key"
        return unsupported(LOOKUP, f'no response to GET /jobstatus?key=… repeats the "key", {why}')
    except TaskRunnerError as error:
        return not_answered(LOOKUP, error, "answer with HTTP 404 if keys cannot be looked up")
    if found.job_id != job_id:
        return failed(LOOKUP, f"looking up the key of job {job_id} found job {found.job_id}")
    if other is not None and (other.job_id == job_id or not _never_ran(other)):
        advice = 'answer with {"key": "…", "jobId": null}'
        return failed(LOOKUP, f"looking up a key that was never submitted found job {other.job_id}: {advice}")
    return ok(LOOKUP, f"job {job_id} was found by its key")


def _never_ran(job: JobAnswer) -> bool:
    """Return True if a job may exist only to block its key."""
    return has_ended(job.state) and not has_succeeded(job.state)


def _judge_unfound(session: Session, job_id: str) -> Row:
    """Judge a lookup that did not find a job by its key.

    That is allowed once the job has ended. Raises `TaskRunnerUnavailable`.
    """
    try:
        may_run = not has_ended(session.status(job_id).state)
    except JobUnknown:
        may_run = False
    if may_run:
        return failed(LOOKUP, f"job {job_id} was not found by its key: find each job that may still be running")
    return unchecked(LOOKUP, f"job {job_id} ended before it could be looked up; give --stopping-args")
