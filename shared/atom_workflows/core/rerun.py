"""Choose the steps that a retry of a run runs again.

These are the steps that failed or were cancelled without being tolerated, those that were blocked or stopped, and
everything behind them: a step that reacted to a failure is decided again, even if it succeeded. Steps that were skipped
by choice or tolerated are kept like those that succeeded, unless one of these stands before them.
"""

from __future__ import annotations

from collections.abc import Mapping

from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState


def steps_to_rerun(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Return the ids of the steps that do not keep their result.

    `retries` is the number of the retry. Steps that it has already reset are included, whatever has become of them.
    """
    chosen = {END_ID} & steps.keys()
    pending = [step.id for step in steps.values() if not _keeps_result(step) or step.retries == retries]
    # Whatever runs again, the steps under `finally` follow it.
    pending += {MAIN_END_ID} & steps.keys()
    while pending:
        step_id = pending.pop()
        if step_id in steps and step_id not in chosen:
            chosen.add(step_id)
            pending += steps[step_id].dependents
    return chosen


def needs_reset(step: StepRecord, *, retries: int) -> bool:
    """Return True if a retry has yet to reset a step that will run again.

    A step that it has reset carries its number; a step under way was dispatched by it.
    """
    left_over = step.state.is_terminal or step.state is StepState.PENDING
    return left_over and step.retries < retries


def _keeps_result(step: StepRecord) -> bool:
    return step.state is StepState.SUCCEEDED or step.by_choice or step.tolerated
