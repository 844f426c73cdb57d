"""`runner check` takes no longer than about two minutes if calls hang."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_client.runner_check.optional import check_optional
from atom_client.runner_check.required import check_required
from atom_client.runner_check.results import Seen, Verdict
from atom_client.runner_check.rule_names import FAILURE, STOP
from atom_client.runner_check.session import MOST_HANGING_S, Job, Session
from atom_workflows.adapters.task_runner.client import STATUS_TIMEOUT_S, SUBMIT_TIMEOUT_S
from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer, StopAnswer

JOB: Final = Job(name="job", task={})


@dataclass(slots=True, kw_only=True)
class Hangs:
    """A Task Runner that answers a few calls, and leaves all others without an answer."""

    answers: int
    now_s: float = 0.0

    def _take(self, seconds: float) -> JobAnswer:
        self.answers -= 1
        if self.answers >= 0:
            return JobAnswer(job_id="job-1", state="RUNNING")
        self.now_s += seconds
        raise TaskRunnerUnavailable("no answer in time")

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:  # noqa: ARG002 (it hangs whatever is asked)
        """See `ports.TaskRunner.submit`."""
        return self._take(SUBMIT_TIMEOUT_S)

    def status(self, base_url: str, job_id: str) -> JobAnswer:  # noqa: ARG002 (see above)
        """See `ports.TaskRunner.status`."""
        return self._take(STATUS_TIMEOUT_S)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:  # noqa: ARG002 (see above)
        """See `ports.TaskRunner.stop`."""
        self._take(STATUS_TIMEOUT_S)
        return StopAnswer.STOPPING

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:  # noqa: ARG002 (see above)
        """See `ports.TaskRunner.look_up`."""
        return self._take(STATUS_TIMEOUT_S)


@pytest.mark.parametrize("answers", range(12))
def test_a_task_runner_that_hangs_is_called_for_two_minutes_at_most(answers: int) -> None:
    """Once calls have hung for a minute altogether, no others are made, and their rules are not checked."""
    hangs = Hangs(answers=answers)

    def sleep(seconds: float) -> None:
        hangs.now_s += seconds

    # A job that runs for long is not what this is about.
    session = Session(task_runner=hangs, url="http://x", timeout_s=5, sleep=sleep, now=lambda: hangs.now_s)
    seen = Seen()
    rows = [*check_required(session, JOB, JOB, seen), *check_optional(session, JOB, seen)]
    assert hangs.now_s <= MOST_HANGING_S + SUBMIT_TIMEOUT_S + 20
    if answers:
        verdicts = {row.rule: row.verdict for row in rows}
        assert Verdict.FAILED in verdicts.values()
        assert {verdicts[FAILURE], verdicts[STOP]} <= {Verdict.UNCHECKED, Verdict.FAILED}
    if answers == 1:
        assert {verdicts[FAILURE], verdicts[STOP]} == {Verdict.UNCHECKED}
