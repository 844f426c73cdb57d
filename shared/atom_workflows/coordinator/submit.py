"""Submitting a claimed step to the Task Runner, and what its answer makes of the step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.services import Services
from atom_workflows.core.polling import poll_interval
from atom_workflows.core.records import StepRecord
from atom_workflows.core.transitions import (
    Outcome,
    OutcomeKind,
    StepChange,
    apply_outcome,
    defer,
    outcome_of,
    record_job,
    repeat_or_fail,
)
from atom_workflows.core.workflow import JsonValue
from atom_workflows.errors import JobConflict, JobRefused, RequestNotAccepted, TaskRunnerUnavailable

SUBMIT_BUDGET: Final = timedelta(seconds=80)
"""How long one submission may take at the most: the client's own limits, with getting a token, are below it. With less
of the lease left than this, another instance might submit the same attempt while we still do."""


def submit(services: Services, step: StepRecord) -> StepChange | None:
    """Ask for the step's job; None for a step that has none, which nobody claims.

    The port's four results are handled here: answered, refused, not accepted, unknown.
    """
    if step.request is None or step.due_at is None:
        return None
    url, now = step.task_runner_url, services.clock.now()
    held_back = services.breaker.held_back(url, now)
    if step.due_at - now < SUBMIT_BUDGET:
        held_back = RequestNotAccepted("it was not asked: too little of the lease was left")
    if held_back is not None:
        return _deferred(services, step, held_back)
    try:
        change = _asked(services, step, step.request)
    except RequestNotAccepted as error:
        if not error.is_busy:
            services.breaker.failed(url, error.reason, began=now, now=services.clock.now())
        return _deferred(services, step, error)
    except TaskRunnerUnavailable as error:
        services.breaker.failed(url, error.reason, began=now, now=services.clock.now())
        return _unknown(services, step, error)
    services.breaker.answered(url)
    return change


def _asked(services: Services, step: StepRecord, request: Mapping[str, JsonValue]) -> StepChange | None:
    """Submit the step. Raises `TaskRunnerUnavailable` if that was neither answered nor refused."""
    try:
        answer = services.task_runner.submit(step.task_runner_url, request, idempotency_key=step.idempotency_key)
    except JobConflict as error:
        return _conflicting(services, step, error)
    except JobRefused as error:
        return _refused(services, step, error)
    now = services.clock.now()
    outcome = outcome_of(step, job_id=answer.job_id, job_state=answer.state, message=answer.message)
    if outcome is not None:
        return apply_outcome(step, outcome, now=now)
    if not answer.job_id:
        raise TaskRunnerUnavailable(f"it answered {answer.state} without a jobId that can be used")
    return record_job(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        first_poll=now + poll_interval(timedelta(0), services.settings.check_interval),
    )


def _conflicting(services: Services, step: StepRecord, error: JobConflict) -> StepChange | None:
    """Fail the step, unless it may be an earlier submission of its own that is in the way."""
    if step.is_unsure:
        reason = f"an earlier submission may be at work: {error}"
        return _unknown(services, step, TaskRunnerUnavailable(reason, retry_after_s=error.retry_after_s))
    if error.retry_after_s is not None:
        return _deferred(services, step, RequestNotAccepted(str(error), retry_after_s=error.retry_after_s))
    return _refused(services, step, error)


def _refused(services: Services, step: StepRecord, error: JobRefused) -> StepChange | None:
    """Fail the step."""
    beside = "; an earlier submission of this attempt may have started a job" if step.is_unsure else ""
    refused = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.REFUSED, message=f"{error}{beside}")
    return apply_outcome(step, refused, now=services.clock.now())


def _unknown(services: Services, step: StepRecord, error: TaskRunnerUnavailable) -> StepChange:
    _warn(step, f"the submission of step {step.id} may have started a job: {error.reason}")
    now = services.clock.now()
    return repeat_or_fail(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)


def _deferred(services: Services, step: StepRecord, error: RequestNotAccepted) -> StepChange:
    _warn(step, f"step {step.id} could not be submitted: {error.reason}")
    now = services.clock.now()
    return defer(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s, is_busy=error.is_busy)


def _warn(step: StepRecord, message: str) -> None:
    log.warned("task_runner.unavailable", message, **step.names)
