"""The end that a step must have, derived from the workflow and the script alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import OutcomeKind
from atom_workflows.core.workflow import OnLost
from simulation.scenario import Ending, Scenario, StepPlan

_MAX_LOSSES: Final = 3

SCRIPTED: Final[Mapping[Ending, OutcomeKind]] = {
    Ending.SUCCEEDS: OutcomeKind.SUCCEEDED,
    Ending.FAILS: OutcomeKind.FAILED,
    Ending.IS_CANCELLED: OutcomeKind.CANCELLED,
    Ending.IS_REFUSED: OutcomeKind.REFUSED,
    Ending.VANISHES: OutcomeKind.LOST,
    Ending.NEVER_ENDS: OutcomeKind.TIMED_OUT,
}
"""The outcome of an attempt if nothing but the script decides."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The tries and losses of a step's earlier attempts."""

    tries: int = 0
    losses: int = 0


def after(plan: StepPlan, tally: Tally, kind: OutcomeKind) -> tuple[StepState, Tally]:
    """Return the step's state and tally after one more outcome.

    The state is RETRYING, or the step's end.
    """
    if kind is OutcomeKind.SUCCEEDED:
        return StepState.SUCCEEDED, tally
    if kind is OutcomeKind.CANCELLED:
        return StepState.CANCELLED, tally
    if kind is OutcomeKind.REFUSED:
        return StepState.FAILED, tally
    if kind is OutcomeKind.LOST:
        lost = Tally(tally.tries, tally.losses + 1)
        ends = plan.on_lost is OnLost.FAIL or lost.losses >= _MAX_LOSSES
        return (StepState.FAILED if ends else StepState.RETRYING), lost
    tried = Tally(tally.tries + 1, tally.losses)
    return (StepState.FAILED if tried.tries >= plan.max_attempts else StepState.RETRYING), tried


def scripted_state(plan: StepPlan) -> StepState:
    """Return the end of a step that only its script decides."""
    if not plan.has_task:
        return StepState.SUCCEEDED
    state, tally, attempt = StepState.RETRYING, Tally(), 0
    while state is StepState.RETRYING:
        attempt += 1
        state, tally = after(plan, tally, SCRIPTED[plan.ending(attempt)])
    return state


def expected_ends(scenario: Scenario, excused: Mapping[str, StepState]) -> dict[str, StepState]:
    """Return the end of every step of an undisturbed run.

    `excused` are those that faults rightly made end otherwise.
    """
    ends: dict[str, StepState] = {}
    for plan in scenario.steps:
        if any(ends[need] is not StepState.SUCCEEDED for need in plan.depends_on):
            ends[plan.id] = StepState.SKIPPED
        else:
            ends[plan.id] = excused.get(plan.id) or scripted_state(plan)
    return ends


def longest_path_s(scenario: Scenario, slack_s: float) -> float:
    """Return the longest time that the graph may take.

    In seconds, if every step takes as long as its script allows, with the slack.
    """
    ends: dict[str, float] = {}
    for plan in scenario.steps:
        begins = max((ends[need] for need in plan.depends_on), default=0.0)
        ends[plan.id] = begins + _longest_s(plan, slack_s)
    return max(ends.values())


def _longest_s(plan: StepPlan, slack_s: float) -> float:
    if not plan.has_task:
        return 0.0
    attempts = plan.max_attempts + _MAX_LOSSES
    slowest = plan.timeout_s if Ending.NEVER_ENDS in plan.endings else plan.duration_s
    back_off_s = plan.backoff_s * 2.0**plan.max_attempts
    return (slowest + back_off_s + slack_s) * (attempts if set(plan.endings) != {Ending.SUCCEEDS} else 1)
