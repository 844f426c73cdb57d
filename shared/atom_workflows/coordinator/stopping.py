"""Ask Task Runners to stop jobs, and find out whether the jobs have ended.

Whoever asks has saved the reason first (see core/stopping.py), so a request is repeated if its instance dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.circuit_breaker import CircuitBreaker
from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.loading import StoredStep, load_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import StepChange, add_unstopped
from atom_workflows.core.outcomes import Outcome, outcome_of
from atom_workflows.core.records import StepRecord, StopStage
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.stopping import JobFate, StopReport, forget_run_stop, is_close_late, judge_leftover, judge_stop
from atom_workflows.documents import step_path
from atom_workflows.errors import Conflict, JobUnknown, StoreUnavailable, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer, StopAnswer, Update

_FATES: Final[Mapping[StopAnswer | None, JobFate]] = {
    StopAnswer.STOPPING: JobFate.ACCEPTED,
    StopAnswer.GONE: JobFate.GONE,
    StopAnswer.CANNOT: JobFate.CANNOT,
    None: JobFate.UNANSWERED,
}


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
    """Return True unless the run is open and goes on, which only a change by another program can explain."""
    stored = load_run(services, run_id)
    return stored is None or stored.run.stop is not None or stored.run.state.is_terminal


def stop_leftover(services: Services, step: StepRecord) -> StepChange | dict[str, Any]:
    """Have the job that an earlier attempt left stopped, and decide whether the step may be submitted.

    Returns the change to save instead, or the fields to save together with the submission.
    """
    is_accepted = step.stop_attempt == step.attempt and step.stop_stage == StopStage.ACCEPTED
    report = _look(services, services.breaker, step, step.leftover, is_accepted=is_accepted)
    return judge_leftover(
        step,
        report,
        now=services.clock.now(),
        stop_timeout=services.settings.stop_timeout,
        check_interval=services.settings.check_interval,
    )


def stop_orphans(services: Services, refused: Sequence[Decision], current: Sequence[StoredStep]) -> None:
    """Stop jobs that were submitted for attempts that have ended in the meantime.

    `refused` are decisions that could not be saved, and `current` are the same steps as they are now. If the attempt
    may still be submitted again, its job is left alone: a Task Runner that honours keys reports the same job.
    """
    now_stored = {one.step.id: one for one in current}
    for decision in refused:
        step, stored = decision.step, now_stored.get(decision.step.id)
        job_id = decision.change.fields.get("job_id") if decision.change.event is StepEvent.SUBMIT else None
        if not job_id or (stored is not None and _may_own(stored.step, step.attempt, job_id)):
            continue
        left = None if stored is None else _leave_job(services, stored, job_id)
        answer = _ask(services, services.breaker, step, job_id)
        if left is not None and answer in {None, StopAnswer.CANNOT}:
            _save_orphan(services, left, add_unstopped(left.step, job_id))


def _may_own(step: StepRecord, attempt: int, job_id: str) -> bool:
    may_submit_again = step.attempt == attempt and step.state is StepState.DISPATCHING
    return step.job_id == job_id or may_submit_again


def _leave_job(services: Services, stored: StoredStep, job_id: str) -> StoredStep | None:
    """Have the step's next attempt stop the job first, should there be one.

    A step that is being dispatched is left alone, since another dispatcher could not record its job otherwise. Returns
    the step as it is then, or None if it must not be written to.
    """
    is_at_rest = stored.step.state.is_terminal or stored.step.state is StepState.RETRYING
    if not is_at_rest or stored.step.leftover:
        return stored if is_at_rest else None
    return _save_orphan(services, stored, {"leftover": job_id})


def _save_orphan(services: Services, stored: StoredStep, fields: Mapping[str, Any]) -> StoredStep | None:
    """Return the step with the fields saved, or None if someone else has changed it or the store is unavailable."""
    if not fields:
        return stored
    written = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    update = Update(path=step_path(stored.step.run_id, stored.step.id), fields=written, guard=stored.version)
    try:
        (result,) = services.store.commit([update])
    except (Conflict, StoreUnavailable) as error:
        log.debug("job.orphan.unrecorded", f"a job is stopped without a record: {error}", **stored.step.names)
        return None
    return StoredStep(step=replace(stored.step, **fields), version=result.version)


# -- calls -----------------------------------------------------------------------------------------------------------


def _look(
    services: Services, breaker: CircuitBreaker, step: StepRecord, job_id: str, *, is_accepted: bool
) -> StopReport:
    """Ask for a job to be stopped, unless that was accepted before, then ask for its state."""
    fate = JobFate.ACCEPTED if is_accepted else _FATES[_ask(services, breaker, step, job_id)]
    if fate is JobFate.CANNOT:
        return StopReport(fate=fate)
    try:
        answer = _status(services, breaker, step, job_id)
    except JobUnknown:
        return StopReport(fate=JobFate.GONE)
    if answer is None:
        return StopReport(fate=fate)
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
    return StopReport(fate=JobFate.CANNOT if fate is JobFate.GONE else fate, job_state=answer.state)


def _ask(services: Services, breaker: CircuitBreaker, step: StepRecord, job_id: str) -> StopAnswer | None:
    """Ask for a job to be stopped.

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
    log.info("job.stop", f"job {job_id} of step {step.id} was to be stopped: {answer}", job_id=job_id, **step.names)
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
