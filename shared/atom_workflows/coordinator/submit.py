"""Submitting a claimed step to the Task Runner, and what its answer makes of the step."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import (
    Outcome,
    OutcomeKind,
    StepChange,
    deferred,
    outcome_of,
    settled,
    submitted,
)
from atom_workflows.core.polling import poll_interval
from atom_workflows.core.records import StepRecord
from atom_workflows.errors import JobRefused, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer

SUBMIT_BUDGET: Final = timedelta(seconds=80)
"""How long one submission may take at the most: the client's own limits, with getting a token, are below it. With less
of the lease left than this, another instance might submit the same attempt while we still do."""


def submit(services: Services, step: StepRecord) -> StepChange | None:
    """Ask for the step's job; None for a step that has none, which nobody claims."""
    if step.request is None or step.due_at is None:
        return None
    if step.due_at - services.clock.now() < SUBMIT_BUDGET:
        return _deferred(services, step, TaskRunnerUnavailable("it was not asked: too little of the lease was left"))
    try:
        answer = services.task_runner.submit(step.task_runner_url, step.request, idempotency_key=step.idempotency_key)
    except JobRefused as error:
        refused = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.REFUSED, message=str(error))
        return settled(step, refused, now=services.clock.now())
    except TaskRunnerUnavailable as error:
        return _deferred(services, step, error)
    return _answered(services, step, answer)


def _answered(services: Services, step: StepRecord, answer: JobAnswer) -> StepChange | None:
    now = services.clock.now()
    outcome = outcome_of(step, job_id=answer.job_id, job_state=answer.state, message=answer.message)
    if outcome is not None:
        return settled(step, outcome, now=now)
    if not answer.job_id:
        return _deferred(services, step, TaskRunnerUnavailable(f"it answered {answer.state} without a jobId"))
    return submitted(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        first_poll=now + poll_interval(timedelta(0), services.settings.check_interval),
    )


def _deferred(services: Services, step: StepRecord, error: TaskRunnerUnavailable) -> StepChange:
    decision_log.warned(
        "task_runner.unavailable",
        f"step {step.id} could not be submitted: {error.reason}",
        run_id=step.run_id,
        step_id=step.id,
        attempt=step.attempt,
    )
    return deferred(step, reason=error.reason, now=services.clock.now(), retry_after_s=error.retry_after_s)
