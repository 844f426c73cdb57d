"""Bugs on purpose in what dispatches steps and ends them: what an author would get wrong who had not thought of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from atom_workflows.coordinator import dispatch
from atom_workflows.coordinator.services import Services
from atom_workflows.core import transitions
from atom_workflows.core.changes import StepChange
from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.outcomes import Outcome
from atom_workflows.core.records import StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import STEPS, step_path
from atom_workflows.errors import AtomWorkflowsError, RequestNotAccepted, TaskRunnerUnavailable
from atom_workflows.messages.internal import ReadyStep, StepsEvent, ready_messages
from atom_workflows.ports import Create, Document, JobAnswer, Message, Query, Update, Write, WriteResult
from atom_workflows.step_documents import step_record
from simulation.planting import (
    ChangedBus,
    Scene,
    StoreBeside,
    TaskRunnerBeside,
    changes_step,
    commits,
    fields_of,
    id_of,
    is_claim,
    is_reset,
    messages,
    read_as,
    reads,
    run_id_of,
    sets,
    stores,
    task_runners,
    with_fields,
    without,
    writes,
)

AGES: Final = timedelta(days=3650)

# What is replaced here, as it was.
_claim = transitions.claim
_apply_outcome = transitions.apply_outcome
_handle_steps = dispatch.handle_steps


# -- publishing ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _PublishFirst(StoreBeside):
    early: set[str] = field(default_factory=set)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        for write in writes:
            if sets(write, StepState.SUCCEEDED):
                step = self.scene.stored(write.path)
                names = [name for name in step["dependents"] if name not in step["barriers"]]
                self.early.update(names)
                ready = [ReadyStep(step_id=name) for name in names]
                self.scene.services.bus.publish(ready_messages(run_id_of(write.path), ready))
        return self.inner.commit(writes)


def publish_first(scene: Scene, services: Services) -> Services:
    """Publish before the commit what it will release, and not afterwards."""
    store = _PublishFirst(scene, services.store)
    bus = ChangedBus(inner=services.bus, on_message=lambda message: _not_ready(message, store.early))
    return replace(services, store=store, bus=bus) if scene.function == "steps" else services


def _not_ready(message: Message, names: set[str]) -> Message | None:
    """Leave these steps out of a message."""
    if message.attributes.get("type") != "step.ready":
        return message
    left = [step for step in message.body["steps"] if step["id"] not in names]
    return replace(message, body={**message.body, "steps": left}) if left else None


def nothing(*_arguments: object, **_named: object) -> None:
    """Do nothing."""


def acknowledge_anyway(services: Services, event: StepsEvent) -> None:
    """Answer 200 whatever happened."""
    with suppress(AtomWorkflowsError):
        _handle_steps(services, event)


# -- guards and counters ---------------------------------------------------------------------------------------------


@writes
def unguarded_claim(_scene: Scene, write: Write) -> Write:
    """Let a claim overwrite another one."""
    return replace(write, guard=None) if is_claim(write) else write


@writes
def unguarded_outcome(_scene: Scene, write: Write) -> Write:
    """Count an outcome again when it comes again."""
    if not changes_step(write):
        return write
    state = StepState(write.fields["state"])
    return replace(write, guard=None) if state.is_terminal or state is StepState.RETRYING else write


@writes
def unguarded_barrier(_scene: Scene, write: Write) -> Write:
    """Let a barrier count again when it is passed again."""
    if sets(write, StepState.SUCCEEDED) and is_internal(id_of(write.path)):
        return replace(write, guard=None)
    return write


@dataclass(slots=True)
class _CountAgain(StoreBeside):
    has_read: bool = False

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        found = self.inner.get(paths, fields=fields)
        if self.scene.function == "steps" and not self.has_read:
            self.has_read = True
            for document in found:
                if document is not None and StepState(document.fields["state"]).is_terminal:
                    self._count(document)
        return found

    def _count(self, ended: Document) -> None:
        paths = [step_path(run_id_of(ended.path), name) for name in ended.fields["dependents"]]
        waiting = [path for path in paths if _is_waiting(self.scene, path)]
        if waiting:
            self.inner.commit([Update(path=path, increments={"remaining": -1}) for path in waiting])


def _is_waiting(scene: Scene, path: str) -> bool:
    step = scene.stored(path)
    return step.get("state") == StepState.PENDING.value and step["remaining"] > 0


count_again = stores(_CountAgain)
"""Count down the dependents of the event's steps that had ended before."""


@dataclass(slots=True)
class _RewriteAttempts(StoreBeside):
    rewrite: Callable[[list[str]], list[str]]
    has_read: bool = False

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        found = self.inner.get(paths, fields=fields)
        if self.scene.function == "steps" and not self.has_read:
            self.has_read = True
            for document in found:
                has_ended = document is not None and StepState(document.fields["state"]).is_terminal
                if document is not None and has_ended and document.fields.get("attempts"):
                    kept = "\n".join(self.rewrite(document.fields["attempts"].split("\n")))
                    self.inner.commit([Update(path=document.path, fields={"attempts": kept})])
        return found


