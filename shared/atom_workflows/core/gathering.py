"""Decide how a step with `forEach` ends and which outputs it gathers.

Unless it is stopped, it ends once all of its items have ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.changes import StepChange
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.outcomes import FAILURE_KINDS, OWN_FAILURES, OutcomeKind, clip
from atom_workflows.core.reads import is_per_item, paths_in
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.transitions import fail_step
from atom_workflows.core.workflow import Workflow

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type

MAX_GATHERED_BYTES: Final = 900_000
"""The maximum size of the outputs that a step gathers from its items, as JSON."""


def counts_of(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return a step's item counts, computed from its counters.

    `total` is the total number of items. Items that were ended by a stop, or not started because too many others had
    failed, are included only in `total`.
    """
    # One of the dependencies is the node that creates the items.
    ended, items = max(fields.get("total", 0) - 1, 0), fields.get("items", 0)
    if not items:
        return {"total": 0, "succeeded": 0, "failed": 0, "skipped": 0}
    unsuccessful, skipped = fields.get("unsuccessful", 0), fields.get("skipped", 0)
    failed = unsuccessful - fields.get("unstarted", 0)
    return {"total": items, "succeeded": ended - unsuccessful - skipped, "failed": failed, "skipped": skipped}


COUNTED: Final = ("total", "items", "unsuccessful", "unstarted", "skipped")
"""The fields of a step that count its items."""


def is_counted(fields: Mapping[str, Any]) -> bool:
    """Return True if an ended step's counters match its items.

    They match if the step ended because its items did. A stop may end the step before its items have ended, or before
    it is known how many of them were not started.
    """
    return fields.get("state") == StepState.SUCCEEDED or fields.get("last_kind") == FAILURE_KINDS[OutcomeKind.ITEMS]


def count_items(step: StepRecord) -> dict[str, int]:
    """Return a step's item counts."""
    return counts_of({name: getattr(step, name) for name in COUNTED})


def count_unstarted(nodes: Iterable[StepRecord]) -> Counter[str]:
    """Count, by step, the items that ended without a result.

    A stop ended them, or they were not started because too many others had failed.
    """
    return Counter(
        node.each
        for node in nodes
        if node.kind is NodeKind.ITEM
        and node.state is not StepState.SUCCEEDED
        and not node.by_choice
        and node.last_kind not in OWN_FAILURES
    )


def fail_with_problem(step: StepRecord, problem: str, *, now: datetime) -> StepChange:
    """Fail a step whose items could not be created."""
    return fail_step(step, OutcomeKind.EXPRESSION, now, message=clip(problem))


def fail_with_items(step: StepRecord, first: str, *, unstarted: int = 0, stopped: int = 0, now: datetime) -> StepChange:
    """Fail a step because too many of its items failed.

    `first` is the first failed item with its message, and `unstarted` is the number of items that were not started
    because of the failures. `stopped` is the number of items ended by a stop in an earlier round of the run.
    """
    counts = count_items(step)
    why = explain_failures(counts["failed"] + step.unstarted - unstarted, counts["total"], step.tolerate)
    others = f"; {unstarted} {'was' if unstarted == 1 else 'were'} not started" if unstarted else ""
    named = f"; first: {first}" if first else ""
    left_out = unstarted + stopped
    fields = {"unstarted": left_out} if left_out != step.unstarted else {}
    return fail_step(step, OutcomeKind.ITEMS, now, message=clip(f"{why}{others}{named}"), **fields)


def explain_failures(failed: int, items: int, tolerate: int) -> str:
    """Describe how many items failed and how many were allowed to."""
    allowed = "" if not tolerate else f"; at most {tolerate} may fail"
    return f"{failed} of {items} item{'' if items == 1 else 's'} failed{allowed}"


def fail_without_result(step: StepRecord, why: str, *, now: datetime) -> StepChange:
    """Fail a step whose items' results cannot be gathered.

    `why` completes a sentence about the function that gathers the results.
    """
    return fail_step(step, OutcomeKind.LOST, now, message=f"the function that gathers the results of its items {why}")


def fail_too_large(step: StepRecord, *, now: datetime) -> StepChange:
    """Fail a step whose items returned more than it can gather."""
    said = (
        f"the outputs of its items are more than {MAX_GATHERED_BYTES:,} bytes in total: write them to Cloud Storage, "
        "and return gsUris"
    )
    return fail_step(step, OutcomeKind.OUTPUTS, now, message=said)


# -- before a run ----------------------------------------------------------------------------------------------------


def gathered_types(workflow: Workflow) -> dict[str, dict[str, Type]]:
    """Return the outputs that each step with `forEach` gathers, with their types.

    Only outputs that an expression in the file reads are included. Each is a list with one element for each item.
    """
    loops = {step.id: step for step in workflow.all_steps if step.for_each is not None and step.outputs}
    if not loops:
        return {}
    read: dict[str, set[str]] = {}
    texts = (*workflow.outputs, *(text for step in workflow.all_steps for text in step.expressions))
    for path in (path for text in texts if "steps" in text.text for path in paths_in(text) if path[0] == "steps"):
        for step_id in loops if len(path) == 1 else {path[1]} & loops.keys():
            declared = set(loops[step_id].outputs)
            if path[2:3] in {(), ("outputs",)}:
                read.setdefault(step_id, set()).update(set(path[3:4]) & declared if path[3:4] else declared)
    from atom_workflows.expressions.types import ListOf, or_null  # noqa: PLC0415 (only steps with outputs need it)

    lists: dict[str, dict[str, Type]] = {}
    for step_id, names in read.items():
        step = loops[step_id]
        tolerates = step.for_each is not None and step.for_each.tolerate > 0
        may_lack = tolerates or (step.when is not None and is_per_item(step.when))
        found = {name: of for name, of in step.outputs.items() if name in names}
        lists[step_id] = {name: ListOf(or_null(of) if may_lack else of) for name, of in found.items()}
    return lists
