"""Check the optional rules: outputs, reasons, logs, ends, stopping and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atom_client.runner_check.answers import check_hints_and_logs, check_outputs, check_reason
from atom_client.runner_check.results import NO_JOB, Row, Seen, ok, unchecked, unsupported
from atom_client.runner_check.rule_names import STOPS, TIMES, TOKEN
from atom_client.runner_check.session import Job, Session
from atom_client.runner_check.stopping import check_stop
from atom_workflows.errors import JobUnknown, TaskRunnerUnavailable
from atom_workflows.ports import TaskRunner

_DENIED: Final = frozenset({401, 403})


def check_optional(session: Session, stoppable: Job, seen: Seen) -> Iterator[Row]:
    """Yield a row for each optional rule, once it is checked."""
    yield check_outputs(seen)
    yield check_reason(seen)
    yield from check_hints_and_logs(seen)
    if seen.takes_jobs:
        yield from check_stop(session, stoppable)
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
            return ok(TOKEN, f"a call without a token is refused with HTTP {error.status}")
        return unchecked(TOKEN, f"{error}")
    except JobUnknown:
        pass
    return unsupported(TOKEN, "a call without a token is answered: anyone who can reach this Task Runner can run jobs")
