"""Submit a claimed step to the Task Runner, and turn its answer into a change of the step.

The port has four results, and each has its own consequence: an answer is recorded, a refusal fails the step, a
submission that was not accepted is deferred, and an unknown one is repeated with the same key if `onLost` allows it.
"""

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
"""The longest time of one submission; the client's own limits, including a token request, are below it.

With less of the lease left than this, another instance might submit the same attempt at the same time.
"""


def submit(services: Services, step: StepRecord) -> StepChange | None:
    """Submit the step's job and return what that changes.

    None for a step without a job, which is never claimed.
    """
    if step.request is None or step.due_at is None:
        return None
    url, now = step.task_runner_url, services.clock.now()
    held_back = services.breaker.reason_to_wait(url, now)
    # While a claim lasts, `due_at` is the end of its lease.
    if step.due_at - now < SUBMIT_BUDGET:
        held_back = RequestNotAccepted("it was not called: too little of the lease was left")
    if held_back is not None:
        return _defer(services, step, held_back)
    try:
        change = _submit(services, step, step.request)
    except RequestNotAccepted as error:
        if not error.is_busy:
            services.breaker.record_failure(url, error.reason, began=now, now=services.clock.now())
        return _defer(services, step, error)
    except TaskRunnerUnavailable as error:
        services.breaker.record_failure(url, error.reason, began=now, now=services.clock.now())
        return _repeat_or_fail(services, step, error)
    services.breaker.record_answer(url)
    return change


def _submit(services: Services, step: StepRecord, request: Mapping[str, JsonValue]) -> StepChange | None:
    """Make the call and apply an answer or a refusal.

    Raises `TaskRunnerUnavailable` if there was neither, or `RequestNotAccepted` if nothing was started.
    """
    try:
        answer = services.task_runner.submit(step.task_runner_url, request, idempotency_key=step.idempotency_key)
    except JobConflict as error:
        return _resolve_conflict(services, step, error)
    except JobRefused as error:
        return _fail_refused(services, step, error)
    now = services.clock.now()
    outcome = outcome_of(step, job_id=answer.job_id, job_state=answer.state, message=answer.message)
    if outcome is not None:
        return apply_outcome(step, outcome, now=now)
    if not answer.job_id:
        raise TaskRunnerUnavailable(f"it answered {answer.state} without a usable jobId")
    return record_job(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        first_poll=now + poll_interval(timedelta(0), services.settings.check_interval),
    )


def _resolve_conflict(services: Services, step: StepRecord, error: JobConflict) -> StepChange | None:
    """Fail the step after a 409.

    It goes on if its own earlier submission may be the cause, or if the server asks for a later try.
    """
    if step.is_unsure:
        reason = f"an earlier submission may be under way: {error}"
        return _repeat_or_fail(services, step, TaskRunnerUnavailable(reason, retry_after_s=error.retry_after_s))
    if error.retry_after_s is not None:
        return _defer(services, step, RequestNotAccepted(str(error), retry_after_s=error.retry_after_s))
    return _fail_refused(services, step, error)


def _fail_refused(services: Services, step: StepRecord, error: JobRefused) -> StepChange | None:
    beside = "; an earlier submission of this attempt may have started a job" if step.is_unsure else ""
    refused = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.REFUSED, message=f"{error}{beside}")
    return apply_outcome(step, refused, now=services.clock.now())


def _repeat_or_fail(services: Services, step: StepRecord, error: TaskRunnerUnavailable) -> StepChange:
    message = f"the submission of step {step.id} may have started a job: {error.reason}"
    log.warned("task_runner.unavailable", message, **step.names)
    now = services.clock.now()
    return repeat_or_fail(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)


def _defer(services: Services, step: StepRecord, error: RequestNotAccepted) -> StepChange:
    message = f"step {step.id} could not be submitted: {error.reason}"
    log.warned("task_runner.unavailable", message, **step.names)
    now = services.clock.now()
    return defer(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s, is_busy=error.is_busy)
