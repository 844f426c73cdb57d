"""Handle due steps: poll jobs, publish outcomes, hand off steps, audit runs.

A Task Runner may take a long time to respond. So other steps are handled while responses are outstanding, and a slow
Task Runner delays only its own jobs. Audits of whole runs are handled in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.checker.audit import audit_due_run
from atom_workflows.coordinator.checker.due_schedules import fire_due_schedules
from atom_workflows.coordinator.checker.due_steps import InFlight, read_again
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.limits import CircuitBreaker
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.stopping import pursue_stop
from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.kinds import WhenDue
from atom_workflows.core.outcomes import Outcome, OutcomeKind, outcome_of
from atom_workflows.core.polling import (
    POLL_BACKOFF,
    await_unknown_job,
    back_off_poll,
    next_look,
    poll_order,
    record_progress,
    with_next_look,
)
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.stopping import stop_after_timeout, without_stop
from atom_workflows.core.timeouts import end_dispatch, judge_overdue
from atom_workflows.errors import JobUnknown, TaskRunnerUnavailable
from atom_workflows.messages.internal import ReadyStep, completed_messages, seed_message

_BY_CALLS: Final = frozenset({WhenDue.AUDIT_RUN, WhenDue.FIRE_SCHEDULES})

_Call: TypeAlias = tuple[StoredStep, datetime]
"""A step, and the time by which a call about it must begin."""


class DueHandler:
    """One instance's work on due steps, including the calls in progress.

    A failure in one run or step does not delay the others. A Task Runner that does not respond is not called for a
    while; the pause grows with each further failure. `published` counts events for dispatchers and the start function.
    """

    def __init__(self, services: Services, in_flight: InFlight) -> None:
        self.published = 0
        self._services = services
        self._in_flight = in_flight
        self._outbox = Outbox(services)
        self._breaker = CircuitBreaker(POLL_BACKOFF)
        self._calls = services.workers.calls(self._handle_one, lane=lambda call: call[0].step.task_runner_url)

    @property
    def pending(self) -> list[StoredStep]:
        """The steps whose calls have not returned yet."""
        return [stored for stored, _ in self._calls.pending]

    def begin(self, due: Sequence[StoredStep], until: datetime) -> None:
        """Begin the necessary calls, and publish events for the other steps.

        Calls that have not begun by `until` are not made.
        """
        now = self._services.clock.now()
        outcomes: list[tuple[str, Outcome]] = []
        calls: list[_Call] = []
        for one in due:
            step = one.step
            if step.rules.due in _BY_CALLS or step.state is StepState.RUNNING:
                calls.append((one, until))
            elif outcome := end_dispatch(step, now=now):
                outcomes.append((step.run_id, outcome))
            elif step.state is StepState.RETRYING:
                self._outbox.add_ready(step.run_id, [ReadyStep(step_id=step.id, attempt=step.attempt + 1)])
                self.published += 1
            elif step.state is StepState.DISPATCHING:
                log.warning("step.ready.again", f"step {step.id} is being handed to another dispatcher", **step.names)
                self._outbox.add_ready(step.run_id, [ReadyStep(step_id=step.id, attempt=step.attempt)])
                self.published += 1
        self._publish(outcomes)
        if len(calls) > self._services.settings.poll_workers:
            # Shuffle each minute, so that a slow Task Runner does not always starve the same jobs.
            calls.sort(key=lambda call: poll_order(call[0].step, now=now))
        self._calls.begin(calls)

    def take_answers(self, until: datetime | None = None) -> None:
        """Wait for results until the given time, then save and publish them.

        Returns as soon as any results have been handled. After the last result, re-raises any error from a call, such
        as an outage during an audit.
        """
        now = self._services.clock.now()
        wave = self._calls.wave(None if until is None else max(0.0, (until - now).total_seconds()))
        self.published += sum(found for _, found in wave if isinstance(found, int))
        self._publish([(stored.step.run_id, found) for (stored, _), found in wave if isinstance(found, Outcome)])
        self._save([(stored, found) for (stored, _), found in wave if found is None or isinstance(found, StepChange)])
        self._outbox.flush()
        if not self._calls.pending:
            self._calls.wave()

    def take_all_answers(self) -> None:
        """Wait for all outstanding results, and handle them."""
        while self._calls.pending:
            self.take_answers()

    def _handle_one(self, call: _Call) -> StepChange | Outcome | int | None:
        stored, until = call
        # The call waited too long for a free worker and was not made, so nothing is saved: a later burst or round
        # handles the step.
        if self._services.clock.now() >= until:
            return 0
        if stored.step.rules.due is WhenDue.AUDIT_RUN:
            return audit_due_run(self._services, stored)
        if stored.step.rules.due is WhenDue.FIRE_SCHEDULES:
            return fire_due_schedules(self._services, stored)
        return poll(self._services, self._breaker, stored.step)

    def _publish(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        by_run: dict[str, list[Outcome]] = {}
        for run_id, outcome in outcomes:
            by_run.setdefault(run_id, []).append(outcome)
        for run_id, ended in by_run.items():
            self._outbox.add(completed_messages(run_id, ended))
        self.published += len(outcomes)
        self._outbox.flush()

    def _save(self, going_on: Sequence[tuple[StoredStep, StepChange | None]]) -> None:
        """Save changes to steps with running jobs, and schedule their next checks."""
        now, interval = self._services.clock.now(), self._services.settings.check_interval
        changes: dict[tuple[str, int], list[Decision]] = {}
        times_found: Counter[tuple[str, str]] = Counter()
        kept: list[tuple[StoredStep, StoredStep]] = []
        refused: list[StoredStep] = []
        for stored, found in going_on:
            change = with_next_look(stored.step, found, now=now, check_interval=interval)
            if change is None:
                # If nothing is new, nothing is written, and the version stays the same.
                kept.append((stored, stored))
            else:
                # A round and its burst may both have polled a step, but no commit may write the step twice.
                run_id, name = stored.step.run_id, (stored.step.run_id, stored.step.id)
                changes.setdefault((run_id, times_found[name]), []).append(Decision(stored=stored, change=change))
                times_found[name] += 1
        for decisions in changes.values():
            saved = save_alone(self._outbox, decisions)
            refused += [one.stored for one in saved.refused if self._in_flight.knows(one.stored)]
            kept += [
                (one.stored, StoredStep(step=apply_change(one.step, one.change), version=saved.versions[one.step.id]))
                for one in decisions
                if one.step.id in saved.versions
            ]
        for stored, changed in kept:
            self._in_flight.look_again(stored, changed, next_look(changed.step, now=now, check_interval=interval))
        # The run's end has waited for these jobs. Closing the run reads its open steps, so this waits for the last one.
        stopped = dict.fromkeys(one.step.run_id for taken, one in kept if one.step.is_stop_over and taken is not one)
        self._outbox.add([seed_message(run_id) for run_id in stopped if not self._in_flight.awaits_stop(run_id)])
        # Another instance changed these steps. No query will find them again, as they were due before the last check.
        for stored, fresh in zip(refused, read_again(self._services, refused), strict=True):
            if fresh is not None and fresh.step.due_at is not None:
                self._in_flight.look_again(stored, fresh, fresh.step.due_at)


def poll(services: Services, breaker: CircuitBreaker, step: StepRecord) -> StepChange | Outcome | None:
    """Poll a job.

    Returns the outcome or the change, or None if nothing changed. If the job's time is up, it is stopped first.
    """
    if step.being_stopped_for:
        return pursue_stop(services, breaker, step)
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
            found = back_off_poll(step, reason=error.reason, now=now, retry_after_s=error.retry_after_s)
        except Exception as error:  # noqa: BLE001 (a defect triggered by one job would end the burst for all jobs)
            # A defect says nothing about the Task Runner or the job.
            message = f"polling job {step.job_id} of step {step.id} failed because of a defect"
            log.error("poll.failed", message, trace_of=error, **step.names)
    # A response from before the deadline does not show the job's state at the deadline, so compare with `began`.
    judged = judge_overdue(step, found, heard=heard, now=began)
    if not isinstance(judged, Outcome) or judged.kind is not OutcomeKind.TIMED_OUT:
        return judged
    if services.unstoppable.has(url, began):
        return without_stop(judged)
    return stop_after_timeout(step, now=services.clock.now())


def ask(services: Services, step: StepRecord) -> StepChange | Outcome | None:
    """Ask the Task Runner about the step's job, and interpret the response.

    Raises `TaskRunnerUnavailable` if the call fails.
    """
    try:
        answer = services.task_runner.status(step.task_runner_url, step.job_id)
    except JobUnknown:
        return await_unknown_job(step, now=services.clock.now())
    outcome = outcome_of(
        step,
        job_id=answer.job_id or step.job_id,
        job_state=answer.state,
        message=answer.message,
        outputs=answer.outputs,
        outputs_problem=answer.outputs_problem,
        reason=answer.reason,
        logs_url=answer.logs_url,
    )
    return outcome or record_progress(
        step,
        job_state=answer.state,
        message=answer.message,
        now=services.clock.now(),
        logs_url=answer.logs_url,
        notifies=answer.notifies,
    )
