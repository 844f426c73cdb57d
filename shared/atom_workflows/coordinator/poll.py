"""Asking Task Runners how jobs are doing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import Outcome, StepChange, outcome_of
from atom_workflows.core.polling import missing, observed, unanswered
from atom_workflows.core.records import StepRecord
from atom_workflows.errors import JobUnknown, TaskRunnerUnavailable

PATIENCE: Final = 3
"""Calls in a row to one Task Runner that may fail before the rest of its jobs are left for later."""


@dataclass(slots=True)
class Polls:
    """The status calls of one look at many jobs: they end in time, and do not insist where nobody answers."""

    services: Services
    until: datetime
    _failures: Counter[str] = field(default_factory=Counter)

    def __call__(self, step: StepRecord) -> StepChange | Outcome | None:
        """How the job ended, what changed of it, or None: it goes on as before, or was not asked for now."""
        url = step.task_runner_url
        if self._failures[url] >= PATIENCE or self.services.clock.now() >= self.until:
            return None
        found = poll(self.services, step)
        was_answered = not (isinstance(found, StepChange) and found.fields.get("unanswered"))
        self._failures[url] = 0 if was_answered else self._failures[url] + 1
        return found


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
