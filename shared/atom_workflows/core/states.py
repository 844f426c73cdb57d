"""The states of runs and steps, and the transitions between them.

Only the tables here define the transitions. Looking up a missing row raises an error: nothing else in the code decides
which changes of state are allowed. The diagrams in ARCHITECTURE.md are generated from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from atom_workflows.errors import TransitionError


class StepState(StrEnum):
    """The states of a step. The values are stored."""

    PENDING = "PENDING"
    DISPATCHING = "DISPATCHING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """True if the step has ended; only a retry can reopen it."""
        return self in TERMINAL_STEP_STATES


TERMINAL_STEP_STATES: Final = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED})
OPEN_STEP_STATES: Final = tuple(state for state in StepState if state not in TERMINAL_STEP_STATES)


class StepEvent(StrEnum):
    """The events of a step."""

    CLAIM = "claim"
    SUBMIT = "submit"
    DEFER = "defer"
    OBSERVE = "observe"
    RETRY = "retry"
    SUCCEED = "succeed"
    FAIL = "fail"
    SKIP = "skip"
    CANCEL = "cancel"
    RESET = "reset"
    REFILL = "refill"
    MARK = "mark"
    MARK_SUCCEEDED = "mark_succeeded"
    MARK_SKIPPED = "mark_skipped"


STEP_TRANSITIONS: Final[Mapping[tuple[StepState, StepEvent], StepState]] = MappingProxyType(
    {
        # A dispatcher takes a released step under a lease.
        (StepState.PENDING, StepEvent.CLAIM): StepState.DISPATCHING,
        # A released step without a task ends immediately, since it has no job to wait for.
        (StepState.PENDING, StepEvent.SUCCEED): StepState.SUCCEEDED,
        # A dependency did not succeed, the trigger or condition skips the step, or the run timed out first.
        (StepState.PENDING, StepEvent.SKIP): StepState.SKIPPED,
        # The step's condition could not be evaluated.
        (StepState.PENDING, StepEvent.FAIL): StepState.FAILED,
        (StepState.PENDING, StepEvent.CANCEL): StepState.CANCELLED,
        # The lease ran out, or the wait after a deferral is over: the same attempt is dispatched again.
        (StepState.DISPATCHING, StepEvent.CLAIM): StepState.DISPATCHING,
        # The Task Runner could not accept the job at this time; the attempt waits.
        (StepState.DISPATCHING, StepEvent.DEFER): StepState.DISPATCHING,
        (StepState.DISPATCHING, StepEvent.SUBMIT): StepState.RUNNING,
        # The response to the submission already reported a terminal state, or a time limit passed without a response.
        (StepState.DISPATCHING, StepEvent.SUCCEED): StepState.SUCCEEDED,
        (StepState.DISPATCHING, StepEvent.FAIL): StepState.FAILED,
        (StepState.DISPATCHING, StepEvent.RETRY): StepState.RETRYING,
        (StepState.DISPATCHING, StepEvent.CANCEL): StepState.CANCELLED,
        # The job's state changed, but the job has not ended.
        (StepState.RUNNING, StepEvent.OBSERVE): StepState.RUNNING,
        (StepState.RUNNING, StepEvent.SUCCEED): StepState.SUCCEEDED,
        (StepState.RUNNING, StepEvent.FAIL): StepState.FAILED,
        (StepState.RUNNING, StepEvent.RETRY): StepState.RETRYING,
        (StepState.RUNNING, StepEvent.CANCEL): StepState.CANCELLED,
        # The back-off is over.
        (StepState.RETRYING, StepEvent.CLAIM): StepState.DISPATCHING,
        # The run's timeout passed during the back-off.
        (StepState.RETRYING, StepEvent.FAIL): StepState.FAILED,
        (StepState.RETRYING, StepEvent.CANCEL): StepState.CANCELLED,
        # The run is retried. A step may also have been left PENDING when the run was closed earlier.
        (StepState.PENDING, StepEvent.RESET): StepState.PENDING,
        (StepState.FAILED, StepEvent.RESET): StepState.PENDING,
        (StepState.SKIPPED, StepEvent.RESET): StepState.PENDING,
        (StepState.CANCELLED, StepEvent.RESET): StepState.PENDING,
        # A step before this one will run again, so this one is decided again.
        (StepState.SUCCEEDED, StepEvent.RESET): StepState.PENDING,
        # A node that hands out places deals them out again to the items that are reset.
        (StepState.SUCCEEDED, StepEvent.REFILL): StepState.SUCCEEDED,
        # A person decides how the step will end: once it is released, or once its job has been stopped.
        (StepState.PENDING, StepEvent.MARK): StepState.PENDING,
        (StepState.RUNNING, StepEvent.MARK): StepState.RUNNING,
        # The step ends as a person decided.
        (StepState.PENDING, StepEvent.MARK_SUCCEEDED): StepState.SUCCEEDED,
        (StepState.DISPATCHING, StepEvent.MARK_SUCCEEDED): StepState.SUCCEEDED,
        (StepState.RUNNING, StepEvent.MARK_SUCCEEDED): StepState.SUCCEEDED,
        (StepState.RETRYING, StepEvent.MARK_SUCCEEDED): StepState.SUCCEEDED,
        (StepState.PENDING, StepEvent.MARK_SKIPPED): StepState.SKIPPED,
        (StepState.DISPATCHING, StepEvent.MARK_SKIPPED): StepState.SKIPPED,
        (StepState.RUNNING, StepEvent.MARK_SKIPPED): StepState.SKIPPED,
        (StepState.RETRYING, StepEvent.MARK_SKIPPED): StepState.SKIPPED,
    }
)


class RunState(StrEnum):
    """The states of a run. The values are stored."""

    QUEUED = "QUEUED"
    SEEDING = "SEEDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"
    INVALID = "INVALID"

    @property
    def is_terminal(self) -> bool:
        """True if the run has ended; only a retry can reopen it."""
        return self not in {RunState.QUEUED, RunState.SEEDING, RunState.RUNNING}


class RunEvent(StrEnum):
    """The events of a run."""

    ADMIT = "admit"
    SKIP = "skip"
    SEEDED = "seeded"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"
    WAIT = "wait"


RUN_TRANSITIONS: Final[Mapping[tuple[RunState, RunEvent], RunState]] = MappingProxyType(
    {
        # There is a place in the run's group, and no other run waits before it.
        (RunState.QUEUED, RunEvent.ADMIT): RunState.SEEDING,
        # It waited too long, too many others were waiting, or a newer run took its place.
        (RunState.QUEUED, RunEvent.SKIP): RunState.SKIPPED,
        (RunState.QUEUED, RunEvent.CANCEL): RunState.CANCELLED,
        # The run was retried, but the retry could not begin. What ran before has not been skipped.
        (RunState.QUEUED, RunEvent.FAIL): RunState.FAILED,
        (RunState.SEEDING, RunEvent.SEEDED): RunState.RUNNING,
        # The source disappeared, or the timeout passed, before every step was written.
        (RunState.SEEDING, RunEvent.FAIL): RunState.FAILED,
        (RunState.SEEDING, RunEvent.CANCEL): RunState.CANCELLED,
        (RunState.RUNNING, RunEvent.SUCCEED): RunState.SUCCEEDED,
        (RunState.RUNNING, RunEvent.FAIL): RunState.FAILED,
        (RunState.RUNNING, RunEvent.CANCEL): RunState.CANCELLED,
        (RunState.FAILED, RunEvent.RETRY): RunState.SEEDING,
        (RunState.CANCELLED, RunEvent.RETRY): RunState.SEEDING,
        # A person names steps of it that are to run again.
        (RunState.SUCCEEDED, RunEvent.RETRY): RunState.SEEDING,
        # A retry waits for a place like a new run.
        (RunState.FAILED, RunEvent.WAIT): RunState.QUEUED,
        (RunState.CANCELLED, RunEvent.WAIT): RunState.QUEUED,
        (RunState.SUCCEEDED, RunEvent.WAIT): RunState.QUEUED,
    }
)


def next_step_state(state: StepState, event: StepEvent) -> StepState:
    """Return the state that follows the event.

    Raises `TransitionError` if the table has no matching row.
    """
    try:
        return STEP_TRANSITIONS[state, event]
    except KeyError:
        raise TransitionError("step", state, event) from None


def next_run_state(state: RunState, event: RunEvent) -> RunState:
    """Return the state that follows the event.

    Raises `TransitionError` if the table has no matching row.
    """
    try:
        return RUN_TRANSITIONS[state, event]
    except KeyError:
        raise TransitionError("run", state, event) from None