lose_attempt = stores(lambda scene, store: _RewriteAttempts(scene, store, lambda kept: kept[:-1]))
"""Drop the last attempt that was kept of the event's steps that had ended before."""

keep_attempt_again = stores(lambda scene, store: _RewriteAttempts(scene, store, lambda kept: [*kept, kept[-1]]))
"""Keep the last attempt once more of the event's steps that had ended before."""


@dataclass(slots=True)
class _CommitTwice(StoreBeside):
    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        counts = [write for write in writes if isinstance(write, Update) and write.increments and not write.guard]
        results = self.inner.commit([write for write in writes if not any(write is count for count in counts)])
        return results + self.inner.commit(counts) if counts else results


commit_twice = stores(_CommitTwice)
"""Commit the states first, and then the counters."""


@commits
def count_failed_only(scene: Scene, together: Sequence[Write]) -> list[Write]:
    """Count a dependency that was skipped as one that succeeded."""
    skipped = [scene.stored(write.path)["dependents"] for write in together if sets(write, StepState.SKIPPED)]
    names = {name for dependents in skipped for name in dependents}
    return [
        replace(write, increments={**write.increments, "unsuccessful": 0})
        if isinstance(write, Update) and write.increments.get("unsuccessful") and id_of(write.path) in names
        else write
        for write in together
    ]


@writes
def count_barriers_themselves(_scene: Scene, write: Write) -> Write:
    """Count an internal barrier as one, instead of the steps that it stands for."""
    if not isinstance(write, Update) or "total" not in write.increments:
        return write
    return replace(write, increments={**write.increments, "total": -write.increments["remaining"]})


@writes
def forget_kept_counts(_scene: Scene, write: Write) -> Write:
    """Let a retry count only the dependencies that it runs again."""
    return with_fields(write, total=0) if is_reset(write) and write.fields.get("total") else write


@writes
def claim_without_counting(_scene: Scene, write: Write) -> Write:
    """Claim in the releasing commit, but leave the counter as it was."""
    return without(write, "remaining") if is_claim(write) else write


# -- attempts --------------------------------------------------------------------------------------------------------


@writes
def claim_for_ages(scene: Scene, write: Write) -> Write:
    """Claim with a lease that is never over."""
    return with_fields(write, due_at=scene.now + AGES) if is_claim(write) else write


def claim_anew(step: StepRecord, *, now: datetime, lease: timedelta, because: str = "") -> StepChange:
    """Begin another attempt, though the earlier one has no outcome."""
    change = _claim(step, now=now, lease=lease, because=because)
    return replace(change, fields={**change.fields, "attempt": step.attempt + 1})


@writes
def losses_are_tries(_scene: Scene, write: Write) -> Write:
    """Let a lost job use up one of the step's tries."""
    return without(write, "first_attempt") if sets(write, StepState.RETRYING) else write


@writes
def one_try_more(_scene: Scene, write: Write) -> Write:
    """Allow one attempt more than the policy does."""
    if not isinstance(write, Create) or "policies" not in write.fields:
        return write
    policies = write.fields["policies"]
    more = {**policies, "max_attempts": policies["max_attempts"] + 1}
    return replace(write, fields={**write.fields, "policies": more})


@writes
def no_back_off(scene: Scene, write: Write) -> Write:
    """Make the next attempt due at once."""
    return with_fields(write, due_at=scene.now) if sets(write, StepState.RETRYING) else write


@reads
def take_for_answered(scene: Scene, document: Document) -> Document:
    """Claim a step after its lease whatever `onLost` says."""
    stored = scene.stored(document.path)
    is_claimed = stored.get("state") == StepState.DISPATCHING.value and stored["policies"]["on_lost"] == "fail"
    return read_as(document, answered=True) if is_claimed else document


def settle_whatever_comes(step: StepRecord, outcome: Outcome, *, now: datetime) -> StepChange | None:
    """Take an outcome for the current attempt's, whichever it is of."""
    return _apply_outcome(step, replace(outcome, attempt=step.attempt), now=now)


@reads
def take_for_running(scene: Scene, document: Document) -> Document:
    """Let a late outcome undo what a stop made of a step."""
    was_stopped = document.fields.get("state") == StepState.CANCELLED.value and "/steps/" in document.path
    return read_as(document, state=StepState.RUNNING.value) if was_stopped and scene.function == "steps" else document


@writes
def submitted_unwatched(_scene: Scene, write: Write) -> Write:
    """Forget to say when the job is first looked at."""
    if sets(write, StepState.RUNNING) and write.fields.get("answered") is True:
        return with_fields(write, due_at=None)
    return write


