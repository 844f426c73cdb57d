"""Check the required rules: submissions, keys, states and unknown jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.results import NO_JOB, Row, Seen, failed, ok, unchecked
from atom_client.runner_check.rule_names import (
    AT_ONCE,
    FAILURE,
    KEY_AFTER_END,
    OTHER_KEY,
    SAME_KEY,
    STATUS,
    STAYS,
    SUBMISSION,
    SUCCESS,
    UNKNOWN,
)
from atom_client.runner_check.session import Job, Session
from atom_client.runner_check.states import check_failure, check_life, check_unknown_job
from atom_client.runner_check.submissions import check_keys, check_no_start, name_of_job, submit_first

_AFTER_SUBMISSION: Final = (SAME_KEY, AT_ONCE, OTHER_KEY, STATUS, SUCCESS, STAYS, KEY_AFTER_END, UNKNOWN, FAILURE)


def check_required(
    session: Session, succeeding: Job, failing: Job | None, seen: Seen, *, impossible: Job | None = None
) -> Iterator[Row]:
    """Yield a row for each required rule, once it is checked.

    `impossible` is a job that cannot start; only someone who knows the system that runs the jobs can specify one.
    """
    key = session.key("succeeds")
    first, problem = submit_first(session, succeeding, key)
    if first is None:
        yield failed(SUBMISSION, problem)
        yield from (unchecked(rule, NO_JOB) for rule in _AFTER_SUBMISSION)
        return
    seen.takes_jobs = True
    yield ok(SUBMISSION, f"{name_of_job(first)} was accepted, and is {first.state}")
    yield from check_keys(session, succeeding, key, first)
    yield from check_life(session, succeeding, key, first, seen)
    yield check_unknown_job(session)
    yield check_failure(session, failing, seen)
    if impossible is not None:
        yield check_no_start(session, impossible)
