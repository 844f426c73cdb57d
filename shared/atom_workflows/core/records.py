"""The contents of run and step documents at a given moment.

A change is a new value or a set of named fields, never a mutation. step_documents.py and run_documents.py convert these
values to and from stored fields, which have the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from atom_workflows.core.groups import Group
from atom_workflows.core.kinds import (
    FORWARDING_SCHEMA,
    KINDS,
    Counters,
    KindRules,
    NodeKind,
    Phase,
    Release,
    decide_release,
    forwards_counts,
)
from atom_workflows.core.places import Shard
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Condition, JsonValue, OnLost, RetryPolicy, Template, Trigger

if TYPE_CHECKING:
    from atom_workflows.core.selection import Selection
    from atom_workflows.core.user_changes import UserChange
    from atom_workflows.expressions.types import Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """A step's limits: attempt timeout, retries, and the response to lost jobs."""

    timeout: timedelta
    retry: RetryPolicy
    on_lost: OnLost


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """How to compute the items of a step with `forEach`.

    It also holds what the items have in common besides their task. It is stored with the node that creates the items.
    `lists` and `max_parallel` are as in `workflow.ForEach`, `when` is the step's condition if it is decided for each
    item, and `item_type` is the notation of the items' type.
    """

    lists: Mapping[str, Sequence[JsonValue] | Template]
    item_type: Any
    policies: Policies
    max_parallel: int | Template | None = None
    when: Condition | None = None
    outputs: Mapping[str, Type] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step of a run."""

    run_id: str
    id: str
    kind: NodeKind
    # The schema of the run; see documents.py.
    schema: int = 1

    # -- the job --
    # The body of the job request; None if the node has no task, or if the step was read without its request.
    request: Mapping[str, JsonValue] | None
    task_runner_url: str
    policies: Policies
    # The parts of the body that expressions compute; the body itself holds None in their places.
    templates: tuple[Template, ...] = ()
    # The run's values that the step's expressions read, stored here so that the run's document need not be read.
    constants: Mapping[str, Any] = field(default_factory=dict)
    # The types of the outputs that the job must return.
    outputs: Mapping[str, Type] = field(default_factory=dict)

    # -- what decides whether it runs, besides its dependencies --
    trigger: Trigger = Trigger.NO_FAILURE
    when: Condition | None = None
    allow_failure: bool = False

    # -- edges, fixed when the run starts --
    depends_on: tuple[str, ...]
    dependents: tuple[str, ...]
    # The dependents that have no task.
    barriers: tuple[str, ...]
    # The only dependent, if that has a task and waits for nothing else; `heirs` are the steps after it in the chain.
    hands_over_to: str | None = None
    heirs: tuple[str, ...] = ()
    phase: Phase = Phase.MAIN
    # The dependents whose own trigger or condition decides what happens to them.
    conditional: tuple[str, ...] = ()

    # -- items of a step with `forEach`; see expansion.py --
    # Of a node that creates items: how to compute them.
    loop: Loop | None = None
    # The step that the node belongs to, if it creates items, is one, or lies between items and their step.
    each: str = ""
    # The number of times the items were computed; nodes of earlier expansions are ignored.
    expansion: int = 0
    # Of an item: its place in the list, its value as JSON text, and the notation of its type as JSON text.
    index: int | None = None
    item: str = ""
    item_type: str = ""
    # Of the node that creates items, and of the step: how many there are.
    items: int = 0
    # Of the node that creates items: how many nodes it has written, how many items its run counts for it, and why there
    # are none.
    written: int = 0
    counted: int = 0
    problem: str = ""
    # Of the step, and of the node that creates its items: how many items may fail.
    tolerate: int = 0
    # Of the step: how many items were not started, since too many others failed, or were ended by a stop before its
    # latest retry.
    unstarted: int = 0

    # -- places, if only so many items may run at the same time; see places.py --
    # Of an item: the node that handed it its place, or is to do so.
    shard: str = ""
    # Of an item that waits for its place, which counts in `remaining`: its key in the order in which places are handed
    # out.
    waits_at: str = ""
    # Of a node that hands out places: how many, and to which items.
    places: Shard | None = None

    # -- counters of the dependencies --
    # The number of dependencies that are not terminal yet.
    remaining: int
    # The number of dependencies that ended in a state other than SUCCEEDED, and the failed step that caused this.
    unsuccessful: int = 0
    cause: str | None = None
    # From the second schema on, the numbers of dependencies that were skipped by choice, that have ended in any way,
    # and that make the run fail. In the first one, only marks set the first and the last (see counts.py).
    skipped: int = 0
    total: int = 0
    stained: int = 0

    # -- how it ended, beyond what its state says --
    # Skipped because its condition was false or its trigger was not met, not because of a failure.
    by_choice: bool = False
    # Failed or cancelled, but tolerated because of `allow_failure`.
    tolerated: bool = False
    # The reason for the step's own decision: its condition, and the values that decided it.
    because: str = ""
    # What a person decided about how it ends, as marks.py stores it; None if no one did.
    mark: Mapping[str, Any] | None = None
    # The run in which it ended, if this run repairs that one and keeps the step; see reuse.py.
    kept_from: str = ""

    # -- attempts --
    state: StepState = StepState.PENDING
    # The number of the current attempt: 0 before the first claim, and never decreasing.
    attempt: int = 0
    # The attempt that the retry policy counts as the first.
    first_attempt: int = 1
    # The number of the step's jobs that were lost, and of this attempt's submissions that had to be repeated.
    losses: int = 0
    deferrals: int = 0
    # True if no dispatcher is working on this attempt (any longer), so that an expired `due_at` does not mean that a
    # job was lost.
    answered: bool = False
    # The latest attempt for which a submission may have started a job whose id is unknown.
    unsure_attempt: int = 0
    # The number of the run's retry that last reset the step.
    retries: int = 0
    # The latest attempts that have ended, as text (attempts.py); an attempt that succeeded is added by a reset only.
    attempts: str = ""

    # -- the job as the Task Runner last reported it --
    job_id: str = ""
    job_state: str = ""
    message: str = ""
    # The reason that the Task Runner gave for the job's end, in its own words, such as OOM.
    reason: str = ""
    # The address of the job's log, for people.
    logs_url: str = ""
    # True if the Task Runner reports the job's end, and the time of the latest such report that was acted on.
    notifies: bool = False
    hinted_at: datetime | None = None
    # The body that was sent, as JSON text, if expressions compute parts of it.
    sent: str = ""
    # The kind of the last attempt's failure and the reason for it, for the expressions of the next attempt.
    last_kind: str = ""
    last_reason: str = ""
    # The number of consecutive failed polls, and the time of the first.
    unanswered: int = 0
    unanswered_since: datetime | None = None
    # The time since which the Task Runner has reported the job as unknown without interruption.
    missing_since: datetime | None = None
    # The time at which the job, its timeout having passed, was first polled without a response.
    unheard_since: datetime | None = None

    # -- stopping jobs; see stopping.py --
    # The attempt during which a job is being stopped, how far this has come (`StopStage`), and when the wait began.
    stop_attempt: int = 0
    stop_stage: str = ""
    stop_since: datetime | None = None
    # The reason for stopping the attempt's own job (`StopFor`).
    stop_for: str = ""
    # The ids of jobs of earlier attempts that may still run, and have to be stopped before another job is submitted.
    leftovers: tuple[str, ...] = ()
    # The earlier attempts whose submissions may have started jobs whose ids are unknown.
    unresolved: tuple[int, ...] = ()
    # The time since which no one has begun to submit one of them, as far as is known.
    unresolved_since: datetime | None = None
    # The ids of the latest jobs that could not be stopped and may still run.
    unstopped: tuple[str, ...] = ()

    # -- times --
    # The time at which the step is to be checked next; None if no check is needed.
    due_at: datetime | None = None
    claimed_at: datetime | None = None
    # The time at which the attempt's job was submitted, if that was after submissions that had started nothing, and at
    # which the job was first seen to be RUNNING, if it was seen in another state before.
    submitted_at: datetime | None = None
    running_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    # The time at which the store may delete the document.
    expire_at: datetime | None = None

    @property
    def rules(self) -> KindRules:
        """The rules for the step's kind."""
        return KINDS[self.kind]

    @property
    def forwards_counts(self) -> bool:
        """True for an internal barrier that passes on counters, not its state."""
        return forwards_counts(self.kind, self.schema)

    @property
    def release(self) -> Release:
        """What happens to the step next.

        This is WAIT unless the step is released and no dispatcher has taken it yet.
        """
        if self.state is not StepState.PENDING or self.remaining > 0:
            return Release.WAIT
        counters = Counters(self.remaining, self.unsuccessful, self.skipped, self.total)
        if self.skipped and self.schema < FORWARDING_SCHEMA:
            # A person marked some as skipped. There, an internal barrier is like any other, and no total is counted.
            kind = NodeKind.BARRIER if self.kind is NodeKind.INTERNAL else self.kind
            return decide_release(kind, counters._replace(total=len(self.depends_on)), self.trigger)
        return decide_release(self.kind, counters, self.trigger)

    def release_after(self, unsuccessful: int, skipped: int, total: int) -> Release:
        """Return what happens once the step's only open dependency adds these counters.

        Returns WAIT for a marked step, which has to be read first.
        """
        if self.state is not StepState.PENDING or self.remaining != 1 or self.is_marked:
            return Release.WAIT
        counters = Counters(0, self.unsuccessful + unsuccessful, self.skipped + skipped, self.total + total)
        return decide_release(self.kind, counters, self.trigger)

    @property
    def is_marked(self) -> bool:
        """True if a person marked the step for this round (see marks.py)."""
        return self.mark is not None and self.mark["retries"] == self.retries

    @property
    def has_open_mark(self) -> bool:
        """True if a mark of the step has not taken effect.

        A stop may have ended the step first, or have ended the run before the mark's round could reset the step.
        """
        if self.mark is None or self.state is StepState.SUCCEEDED or self.by_choice:
            return False
        return bool(self.mark["retries"] >= self.retries)

    @property
    def awaits_place(self) -> bool:
        """True for an item still waiting for a place (see places.py)."""
        return bool(self.waits_at) and self.state is StepState.PENDING

    @property
    def awaits_condition(self) -> bool:
        """True if only the step's unevaluated condition keeps it from running."""
        return self.when is not None and not self.is_marked and self.release in {Release.CLAIM, Release.SUCCEED}

    @property
    def may_be_idle(self) -> bool:
        """True if a step under `finally` would run after skipped steps only.

        Every step that it depends on was skipped by choice.
        """
        runs_anyway = self.phase is Phase.FINALLY and self.trigger is Trigger.ALWAYS and self.is_released
        return runs_anyway and not self.is_marked and 0 < self.total <= self.skipped

    @property
    def fails_run(self) -> bool:
        """True if an earlier step's failure makes the run fail.

        This holds even if another step reacted to the failure.
        """
        return bool(self.unsuccessful or self.stained)

    @property
    def is_released(self) -> bool:
        """True if all dependencies have ended and no dispatcher has the step."""
        return self.release is not Release.WAIT

    @property
    def idempotency_key(self) -> str:
        """The key that is sent with every submission of this attempt."""
        return f"{self.run_id}/{self.id}/{self.attempt}"

    @property
    def names(self) -> dict[str, Any]:
        """The log fields that identify the step and its current attempt."""
        return {"run_id": self.run_id, "step_id": self.id, "attempt": self.attempt}

    @property
    def is_unsure(self) -> bool:
        """True if this attempt may have started a job of unknown id."""
        return self.attempt > 0 and self.unsure_attempt == self.attempt

    @property
    def being_stopped_for(self) -> str:
        """Why the current attempt's job is being stopped (`StopFor`), or ""."""
        return self.stop_for if self.state is StepState.RUNNING and self.stop_attempt == self.attempt else ""

    @property
    def is_stop_over(self) -> bool:
        """True if the wait for the step's job to stop is over."""
        return bool(self.being_stopped_for) and self.stop_stage == StopStage.OVER

    @property
    def attempt_deadline(self) -> datetime | None:
        """The time at which the current attempt times out.

        None before the first claim, while the attempt waits for an earlier job to stop, and for a node without a job.
        """
        if not self.rules.has_job:
            return None
        return None if self.claimed_at is None or self.awaits_earlier else self.claimed_at + self.policies.timeout

    @property
    def awaits_earlier(self) -> bool:
        """True if the attempt must wait for earlier attempts' jobs to end."""
        return self.state is StepState.DISPATCHING and bool(self.leftovers or self.unresolved)


