"""Poll jobs at their Task Runners, and leave Task Runners alone that do not answer."""

from __future__ import annotations

from atom_workflows import log
from atom_workflows.coordinator.circuit_breaker import CircuitBreaker
from atom_workflows.coordinator.services import Services
from atom_workflows.core.polling import poll_failed, still_running, unknown_job
from atom_workflows.core.records import StepRecord
from atom_workflows.core.timeouts import judge_overdue
from atom_workflows.core.transitions import Outcome, StepChange, outcome_of
from atom_workflows.errors import JobUnknown, TaskRunnerUnavailable


def poll(services: Services, breaker: CircuitBreaker, step: StepRecord) -> StepChange | Outcome | None:
    """Poll a job.

    Returns its outcome or what changed, None if nothing did.
    """
    url, began = step.task_runner_url, services.clock.now()
    found: StepChange | Outcome | None = None
    heard = False
    if not breaker.reason_to_wait(url, began):
        try:
            found, heard = ask(services, step), True
            breaker.record_answer(url)
        except TaskRunnerUnavailable as error:
            message = f"polling job {step.job_id} of step {step.id} failed: {error.reason}"
            log.warning("task_runner.unavailable", message, **step.names)
            now = services.clock.now()
            breaker.record_failure(url, "", began=began, now=now)
            found = poll_failed(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)
        except Exception as error:  # noqa: BLE001 (a defect that one job meets would end the burst for all jobs)
            # It says nothing about the Task Runner or the job.
            message = f"polling job {step.job_id} of step {step.id} failed: a defect"
            log.error("poll.failed", message, trace_of=error, **step.names)
    # An answer from before the deadline does not show how the job stood at the deadline, so compare with `began`.
    return judge_overdue(step, found, heard=heard, now=began)


def ask(services: Services, step: StepRecord) -> StepChange | Outcome | None:
    """Make the call.

    Raises `TaskRunnerUnavailable`.
    """
    try:
        answer = services.task_runner.status(step.task_runner_url, step.job_id)
    except JobUnknown:
        return unknown_job(step, now=services.clock.now())
    outcome = outcome_of(step, job_id=answer.job_id or step.job_id, job_state=answer.state, message=answer.message)
    now = services.clock.now()
    return outcome or still_running(step, job_state=answer.state, message=answer.message, now=now)