@messages
def no_timeouts(_scene: Scene, message: Message) -> Message | None:
    """Let an attempt go on, however long it takes."""
    if message.attributes.get("type") != "steps.completed":
        return message
    left = [one for one in message.body["outcomes"] if one["kind"] != "timed_out"]
    return replace(message, body={**message.body, "outcomes": left}) if left else None


# -- jobs ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _AnotherKey(TaskRunnerBeside):
    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        run_id, step_id, attempt = idempotency_key.rsplit("/", 2)
        deferrals = self.scene.stored(step_path(run_id, step_id)).get("deferrals", 0)
        key = f"{run_id}/{step_id}/{int(attempt) + deferrals}"
        return self.inner.submit(base_url, body, idempotency_key=key, timeout=timeout)


another_key = task_runners(_AnotherKey)
"""Use a new key when an attempt is submitted again."""


@dataclass(slots=True)
class _NotAccepted(TaskRunnerBeside):
    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        try:
            return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)
        except TaskRunnerUnavailable as error:
            raise RequestNotAccepted(error.reason) from error


not_accepted = task_runners(_NotAccepted)
"""Take a submission whose answer was lost for one that was not accepted."""


@dataclass(slots=True)
class _StrictPolls(TaskRunnerBeside):
    def status(self, base_url: str, job_id: str) -> JobAnswer:
        try:
            return self.inner.status(base_url, job_id)
        except TaskRunnerUnavailable as error:
            return JobAnswer(job_id=job_id, state="FAILED", message=error.reason)


poll_strictly = task_runners(_StrictPolls)
"""Take a status call without an answer for a failed job."""


@dataclass(slots=True)
class _PollsInTime(TaskRunnerBeside):
    def status(self, base_url: str, job_id: str) -> JobAnswer:
        query = Query(collection=STEPS, group=True, where=[("job_id", "==", job_id)])
        deadlines = [step_record(document).attempt_deadline for document in self.scene.memory.query(query)]
        if any(deadline is not None and deadline <= self.scene.now for deadline in deadlines):
            return JobAnswer(job_id=job_id, state="RUNNING")
        return self.inner.status(base_url, job_id)


poll_in_time_only = task_runners(_PollsInTime)
"""Time a job out when its time is over, without polling it."""


# -- runs ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _EndWithAnyLeaf(StoreBeside):
    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        found = self.inner.get(paths, fields=fields)
        return [read_as(one, remaining=0) if one is not None and one.id == END_ID else one for one in found]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        results = self.inner.commit(writes)
        return [
            replace(result, increments={**result.increments, "remaining": 0}) if id_of(write.path) == END_ID else result
            for write, result in zip(writes, results, strict=True)
        ]


finish_early = stores(_EndWithAnyLeaf)
"""Take the end for released when the first leaf has ended, and close the run."""


@reads
def roots_first(scene: Scene, document: Document) -> Document:
    """Reset steps before those that wait for them."""
    run = scene.run_of(document.path)
    is_retried = run.get("state") == RunState.SEEDING.value and run.get("retries") and run.get("started_at")
    is_step = "depends_on" in document.fields
    return read_as(document, dependents=document.fields["depends_on"]) if is_retried and is_step else document


@writes
def reset_without_counters(_scene: Scene, write: Write) -> Write:
    """Leave the counters of the earlier round."""
    return without(write, "remaining", "unsuccessful") if is_reset(write) else write


@writes
def reset_without_first_attempt(_scene: Scene, write: Write) -> Write:
    """Count the attempts of earlier rounds, too."""
    return without(write, "first_attempt") if is_reset(write) else write


@writes
def reset_for_what_is_there(scene: Scene, write: Write) -> Write:
    """Wait for none but the steps that are there."""
    if not is_reset(write):
        return write
    needs = [step_path(run_id_of(write.path), name) for name in scene.stored(write.path)["depends_on"]]
    gone = sum(not scene.stored(path) for path in needs)
    return with_fields(write, remaining=write.fields["remaining"] - gone)


@writes
def forget_the_stop(_scene: Scene, write: Write) -> Write | None:
    """Say that the stop was recorded."""
    return None if set(fields_of(write)) == {"stop"} else write


@writes
def forget_what_is_broken(_scene: Scene, write: Write) -> Write | None:
    """Say that a broken run's stop was recorded."""
    stop = fields_of(write).get("stop") or {}
    return None if stop.get("kind") == StopKind.FAIL.value else write


@writes
def set_running_anyway(_scene: Scene, write: Write) -> Write:
    """Make the run RUNNING, whatever became of it meanwhile."""
    opens = "/steps/" not in write.path and fields_of(write).get("state") == RunState.RUNNING.value
    return replace(write, guard=None) if isinstance(write, Update) and opens else write
