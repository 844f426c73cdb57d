"""What a Task Runner may do: return outputs and reasons, report logs and ends, stop jobs, and check tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.required import NO_ID, NO_JOB, Seen
from atom_client.runner_check.results import Row, failed, not_answered, ok, unchecked, unsupported
from atom_client.runner_check.session import Job, Session
from atom_client.text import clip, listing
from atom_workflows.core.outcomes import has_ended, has_succeeded
from atom_workflows.errors import JobUnknown, LookupUnsupported, TaskRunnerError, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer, StopAnswer, TaskRunner

OUTPUTS: Final = "outputs"
REASON: Final = "reason"
LOGS: Final = "logsUrl"
NOTIFIES: Final = "notifies"
STOP: Final = "stop"
STOP_AGAIN: Final = "stop again"
STOP_UNKNOWN: Final = "stop an unknown job"
LOOKUP: Final = "look up a key"
TOKEN: Final = "token"  # noqa: S105 (the name of a rule)
TIMES: Final = "response times"

STOPS: Final = (STOP, STOP_AGAIN, STOP_UNKNOWN, LOOKUP)
_DENIED: Final = frozenset({401, 403})
_LONGEST_NAMES: Final = 200
_STOPPED: Final = "stops"


def check_optional(session: Session, stoppable: Job, seen: Seen) -> Iterator[Row]:
    """Yield a row for each optional rule, as soon as it has been checked."""
    yield _check_outputs(seen)
    yield _check_reason(seen)
    yield from _check_hints_and_logs(seen)
    if seen.takes_jobs:
        yield from _check_stop(session, stoppable)
    else:
        yield from (unchecked(rule, NO_JOB) for rule in STOPS)
    slowest = (f"the slowest {call} took {seconds:.1f} s" for call, seconds in session.slowest_s.items())
    yield ok(TIMES, "; ".join(slowest))


def check_token(without_token: TaskRunner, session: Session) -> Row:
    """Check that a call without a token is refused."""
    try:
        without_token.status(session.url, session.unknown_job())
    except TaskRunnerUnavailable as error:
        if error.status in _DENIED:
            return ok(TOKEN, f"a call without one is refused with HTTP {error.status}")
        return unchecked(TOKEN, f"{error}")
    except JobUnknown:
        pass
    return unsupported(TOKEN, "a call without one is answered: anyone who can reach this Task Runner can run jobs")


def _check_outputs(seen: Seen) -> Row:
    end = None if seen.success is None else seen.success.answer
    if end is None:
        return unchecked(OUTPUTS, "no job has succeeded")
    if end.outputs_problem:
        return failed(OUTPUTS, end.outputs_problem)
    if not end.outputs:
        return unsupported(OUTPUTS, "the job that succeeded returned none")
    return ok(OUTPUTS, f"the job returned {clip(listing(list(json.loads(end.outputs))), _LONGEST_NAMES)}")


def _check_reason(seen: Seen) -> Row:
    if seen.failure is None:
        return unchecked(REASON, "no job has failed")
    reason = seen.failure.answer.reason
    return ok(REASON, f"the failed job's is {reason}") if reason else unsupported(REASON, "the failed job has none")


def _check_hints_and_logs(seen: Seen) -> Iterator[Row]:
    ends = [one.answer for one in (seen.success, seen.failure) if one is not None]
    if not ends:
        yield from (unchecked(rule, "no job has ended") for rule in (LOGS, NOTIFIES))
        return
    logs = next((end.logs_url for end in ends if end.logs_url), "")
    yield (
        ok(LOGS, logs)
        if logs
        else unsupported(LOGS, "no response had one that is an http or https URL without a password")
    )
    if any(end.notifies for end in ends):
        yield ok(NOTIFIES, "its responses say so; the messages themselves cannot be seen from here")
    else:
        yield unsupported(NOTIFIES, "no response had the JSON value true, so jobs are polled until they end")


def _check_stop(session: Session, job: Job) -> Iterator[Row]:
    """Submit a job, stop it, and follow it to its end."""
    try:
        answer = session.submit(job, session.key(_STOPPED))
        job_id = answer.job_id
        if not job_id:
            yield from (unchecked(rule, NO_ID) for rule in STOPS)
            return
        stopped = session.stop(job_id)
    except TaskRunnerError as error:
        yield not_answered(STOP, error, "answer with HTTP 405 if jobs cannot be stopped")
        yield from (unchecked(rule, "no job could be stopped") for rule in STOPS[1:])
        return
    if stopped is StopAnswer.CANNOT:
        yield from (unsupported(rule, "jobs cannot be stopped, so a retry may overlap a job") for rule in STOPS)
        return
    yield _check_that_it_ends(session, answer, stopped)
    yield _check_stop_again(session, job_id)
    yield _check_stop_unknown(session)
    yield _check_lookup(session, job_id)


def _check_that_it_ends(session: Session, answer: JobAnswer, stopped: StopAnswer) -> Row:
    job_id = answer.job_id
    try:
        later = session.status(job_id)
        if stopped is StopAnswer.GONE and not has_ended(later.state):
            return failed(STOP, f"job {job_id} was answered as unknown, but its status is {later.state}")
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
    return failed(STOP, f"the request was accepted, but after {waited} job {job_id} is still {state}")


def _check_stop_again(session: Session, job_id: str) -> Row:
    try:
        answer = session.stop(job_id)
    except TaskRunnerError as error:
        return not_answered(STOP_AGAIN, error, "answer with HTTP 200, or with 404 if the job is no longer known")
    if answer is StopAnswer.CANNOT:
        return failed(STOP_AGAIN, "the first request was accepted, the second one was answered with HTTP 405 or 501")
    return ok(STOP_AGAIN, "a job that has ended may be stopped again")


def _check_stop_unknown(session: Session) -> Row:
    try:
        session.stop(session.unknown_job())
    except TaskRunnerError as error:
        return not_answered(STOP_UNKNOWN, error, "answer with HTTP 404 and a JSON object")
    return ok(STOP_UNKNOWN, "it changes nothing")


def _check_lookup(session: Session, job_id: str) -> Row:
    """Look up the key of the job that was stopped, and one that was never submitted."""
    try:
        found = session.look_up(session.key(_STOPPED))
        other = session.look_up(session.key("never-submitted"))
    except LookupUnsupported:
        why = "so a job whose answer was lost can be stopped only after another submission with its key"
        return unsupported(LOOKUP, f'no response to GET /jobstatus?key=… repeats the "key", {why}')
    except TaskRunnerError as error:
        return not_answered(LOOKUP, error, "answer with HTTP 404 if keys cannot be looked up")
    if found is None:
        return failed(LOOKUP, f"job {job_id} was not found by its key: find each job that may still run")
    if found.job_id != job_id:
        return failed(LOOKUP, f"the key of job {job_id} was answered with job {found.job_id}")
    if other is not None:
        answer = '{"key": "…", "jobId": null}'
        return failed(LOOKUP, f"a key that was never submitted was answered with job {other.job_id}: answer {answer}")
    return ok(LOOKUP, f"job {job_id} was found by its key")