class StopFor(StrEnum):
    """The reasons for stopping the job of a RUNNING step. The values are stored."""

    # The attempt has timed out.
    TIMEOUT = "timeout"
    # The run is being closed.
    RUN = "run"
    # A person marked the step as succeeded or skipped.
    MARK = "mark"


class StopStage(StrEnum):
    """The stages of stopping a job. The values are stored."""

    # The Task Runner has not accepted the request to stop the job yet.
    REQUESTED = ""
    ACCEPTED = "accepted"
    # There is nothing left to wait for: the job has ended, or cannot be stopped.
    OVER = "over"


class StopKind(StrEnum):
    """The reasons for closing a run before it has ended."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A request to close a run, after ending its open steps."""

    kind: StopKind
    reason: str
    requested_at: datetime
    # True to skip the steps under `finally`.
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run of a workflow.

    `errors` holds items of the form `{"step": id or None, "message": text}`; an INVALID run has one for every problem
    in its file. `warnings` holds sentences for the run's users about fields of the start message that were ignored,
    values in the file that may not mean what was intended, and later requests that reused the run's key for something
    else.
    """

    id: str
    workflow: str
    state: RunState
    created_at: datetime
    # The schema of all the run's documents, which never changes.
    schema: int = 1
    description: str = ""
    task_runner_url: str = ""
    # The origin of the workflow's definition, and the digest of its text.
    source: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    # The event that started the run, and the parameters and labels that it contained.
    trigger: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    # The parameters that have their default value, and the deployment's environment variables that the file reads.
    defaulted: tuple[str, ...] = ()
    # The digest of the parameters as they were given, if they are stored in a different form (60m as 1h).
    given_digest: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    # The number of steps that the user defined; nodes that the compiler added do not count.
    step_count: int = 0
    # The number of items of all steps with `forEach`.
    item_count: int = 0
    # The ended run of which this one keeps steps, and the latest runs that keep steps of this one; see reuse.py.
    repairs: str = ""
    repaired_by: tuple[str, ...] = ()
    # The number of times that the run was retried; the latest retry was at `reopened_at`.
    retries: int = 0
    reopened_at: datetime | None = None
    # What the latest retry runs again, if a person chose that; see selection.py.
    selection: Selection | None = None
    # The group in which only so many runs may be at work, the time since which the run has waited for a place in it,
    # the time at which it got one, and True if a person had it start without waiting.
    group: Group | None = None
    queued_at: datetime | None = None
    admitted_at: datetime | None = None
    no_queue: bool = False
    # The reason for which a run was SKIPPED.
    because: str = ""
    stop: Stop | None = None
    # The latest changes that people made to the run, oldest first; see user_changes.py.
    changes: tuple[UserChange, ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    # The total time limit for the steps under `finally`; None if there are no such steps.
    finally_timeout: timedelta | None = None
    # The result of the main part, once the steps under `finally` have begun: its state, its errors, the number of
    # failed steps, and the first failures for expressions to read.
    main_state: RunState | None = None
    main_errors: tuple[Mapping[str, Any], ...] = ()
    failure_count: int = 0
    failures: tuple[Mapping[str, Any], ...] = ()
    # The run's own outputs: the templates that compute them, and their values once the run has SUCCEEDED.
    output_templates: tuple[Template, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    timeout: timedelta | None = None
    deadline: datetime | None = None
    # The instant for which a schedule or a person started the run, and the instant before it in the schedule.
    scheduled_at: datetime | None = None
    window_start: datetime | None = None
    # The time by which the file's `deadline` wants the run to have ended, and True if it had not.
    late_at: datetime | None = None
    late: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expire_at: datetime | None = None

    @property
    def stop_reason(self) -> str | None:
        """Why the run or its main part was last stopped, or None."""
        if self.stop is not None:
            return self.stop.reason
        # Once the steps under `finally` have begun, this is all that is left of a stop of the main part.
        return str(self.main_errors[0]["message"]) if self.main_errors else None

    @property
    def runs_finally(self) -> bool:
        """True if steps under `finally` will run after the main part."""
        if self.finally_timeout is None or self.main_state is not None or self.state is not RunState.RUNNING:
            return False
        return self.stop is None or not (self.stop.now or self.stop.kind is StopKind.FAIL)

    def is_late(self, now: datetime) -> bool:
        """Return True if an open run is late but not yet reported."""
        return self.late_at is not None and self.late_at <= now and not self.late

    def is_overdue(self, now: datetime) -> bool:
        """Return True once the run's deadline has passed."""
        return self.deadline is not None and self.deadline <= now
