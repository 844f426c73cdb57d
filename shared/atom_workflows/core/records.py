"""A run and a step as they stand at one moment: what the documents hold, as values.

A change is a new value or a set of named fields, never a mutation. `shared/atom_workflows/documents.py` turns these
to and from stored fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import JsonValue, OnLost, RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The limits of a step: how long one attempt may take, how often it is tried, what being lost means."""

    timeout: timedelta
    retry: RetryPolicy
    on_lost: OnLost


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step of a run.

    `remaining` counts the dependencies not yet terminal, `unsuccessful` those that ended otherwise than SUCCEEDED,
    and `cause` names a failed step that they come from. `attempt` is 0 before the first claim and never goes back;
    the retry policy counts from `first_attempt`. `due_at` is when the checker must next look, None if never.
    `answered` says that no dispatcher is at work on this attempt (any more), so that its `due_at` being over does
    not mean a lost job. `unsure_attempt` is the latest attempt of which a submission may have started a job that
    nobody knows the id of. `unanswered` counts the status calls in a row that failed; if there are any, the first was
    at `unanswered_since`. `unheard_since` is when a job whose time is over was first asked about in vain. `request` is
    the job's body, None for a barrier.
    """

    run_id: str
    id: str
    request: Mapping[str, JsonValue] | None
    task_runner_url: str
    depends_on: tuple[str, ...]
    dependents: tuple[str, ...]
    barriers: tuple[str, ...]
    policies: Policies
    remaining: int
    hands_over_to: str | None = None
    heirs: tuple[str, ...] = ()
    unsuccessful: int = 0
    cause: str | None = None
    state: StepState = StepState.PENDING
    attempt: int = 0
    first_attempt: int = 1
    losses: int = 0
    deferrals: int = 0
    unanswered: int = 0
    unanswered_since: datetime | None = None
    answered: bool = False
    unsure_attempt: int = 0
    retries: int = 0
    job_id: str = ""
    job_state: str = ""
    message: str = ""
    due_at: datetime | None = None
    missing_since: datetime | None = None
    unheard_since: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expire_at: datetime | None = None

    @property
    def is_barrier(self) -> bool:
        """Whether there is nothing to run."""
        return self.request is None

    @property
    def is_released(self) -> bool:
        """Whether every dependency is terminal and nobody took the step yet."""
        return self.state is StepState.PENDING and self.remaining <= 0

    @property
    def idempotency_key(self) -> str:
        """The same for every submission of this attempt."""
        return f"{self.run_id}/{self.id}/{self.attempt}"

    @property
    def names(self) -> dict[str, Any]:
        """What a line of the log calls the step and its attempt."""
        return {"run_id": self.run_id, "step_id": self.id, "attempt": self.attempt}

    @property
    def is_unsure(self) -> bool:
        """Whether an earlier submission of this attempt may have started a job that nobody knows the id of."""
        return self.attempt > 0 and self.unsure_attempt == self.attempt

    @property
    def attempt_deadline(self) -> datetime | None:
        """When the current attempt has taken too long; None before the first claim."""
        return None if self.claimed_at is None else self.claimed_at + self.policies.timeout


class StopKind(StrEnum):
    """Why an open run is being closed from outside."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A request to close a run; its steps follow, then the run itself."""

    kind: StopKind
    reason: str
    requested_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run.

    `retries` counts the times it was retried from failed, last at `reopened_at`; `step_count` the user's steps.

    `errors` are lists of `{"step": id or None, "message": text}`; an INVALID run has one for every problem of its
    file. `source` tells where the definition came from, `trigger` what started the run. `warnings` are
    sentences about what was ignored of the message that asked for it.
    """

    id: str
    workflow: str
    state: RunState
    created_at: datetime
    description: str = ""
    task_runner_url: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    trigger: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    digest: str = ""
    step_count: int = 0
    retries: int = 0
    stop: Stop | None = None
    errors: tuple[Mapping[str, Any], ...] = ()
    timeout: timedelta | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    expire_at: datetime | None = None
    reopened_at: datetime | None = None
