"""The transition tables."""

from __future__ import annotations

import pytest

from atom_workflows.core.states import (
    RUN_TRANSITIONS,
    STEP_TRANSITIONS,
    TERMINAL_STEP_STATES,
    RunEvent,
    RunState,
    StepEvent,
    StepState,
    next_run_state,
    next_step_state,
)
from atom_workflows.errors import TransitionError


@pytest.mark.parametrize("state", StepState)
@pytest.mark.parametrize("event", StepEvent)
def test_every_pair_of_step_state_and_event_is_a_row_or_an_error(state: StepState, event: StepEvent) -> None:
    """A pair of state and event is a row of the table or raises."""
    if (state, event) in STEP_TRANSITIONS:
        assert next_step_state(state, event) is STEP_TRANSITIONS[state, event]
    else:
        with pytest.raises(TransitionError, match=f"{state} cannot {event}"):
            next_step_state(state, event)


@pytest.mark.parametrize("state", sorted(TERMINAL_STEP_STATES))
def test_a_terminal_step_is_left_by_a_reset_alone(state: StepState) -> None:
    """Only a reset leaves a terminal state, also SUCCEEDED, if what stands before the step runs again."""
    leaving = {event for (origin, event), target in STEP_TRANSITIONS.items() if origin is state is not target}
    assert leaving == {StepEvent.RESET}


def test_every_step_state_can_be_reached_from_pending() -> None:
    """No state of the table is out of reach."""
    reached = {StepState.PENDING}
    for _ in StepState:
        reached |= {target for (origin, _), target in STEP_TRANSITIONS.items() if origin in reached}
    assert reached == set(StepState)


def test_every_open_step_state_can_be_cancelled() -> None:
    """Closing a run never meets a step that it cannot end."""
    for state in StepState:
        if not state.is_terminal:
            assert next_step_state(state, StepEvent.CANCEL) is StepState.CANCELLED


@pytest.mark.parametrize("event", RunEvent)
def test_a_run_that_was_invalid_stays_so(event: RunEvent) -> None:
    """There is no row that leaves INVALID."""
    with pytest.raises(TransitionError):
        next_run_state(RunState.INVALID, event)


@pytest.mark.parametrize("event", RunEvent)
def test_only_a_retry_leaves_a_success(event: RunEvent) -> None:
    """A run that SUCCEEDED begins or waits again if a person names steps of it, and changes in no other way."""
    if event in {RunEvent.RETRY, RunEvent.WAIT}:
        assert not next_run_state(RunState.SUCCEEDED, event).is_terminal
        return
    with pytest.raises(TransitionError):
        next_run_state(RunState.SUCCEEDED, event)


def test_open_run_states_are_the_ones_that_end() -> None:
    """Every open run state has a row to a terminal one."""
    for state in RunState:
        targets = {target for (origin, _), target in RUN_TRANSITIONS.items() if origin is state}
        assert state.is_terminal or any(target.is_terminal for target in targets)
