"""Asking Task Runners how jobs are doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from atom_workflows import log as decision_log
from atom_workflows.coordinator.restraint import Restraint
from atom_workflows.coordinator.services import Services
from atom_workflows.core.polling import POLL_BACKOFF, missing, observed, unanswered
from atom_workflows.core.records import StepRecord
from atom_workflows.core.timeouts import judge_overdue
from atom_workflows.core.transitions import Outcome, StepChange, outcome_of
from atom_workflows.errors import JobUnknown, TaskRunnerUnavailable


@dataclass(slots=True)
class Polls:
    """The status calls of one burst: they end in time, and do not insist where nobody answers.

    A Task Runner that does not answer is left alone, for longer each time.
    """

    services: Services
    until: datetime
    _restraint: Restraint = field(default_factory=lambda: Restraint(POLL_BACKOFF))

    @property
    def are_over(self) -> bool:
        """Whether no further call is made."""
        return self.services.clock.now() >= self.until

    def __call__(self, step: StepRecord) -> StepChange | Outcome | None:
        """Return how the job ended, what changed of it, or None: it goes on as before, or was not asked for now."""
        url, began = step.task_runner_url, self.services.clock.now()
        if self.are_over:
            return None
        if self._restraint.held_back(url, began):
            return judge_overdue(step, None, heard=False, now=began)
        try:
            found = poll(self.services, step)
        except Exception as error:  # noqa: BLE001 (a defect that one job meets would end the burst for all jobs)
            message = f"job {step.job_id} of step {step.id} could not be looked at: a defect"
            decision_log.failed("poll.failed", message, trace_of=error, **step.names)
            # It says nothing about the Task Runner, and nothing about the job.
            return judge_overdue(step, None, heard=False, now=began)
        now = self.services.clock.now()
        heard = not (isinstance(found, StepChange) and found.fields.get("unanswered"))
        if heard:
            self._restraint.answered(url)
        else:
            self._restraint.failed(url, "", began=began, now=now)
        # What was said before the deadline tells nothing of how the job stood then.
        return judge_overdue(step, found, heard=heard, now=began)

    def end(self) -> None:
        """Make no further call: whoever wanted the answers is gone."""
        self.until = datetime.min.replace(tzinfo=UTC)


def poll(services: Services, step: StepRecord) -> StepChange | Outcome | None:
    """How the job ended, what changed of it, or None: it goes on as before."""
    try:
        answer = services.task_runner.status(step.task_runner_url, step.job_id)
    except JobUnknown:
        return missing(step, now=services.clock.now())
    except TaskRunnerUnavailable as error:
        message = f"job {step.job_id} of step {step.id} could not be looked at: {error.reason}"
        decision_log.warned("task_runner.unavailable", message, **step.names)
        now = services.clock.now()
        return unanswered(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)
    outcome = outcome_of(step, job_id=answer.job_id or step.job_id, job_state=answer.state, message=answer.message)
    now = services.clock.now()
    return outcome or observed(step, job_state=answer.state, message=answer.message, now=now)
