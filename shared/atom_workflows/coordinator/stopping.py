"""Ask Task Runners to stop jobs, and check whether they have ended.

The reason is saved before the request is sent (see core/stopping.py), so the request is repeated if its instance dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.limits import CircuitBreaker
from atom_workflows.coordinator.loading import StoredStep, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import StepChange, add_unstopped, attempts_to_resolve
from atom_workflows.core.outcomes import Outcome, has_ended, outcome_of
from atom_workflows.core.records import StepRecord, StopStage
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.stopping import (
    JobFate,
    KeyLookup,
    StopReport,
    forget_run_stop,
    is_close_late,
    judge_leftover,
    judge_lookup,
    judge_stop,
    judge_unresolved,
    record_orphan,
    was_accepted,
    was_stopped,
)
from atom_workflows.core.workflow import JsonValue, OnLost
from atom_workflows.documents import step_path
from atom_workflows.errors import (
    Conflict,
    JobConflict,
    JobRefused,
    JobUnknown,
    LookupUnsupported,
    RequestNotAccepted,
    StoreUnavailable,
    TaskRunnerUnavailable,
)
from atom_workflows.ports import JobAnswer, StopAnswer, Update

_FATES: Final[Mapping[StopAnswer | None, JobFate]] = {
    StopAnswer.STOPPING: JobFate.ACCEPTED,
    StopAnswer.GONE: JobFate.UNKNOWN,
    StopAnswer.CANNOT: JobFate.CANNOT,
    None: JobFate.UNANSWERED,
}

_TRIES: Final = 5
_MOST_ABANDONED: Final = 10
"""The maximum number of jobs looked up in one invocation; each lookup may take 10 s."""


def pursue_stop(services: Services, breaker: CircuitBreaker, step: StepRecord) -> StepChange | Outcome | None:
    """Have the job of a RUNNING step stopped, and decide what follows.

    Returns None if there is nothing new.
    """
    now = services.clock.now()
    if is_close_late(step, now=now) and not _is_run_stopped(services, step.run_id):
        return forget_run_stop(step, now=now)
    if step.is_stop_over:
        return None
    is_accepted = step.stop_stage == StopStage.ACCEPTED
    report = _look(services, breaker, step, step.job_id, is_accepted=is_accepted)
    return judge_stop(step, report, now=services.clock.now(), stop_timeout=services.settings.stop_timeout)


def _is_run_stopped(services: Services, run_id: str) -> bool:
    """Return True if the run is missing, ended or being stopped."""
    stored = load_run(services, run_id)
    return stored is None or stored.run.stop is not None or stored.run.state.is_terminal


def look_up_attempt(services: Services, step: StepRecord) -> StepChange | dict[str, Any] | None:
    """Look up the job of the first attempt lacking a job id.

    Also decides whether the step may continue. Returns the change to save instead, the fields to save together with
    the submission, or None if the earlier attempt has to be submitted again.
    """
    settings = services.settings
    lookup, job_id = _look_up(services, replace(step, attempt=step.unresolved[0]))
    return judge_lookup(
        step,
        lookup,
        job_id,
        now=services.clock.now(),
        lease=settings.lease,
        stop_timeout=settings.stop_timeout,
        check_interval=settings.check_interval,
    )


def resolve_attempt(services: Services, step: StepRecord, body: Mapping[str, JsonValue]) -> StepChange | dict[str, Any]:
    """Submit an earlier attempt again to find out its job's id.

    Also decides whether the step may continue. `body` is the body of the step's own job. Returns the change to save
    instead, or the fields to save together with the submission.
    """
    settings = services.settings
    # With `onLost: fail`, this begins only after the lease of whoever submitted the attempt (see core/stopping.py).
    began_after = settings.lease if step.policies.on_lost is OnLost.FAIL else timedelta(0)
    job_id, was_sent = _find_job(services, replace(step, attempt=step.unresolved[0]), body)
    return judge_unresolved(
        step,
        job_id=job_id,
        was_sent=was_sent,
        now=services.clock.now(),
        longest=began_after + settings.stop_timeout,
        check_interval=settings.check_interval,
    )


def _find_job(services: Services, earlier: StepRecord, body: Mapping[str, JsonValue]) -> tuple[str | None, bool]:
    """Submit an earlier attempt again, and return its job's id.

    The second value is True if the submission was sent. The id is "" if there is nothing to stop, or None if that is
    not known yet.
    """
    # If the Task Runner cannot stop jobs, the submission could only add another one. It need not know this name.
    answer = _ask(services, services.breaker, earlier, earlier.idempotency_key)
    if answer in {None, StopAnswer.CANNOT}:
        return (None if answer is None else ""), False
    url, began = earlier.task_runner_url, services.clock.now()
    try:
        found = services.task_runner.submit(
            url, body, idempotency_key=earlier.idempotency_key, timeout=earlier.policies.timeout
        )
    except JobConflict:
        # The submission that it conflicts with may be the one whose answer is unknown.
        return None, True
    except JobRefused:
        return "", True
    except TaskRunnerUnavailable as error:
        services.breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        message = f"the job of attempt {earlier.attempt} of step {earlier.id} could not be determined: {error.reason}"
        log.warning("task_runner.unavailable", message, **earlier.names)
        return None, not isinstance(error, RequestNotAccepted)
    services.breaker.record_answer(url)
    return ("" if has_ended(found.state) else found.job_id or None), True


def stop_leftover(services: Services, step: StepRecord) -> StepChange | dict[str, Any]:
    """Stop the first job that is left over from an earlier attempt.

    Also decides whether the step may continue. Returns the change to save instead, or the fields to save together with
    the submission.
    """
    report = _look(services, services.breaker, step, step.leftovers[0], is_accepted=was_accepted(step))
    return judge_leftover(
        step,
        report,
        now=services.clock.now(),
        stop_timeout=services.settings.stop_timeout,
        check_interval=services.settings.check_interval,
    )


def stop_orphans(services: Services, refused: Sequence[Decision], current: Sequence[StoredStep]) -> None:
    """Stop jobs that were submitted for attempts that have since ended.

    `refused` are decisions that could not be saved, and `current` are the same steps as they are now. If the attempt
    may still be submitted again, its job is left alone: a Task Runner that honors keys reports the same job.
    """
    now_stored = {one.step.id: one for one in current}
    for decision in refused:
        step = decision.step
        job_id = decision.change.fields.get("job_id") if decision.change.event is StepEvent.SUBMIT else None
        if job_id:
            _stop_orphan(services, step, job_id, now_stored.get(step.id))


def stop_abandoned(outbox: Outbox, steps: Sequence[StoredStep]) -> None:
    """Stop jobs of stopped steps whose dispatchers died before recording them.

    The event of such a dispatcher is delivered again. Nothing else happens to a step that has ended, so its job would
    keep running until a user retries the run. This is best effort: a job that is not found yet is left to that retry.
    Lookups may take long, so the outbox is emptied first.
    """
    ended = [one for one in steps if one.step.state.is_terminal and attempts_to_resolve(one.step)]
    stored = load_run(outbox.services, ended[0].step.run_id) if ended else None
    stopped = [] if stored is None else [one for one in ended if was_stopped(one.step, stored.run)]
    abandoned = [(one, attempt) for one in stopped for attempt in attempts_to_resolve(one.step)]
    if abandoned:
        outbox.flush()
    for one, attempt in abandoned[:_MOST_ABANDONED]:
        earlier = replace(one.step, attempt=attempt)
        lookup, job_id = _look_up(outbox.services, earlier)
        if lookup in {KeyLookup.UNANSWERED, KeyLookup.CANNOT}:
            return
        if job_id:
            _stop_orphan(outbox.services, earlier, job_id, one)


def _stop_orphan(services: Services, step: StepRecord, job_id: str, stored: StoredStep | None) -> None:
    """Record an ended attempt's job, then request that it be stopped.

    `step` is the step as it was during that attempt, and `stored` is the step as it is now.
    """
    left: StoredStep | None = None
    for _ in range(_TRIES):
        if stored is not None and _may_own(stored.step, step.attempt, job_id):
            return
        if stored is None or not _may_record(stored.step, step.attempt):
            break
        left = _save_orphan(services, stored, record_orphan(stored.step, step.attempt, job_id))
        if left is not None:
            break
        # Someone else has changed it: a retry of the run may have reset it, or a dispatcher claimed it.
        stored = next(iter(load_steps(services, step.run_id, [step.id])), None)
    answer = _ask(services, services.breaker, step, job_id)
    if left is not None and answer in {None, StopAnswer.CANNOT}:
        _save_orphan(services, left, add_unstopped(left.step, job_id))


def _may_own(step: StepRecord, attempt: int, job_id: str) -> bool:
    may_submit_again = step.attempt == attempt and step.state is StepState.DISPATCHING
    return step.job_id == job_id or may_submit_again


def _may_record(step: StepRecord, attempt: int) -> bool:
    """Return True if a job recorded now delays the step's next submission.

    A step that a dispatcher has claimed is left alone, since the dispatcher could not record its own job otherwise.
    """
    is_waiting = step.state is StepState.DISPATCHING and step.answered and attempt in step.unresolved
    return step.state.is_terminal or step.state is StepState.RETRYING or is_waiting


def _save_orphan(services: Services, stored: StoredStep, fields: Mapping[str, Any]) -> StoredStep | None:
    """Return the step with the fields saved.

    Returns None if someone else has changed it or the store is unavailable.
    """
    written = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    update = Update(path=step_path(stored.step.run_id, stored.step.id), fields=written, guard=stored.version)
    try:
        (result,) = services.store.commit([update])
    except (Conflict, StoreUnavailable) as error:
        log.debug("job.orphan.unrecorded", f"the job to stop could not be recorded: {error}", **stored.step.names)
        return None
    return StoredStep(step=replace(stored.step, **fields), version=result.version)


# -- calls -----------------------------------------------------------------------------------------------------------


def _look(
    services: Services, breaker: CircuitBreaker, step: StepRecord, job_id: str, *, is_accepted: bool
) -> StopReport:
    """Request that a job be stopped, then query its state.

    The request is omitted if it was accepted earlier.
    """
    fate = JobFate.ACCEPTED if is_accepted else _FATES[_ask(services, breaker, step, job_id)]
    if fate is JobFate.CANNOT:
        return StopReport(fate=fate)
    try:
        answer = _status(services, breaker, step, job_id)
    except JobUnknown:
        return StopReport(fate=JobFate.GONE if fate is JobFate.ACCEPTED else JobFate.UNKNOWN)
    if answer is None:
        # Both answers are needed to believe that there is no such job.
        return StopReport(fate=JobFate.UNANSWERED if fate is JobFate.UNKNOWN else fate)
    outcome = outcome_of(
        step,
        job_id=job_id,
        job_state=answer.state,
        message=answer.message,
        outputs=answer.outputs,
        outputs_problem=answer.outputs_problem,
        reason=answer.reason,
        logs_url=answer.logs_url,
    )
    if outcome is not None:
        return StopReport(fate=JobFate.ENDED, outcome=outcome, job_state=answer.state)
    # A Task Runner that denies knowing a job whose state it reports cannot stop it.
    return StopReport(fate=JobFate.CANNOT if fate is JobFate.UNKNOWN else fate, job_state=answer.state)


def _ask(services: Services, breaker: CircuitBreaker, step: StepRecord, job_id: str) -> StopAnswer | None:
    """Request that a job be stopped.

    Returns None if the Task Runner did not respond, or was not called because it has not responded recently.
    """
    url, began = step.task_runner_url, services.clock.now()
    if services.unstoppable.has(url, began):
        return StopAnswer.CANNOT
    if breaker.reason_to_wait(url, began):
        return None
    try:
        answer = services.task_runner.stop(url, job_id)
    except TaskRunnerUnavailable as error:
        breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        message = f"the request to stop job {job_id} of step {step.id} failed: {error.reason}"
        log.warning("task_runner.unavailable", message, **step.names)
        return None
    breaker.record_answer(url)
    if answer is StopAnswer.CANNOT:
        services.unstoppable.add(url, services.clock.now())
    log.info("job.stop", f"request to stop job {job_id} of step {step.id}: {answer}", job_id=job_id, **step.names)
    return answer


def _status(services: Services, breaker: CircuitBreaker, step: StepRecord, job_id: str) -> JobAnswer | None:
    """Ask for a job's state.

    Returns None if the Task Runner did not respond. Raises `JobUnknown`.
    """
    url, began = step.task_runner_url, services.clock.now()
    if breaker.reason_to_wait(url, began):
        return None
    try:
        answer = services.task_runner.status(url, job_id)
    except TaskRunnerUnavailable as error:
        breaker.record_failure(url, error.reason, began=began, now=services.clock.now())
        log.warning("task_runner.unavailable", f"polling job {job_id} failed: {error.reason}", **step.names)
        return None
    breaker.record_answer(url)
    return answer


def _look_up(services: Services, earlier: StepRecord) -> tuple[KeyLookup, str]:
    """Return the id of an earlier attempt's job unless it has ended."""
    url = earlier.task_runner_url
    if services.breaker.reason_to_wait(url, services.clock.now()):
        return KeyLookup.UNANSWERED, ""
    try:
        found = services.task_runner.look_up(url, earlier.idempotency_key)
    except LookupUnsupported as error:
        log.debug("job.lookup", f"{earlier.idempotency_key} cannot be looked up: {error.reason}", **earlier.names)
        return KeyLookup.CANNOT, ""
    except TaskRunnerUnavailable as error:
        # This is not reported to the circuit breaker: a Task Runner without this call may handle all others.
        message = f"the job of attempt {earlier.attempt} of step {earlier.id} could not be looked up: {error.reason}"
        log.warning("task_runner.unavailable", message, **earlier.names)
        return KeyLookup.UNANSWERED, ""
    services.breaker.record_answer(url)
    if found is None:
        return KeyLookup.NONE, ""
    return KeyLookup.FOUND, "" if has_ended(found.state) else found.job_id
