"""Submit a step's job, and turn the response into a step change.

Nothing is saved here: the caller commits the change. A submission that may have started a job is repeated with the same
key, and one that started nothing is deferred.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.conditions import body_of_job
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.stopping import look_up_attempt, resolve_attempt, stop_leftover
from atom_workflows.core.changes import StepChange
from atom_workflows.core.outcomes import Outcome, OutcomeKind, outcome_of
from atom_workflows.core.polling import first_wait
from atom_workflows.core.records import StepRecord
from atom_workflows.core.transitions import apply_outcome, defer, record_job, repeat_or_fail
from atom_workflows.core.workflow import JsonValue
from atom_workflows.errors import (
    ExpressionError,
    JobConflict,
    JobRefused,
    RequestNotAccepted,
    StoreUnavailable,
    TaskRunnerUnavailable,
)

SUBMIT_BUDGET: Final = timedelta(seconds=80)
"""The maximum time for one submission. The client's own limits, including that of a token request, add up to less.

If less than this remains of the lease, another instance might submit the same attempt at the same time.
"""


def submit(services: Services, step: StepRecord) -> StepChange | None:
    """Submit the step's job and return the resulting change.

    Returns None for a step without a job, which is never claimed.
    """
    if step.request is None or step.due_at is None:
        return None
    if step.unresolved or step.leftovers:
        return _submit_after_earlier(services, step)
    if held_back := _reason_to_wait(services, step):
        return _defer(services, step, held_back)
    return _submit_rendered(services, step) if step.templates else _submit(services, step, step.request)


def _submit_after_earlier(services: Services, step: StepRecord) -> StepChange | None:
    """Submit the step's job once the jobs of earlier attempts have ended."""
    # To find out the job of an earlier attempt may be to submit it again, which may start a job. So the jobs that are
    # known end first, and so does each job that was found, before the next attempt is looked for.
    settled = stop_leftover(services, step) if step.leftovers else _resolve(services, step)
    if settled is None or isinstance(settled, StepChange):
        return settled
    change = submit(services, replace(step, **settled))
    return None if change is None else replace(change, fields={**settled, **change.fields})


def _resolve(services: Services, step: StepRecord) -> StepChange | dict[str, Any] | None:
    """Identify the job of the first attempt whose job id is unknown."""
    settled = look_up_attempt(services, step)
    if settled is not None:
        return settled
    body = _render(services, step)
    if body is None or isinstance(body, StepChange):
        return body
    if held_back := _reason_to_wait(services, step, is_own=False):
        return _defer(services, step, held_back)
    return resolve_attempt(services, step, body)


def _render(services: Services, step: StepRecord) -> Mapping[str, JsonValue] | StepChange | None:
    """Return the job's body, or a change if it cannot be built."""
    if not step.templates:
        return step.request
    try:
        return body_of_job(services, step)
    except ExpressionError as error:
        failed = Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.EXPRESSION, message=str(error))
        return apply_outcome(step, failed, now=services.clock.now())
    except StoreUnavailable as error:
        return _defer(
            services, step, RequestNotAccepted(f"the values that its expressions need could not be read: {error}")
        )


def _submit_rendered(services: Services, step: StepRecord) -> StepChange | None:
    """Evaluate the expressions of the step's task, then submit its job."""
    request = _render(services, step)
    if request is None or isinstance(request, StepChange):
        return request
    # Reading what they need may have taken long.
    if held_back := _reason_to_wait(services, step):
        return _defer(services, step, held_back)
    change = _submit(services, step, request)
    sent = json.dumps(request, separators=(",", ":"), ensure_ascii=False)
    return None if change is None else replace(change, fields={**change.fields, "sent": sent})


def _reason_to_wait(services: Services, step: StepRecord, *, is_own: bool = True) -> RequestNotAccepted | None:
    """Return the reason not to submit anything now, if any.

    `is_own` is False if an earlier attempt is being submitted again; the circuit breaker is then checked later.
    """
    now = services.clock.now()
    # While a claim lasts, `due_at` is the end of its lease.
    if step.due_at is None or step.due_at - now < SUBMIT_BUDGET:
        return RequestNotAccepted("it was not called: too little of the step's lease was left")
    return services.breaker.reason_to_wait(step.task_runner_url, now) if is_own else None


def _submit(services: Services, step: StepRecord, request: Mapping[str, JsonValue]) -> StepChange | None:
    """Make the call, and report its result to the circuit breaker."""
    url, began = step.task_runner_url, services.clock.now()
    try:
        change = _call(services, step, request)
    except RequestNotAccepted as error:
        if not error.is_busy:
            services.breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        return _defer(services, step, error)
    except TaskRunnerUnavailable as error:
        services.breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        return _repeat_or_fail(services, step, error)
    services.breaker.record_answer(url)
    return change


def _call(services: Services, step: StepRecord, request: Mapping[str, JsonValue]) -> StepChange | None:
    """Make the call and apply the response, which may be a refusal.

    Raises `TaskRunnerUnavailable` if there was no usable response, or `RequestNotAccepted` if nothing was started.
    """
    now = services.clock.now()
    try:
        answer = services.task_runner.submit(
            step.task_runner_url,
            request,
            idempotency_key=step.idempotency_key,
            timeout=(step.attempt_deadline or now + step.policies.timeout) - now,
        )
    except JobConflict as error:
        return _resolve_conflict(services, step, error)
    except JobRefused as error:
        return _fail_refused(services, step, error)
    now = services.clock.now()
    outcome = outcome_of(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        outputs=answer.outputs,
        outputs_problem=answer.outputs_problem,
        reason=answer.reason,
        logs_url=answer.logs_url,
    )
    if outcome is not None:
        return apply_outcome(step, outcome, now=now)
    if not answer.job_id:
        raise TaskRunnerUnavailable(f"it reported {answer.state} without a usable jobId")
    return record_job(
        step,
        job_id=answer.job_id,
        job_state=answer.state,
        message=answer.message,
        first_poll=now + first_wait(services.settings.check_interval, notifies=answer.notifies),
        logs_url=answer.logs_url,
        notifies=answer.notifies,
    )


def _resolve_conflict(services: Services, step: StepRecord, error: JobConflict) -> StepChange | None:
    """Fail the step after an HTTP 409 response.

    If the step's own earlier submission may be the cause, or if the server asks for a retry, the step is submitted
    again later instead.
    """
    if step.is_unsure:
        reason = f"an earlier submission may still be in progress: {error}"
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
    log.warning("task_runner.unavailable", message, **step.names)
    now = services.clock.now()
    return repeat_or_fail(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)


def _defer(services: Services, step: StepRecord, error: RequestNotAccepted) -> StepChange:
    message = f"step {step.id} could not be submitted: {error.reason}"
    log.warning("task_runner.unavailable", message, **step.names)
    now = services.clock.now()
    return defer(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s, is_busy=error.is_busy)
