"""Decide whether a run can be retried, and which steps run again.

The steps to run again are those that failed or were cancelled without being tolerated, those that were blocked or
stopped, and all steps after them: a step that reacted to a failure is reconsidered, even if it succeeded. Steps that
were skipped by choice or tolerated are kept, like those that succeeded, unless they come after a step that runs again.

Items of a step with `forEach` are treated this way only if the step itself runs again: if it succeeded, it tolerates
the failures of its items. If its list may have changed, all of its items are created again, and the old ones stay as
they are; see expansion.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from atom_workflows.core.expansion import is_item_node
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.retention import is_nearly_gone
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.errors import Remedy, RunStateError, TransitionError

if TYPE_CHECKING:
    from atom_workflows.core.selection import Selection

_NEVER_STARTED: Final = {
    RunState.INVALID: "fix the file and start it again",
    RunState.SKIPPED: "start its workflow again",
}
"""The states of runs that have ended without being started, and what to do instead of a retry."""


def require_retriable(run: RunRecord, *, now: datetime, is_selective: bool = False) -> None:
    """Raise `RunStateError` if the run cannot be retried.

    That is the case if its state does not allow a retry, or if it will soon be deleted. A run that SUCCEEDED can be
    retried only if `is_selective` is True, which means that the steps to run again are named.
    """
    if then := _NEVER_STARTED.get(run.state):
        raise RunStateError(f"run {run.id} is {run.state}, so none of its steps can run; {then}")
    try:
        next_run_state(run.state, RunEvent.RETRY)
    except TransitionError:
        raise RunStateError(f"run {run.id} is {run.state}; only a run that has ended can be retried") from None
    if run.state is RunState.SUCCEEDED and not is_selective:
        name = "name the steps to run again with"
        raise RunStateError(
            f"run {run.id} is SUCCEEDED", remedy=Remedy(f"{name} --from or --only", f'{name} "from" or "only"')
        )
    if is_nearly_gone(run.expire_at, now=now):
        gone_at = f"{run.expire_at:%Y-%m-%d %H:%M} UTC"
        message = f"run {run.id} will be deleted at {gone_at}, too soon for a retry; start its workflow again"
        raise RunStateError(message)


def steps_to_rerun(steps: Mapping[str, StepRecord], *, retries: int, selection: Selection | None = None) -> set[str]:
    """Return the ids of the steps that do not keep their result.

    `steps` are all nodes of the run's graph. `retries` is the run's number of retries, including this one. Steps
    that this retry has already reset are included, whatever their state is now. With a selection, a person has chosen
    the steps; see selection.py.
    """
    if selection is None:
        chosen = everything_after(steps, find_unsuccessful(steps, retries=retries))
    else:
        # Imported here because most retries need no selection.
        from atom_workflows.core.selection import choose  # noqa: PLC0415 - see above

        chosen = choose(steps, selection, retries=retries)
    anew = {step_id for step_id in chosen if steps[step_id].kind is NodeKind.EXPAND}
    return {
        step_id
        for step_id in chosen
        if not is_item_node(steps[step_id]) or expander_id(steps[step_id].each) not in anew
    }


def find_unsuccessful(steps: Mapping[str, StepRecord], *, retries: int = -1) -> set[str]:
    """Return the steps that lose their result regardless of earlier steps.

    Steps that the retry with this number has already reset are included.
    """
    found = {
        step.id
        for step in steps.values()
        if step.retries == retries
        or step.problem
        or not (step.state is StepState.SUCCEEDED or step.by_choice or step.tolerated)
    }
    return {step_id for step_id in found if not (each := steps[step_id].each) or each in found}


def everything_after(steps: Mapping[str, StepRecord], first: Collection[str]) -> set[str]:
    """Return the given steps and everything after them.

    The result includes the nodes that run again in every retry.
    """
    chosen = {END_ID} & steps.keys()
    # Whichever steps run again, those under `finally` must run again after them.
    pending = [*first, *({MAIN_END_ID} & steps.keys())]
    below = dependents_of(steps)
    while pending:
        step_id = pending.pop()
        if step_id in steps and step_id not in chosen:
            chosen.add(step_id)
            pending += below[step_id]
    return chosen


def dependents_of(steps: Mapping[str, StepRecord]) -> dict[str, list[str]]:
    """Return the dependents of each node, derived from the nodes' dependencies.

    A node's own list may lack some: if a person chose what to retry, it has only the dependents that ran again with
    the node (see selection.py).
    """
    below: dict[str, list[str]] = {step_id: [] for step_id in steps}
    for step in steps.values():
        for need in step.depends_on:
            if need in below:
                below[need].append(step.id)
    return below


def needs_reset(step: StepRecord, *, retries: int) -> bool:
    """Return True if a retry has yet to reset the chosen step.

    A step that has been reset stores the number of the retry; a step that is under way was dispatched after its reset.
    """
    left_over = step.state.is_terminal or step.state is StepState.PENDING
    return left_over and step.retries < retries
