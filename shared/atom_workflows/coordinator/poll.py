"""Asking Task Runners how jobs are doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import Outcome, StepChange, delayed, outcome_of
from atom_workflows.core.polling import POLL_BACKOFF, missing, observed, unanswered
from atom_workflows.core.records import StepRecord
from atom_workflows.core.timeouts import judge_overdue
from atom_workflows.errors import JobUnknown, TaskRunnerUnavailable

PATIENCE: Final = 3
"""Calls in a row to one Task Runner that may fail before the rest of its jobs are left for later."""


@dataclass(slots=True)
class _Silence:
    """How a Task Runner has failed to answer lately: calls in a row, and since and until when it is left alone.

    Calls that were on their way already when that began do not count.
    """

    failures: int = 0
    since: datetime | None = None
    until: datetime | None = None


@dataclass(slots=True)
class Polls:
    """The status calls of one burst: they end in time, and do not insist where nobody answers.

    A Task Runner that does not answer is left alone after `PATIENCE` failures in a row, for longer each time.
    """

    services: Services
    until: datetime
    _silences: dict[str, _Silence] = field(default_factory=dict)

    @property
    def are_over(self) -> bool:
        """Whether no further call is made."""
        return self.services.clock.now() >= self.until

    def __call__(self, step: StepRecord) -> StepChange | Outcome | None:
        """Return how the job ended, what changed of it, or None: it goes on as before, or was not asked for now."""
        silence = self._silences.setdefault(step.task_runner_url, _Silence())
        began = self.services.clock.now()
        if self.are_over:
            return None
        if silence.until is not None and began < silence.until:
            return judge_overdue(step, None, heard=False, now=began)
        found = self._asked(step)
        heard = not (isinstance(found, StepChange) and found.fields.get("unanswered"))
        if heard:
            silence.failures, silence.since, silence.until = 0, None, None
        elif silence.since is None or began > silence.since:
            silence.failures += 1
            if silence.failures >= PATIENCE:
                silence.since = self.services.clock.now()
                silence.until = silence.since + _left_alone(step.task_runner_url, silence.failures - PATIENCE)
        return judge_overdue(step, found, heard=heard, now=self.services.clock.now())

    def _asked(self, step: StepRecord) -> StepChange | Outcome | None:
        try:
            return poll(self.services, step)
        except Exception as error:  # noqa: BLE001 (a defect that one job meets would end the burst for all jobs)
            decision_log.failed(
                "poll.failed",
                f"job {step.job_id} of step {step.id} could not be looked at: a defect",
                trace_of=error,
                run_id=step.run_id,
                step_id=step.id,
                attempt=step.attempt,
            )
            return None

    def end(self) -> None:
        """Make no further call: whoever wanted the answers is gone."""
        self.until = datetime.min.replace(tzinfo=UTC)


def _left_alone(url: str, before: int) -> timedelta:
    return delayed(POLL_BACKOFF, tries=before + 1, seed=f"{url}/{before}", at_least_s=None)


def poll(services: Services, step: StepRecord) -> StepChange | Outcome | None:
    """How the job ended, what changed of it, or None: it goes on as before."""
    try:
        answer = services.task_runner.status(step.task_runner_url, step.job_id)
    except JobUnknown:
        return missing(step, now=services.clock.now())
    except TaskRunnerUnavailable as error:
        decision_log.warned(
            "task_runner.unavailable",
            f"job {step.job_id} of step {step.id} could not be looked at: {error.reason}",
            run_id=step.run_id,
            step_id=step.id,
            attempt=step.attempt,
        )
        now = services.clock.now()
        return unanswered(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)
    outcome = outcome_of(step, job_id=answer.job_id or step.job_id, job_state=answer.state, message=answer.message)
    now = services.clock.now()
    return outcome or observed(step, job_state=answer.state, message=answer.message, now=now)
