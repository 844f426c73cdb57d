"""Choose the steps to run again when a run is retried.

These are the steps that failed or were cancelled without being tolerated, those that were blocked or stopped, and all
steps after them: a step that reacted to a failure is reconsidered, even if it succeeded. Steps that were skipped by
choice or tolerated are kept, like those that succeeded, unless they come after a step that is run again.

Items of a step with `forEach` are treated like that only if the step itself is run again: if it succeeded, it tolerates
the failures of its items. If its list may have changed, all of its items are created again, and the old ones stay as
they are; see expansion.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from atom_workflows.core.expansion import is_item_node
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState


def steps_to_rerun(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Return the ids of the steps that do not keep their result.

    `steps` are all nodes of the run's graph. `retries` is the number of the retry. Steps that it has already reset are
    included, whatever their state is now.
    """
    chosen = {END_ID} & steps.keys()
    failed = {step.id for step in steps.values() if step.retries == retries or not _is_kept(step)}
    pending = [step_id for step_id in failed if not (each := steps[step_id].each) or each in failed]
    # Whichever steps run again, those under `finally` must run again after them.
    pending += {MAIN_END_ID} & steps.keys()
    while pending:
        step_id = pending.pop()
        if step_id in steps and step_id not in chosen:
            chosen.add(step_id)
            pending += steps[step_id].dependents
    anew = {step_id for step_id in chosen if steps[step_id].kind is NodeKind.EXPAND}
    return {
        step_id
        for step_id in chosen
        if not is_item_node(steps[step_id]) or expander_id(steps[step_id].each) not in anew
    }


def _is_kept(step: StepRecord) -> bool:
    """Return True if the step keeps its result unless a step before it is run again."""
    return not step.problem and (step.state is StepState.SUCCEEDED or step.by_choice or step.tolerated)


def needs_reset(step: StepRecord, *, retries: int) -> bool:
    """Return True if a retry has yet to reset the chosen step.

    A step that has been reset stores the number of the retry; a step that is under way was dispatched after its reset.
    """
    left_over = step.state.is_terminal or step.state is StepState.PENDING
    return left_over and step.retries < retries
