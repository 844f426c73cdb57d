"""Bugs on purpose in what stops jobs, and in what is made of hints that jobs have ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import StepChange
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.polling import MISSING_GRACE
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.stopping import KeyLookup, judge_lookup
from atom_workflows.documents import step_path
from atom_workflows.errors import JobUnknown, LookupUnsupported
from atom_workflows.messages.internal import JobEnded, completed_messages
from atom_workflows.ports import JobAnswer, StopAnswer, TaskRunner, Write
from atom_workflows.step_documents import step_record
from simulation.planting import Scene, TaskRunnerBeside, fields_of, task_runners, with_fields, writes

AGES = timedelta(days=3650)


@dataclass(slots=True)
class _NeverAsks(TaskRunnerBeside):
    def stop(self, base_url: str, job_id: str) -> StopAnswer:  # noqa: ARG002 (that is the bug)
        return StopAnswer.CANNOT


@task_runners
def never_stop(scene: Scene, runner: TaskRunner) -> _NeverAsks:
    """Take every Task Runner for one that cannot stop jobs."""
    return _NeverAsks(scene, runner)


@dataclass(slots=True)
class _TakesRequestForEnd(TaskRunnerBeside):
    asked: set[str] = field(default_factory=set)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        answer = self.inner.stop(base_url, job_id)
        self.asked.add(job_id)
        return answer

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        if job_id in self.asked:
            raise JobUnknown(job_id)
        return self.inner.status(base_url, job_id)


@task_runners
def take_request_for_end(scene: Scene, runner: TaskRunner) -> _TakesRequestForEnd:
    """Take a job for ended as soon as it was asked to stop."""
    return _TakesRequestForEnd(scene, runner)


@dataclass(slots=True)
class _NeverLooksUp(TaskRunnerBeside):
    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:  # noqa: ARG002 (that is the bug)
        raise LookupUnsupported("no key is looked up")


@task_runners
def never_look_up(scene: Scene, runner: TaskRunner) -> _NeverLooksUp:
    """Take every Task Runner for one that cannot look keys up."""
    return _NeverLooksUp(scene, runner)


@dataclass(slots=True)
class _LooksUpTheNext(TaskRunnerBeside):
    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        attempt, _, number = idempotency_key.rpartition("/")
        return self.inner.look_up(base_url, f"{attempt}/{int(number) + 1}")


@task_runners
def look_up_the_next(scene: Scene, runner: TaskRunner) -> _LooksUpTheNext:
    """Look up the attempt that is about to be submitted, so that its key may be taken from it."""
    return _LooksUpTheNext(scene, runner)


def believe_none_at_once(
    step: StepRecord, lookup: KeyLookup, job_id: str, *, lease: timedelta, **more: Any
) -> StepChange | dict[str, Any] | None:
    """Believe that there is no job while one may still be submitted."""
    lease = -MISSING_GRACE if lookup is KeyLookup.NONE else lease
    return judge_lookup(step, lookup, job_id, lease=lease, **more)


@writes
def forget_what_is_left(_scene: Scene, write: Write) -> Write:
    """Forget the jobs that earlier attempts left."""
    return with_fields(write, leftovers=[]) if fields_of(write).get("leftovers") else write  # type: ignore[arg-type] # an Update, as it has fields


@writes
def forget_what_is_unresolved(_scene: Scene, write: Write) -> Write:
    """Forget that earlier attempts may have jobs whose ids no one knows."""
    return with_fields(write, unresolved=[]) if fields_of(write).get("unresolved") else write  # type: ignore[arg-type] # an Update, as it has fields


def wait_for_ages(_scene: Scene, services: Services) -> Services:
    """Wait for a job to stop, however long that takes."""
    return replace(services, settings=replace(services.settings, stop_timeout=AGES))


def wait_for_nothing(_scene: Scene, services: Services) -> Services:
    """Give up a job that does not stop at once."""
    return replace(services, settings=replace(services.settings, stop_timeout=timedelta(0)))


def keep_the_end(_step: StepRecord, outcome: Outcome) -> Outcome:
    """Let an attempt that was stopped end as its job did."""
    return outcome


def believe_the_hint(services: Services, hint: JobEnded) -> None:
    """Take a hint for the news of a success."""
    run_id, step_id, attempt = hint.idempotency_key.split("/")
    document = services.store.get([step_path(run_id, step_id)])[0]
    if document is None or document.fields["state"] != StepState.RUNNING.value:
        return
    step = step_record(document)
    done = Outcome(
        step_id=step_id,
        attempt=int(attempt),
        kind=OutcomeKind.SUCCEEDED,
        job_id=step.job_id,
        job_state="SUCCEEDED",
    )
    services.bus.publish(completed_messages(run_id, [done]))
