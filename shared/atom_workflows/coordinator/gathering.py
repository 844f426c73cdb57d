"""End a `forEach` step once all items have ended, and gather outputs.

The step is claimed under a lease like any other, since reading the outputs of thousands of items takes a while. Its
counters already show how the items ended.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.failures import FAILED_ITEMS, find_failed_items
from atom_workflows.coordinator.loading import AT_ONCE, StoredStep
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import StepChange, change, end_step
from atom_workflows.core.gathering import (
    MAX_GATHERED_BYTES,
    count_items,
    fail_too_large,
    fail_with_items,
    fail_with_problem,
    fail_without_result,
)
from atom_workflows.core.item_ids import expander_id, item_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.outcomes import FAILURE_KINDS, clip
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepEvent, StepState
from atom_workflows.core.transitions import MAX_DEATHS
from atom_workflows.core.workflow import JsonValue
from atom_workflows.documents import outputs_path, step_path, steps_path
from atom_workflows.errors import StoreUnavailable
from atom_workflows.ports import Condition, Query

_LATER: Final = timedelta(seconds=10)


def gather(services: Services, stored: StoredStep) -> Decision:
    """Decide how a claimed step ends, given how its items ended."""
    try:
        return Decision(stored=stored, change=_decide(services, stored.step))
    except StoreUnavailable as error:
        log.warning("step.gather.deferred", f"gathering the outputs is deferred: {error}", **stored.step.names)
        due_at = services.clock.now() + _LATER
        message = clip(f"the results of its items could not be read: {error}")
        later = change(stored.step, StepEvent.DEFER, due_at=due_at, answered=True, message=message)
        return Decision(stored=stored, change=later)


def _decide(services: Services, step: StepRecord) -> StepChange:
    if step.losses >= MAX_DEATHS:
        return fail_without_result(step, f"died {MAX_DEATHS} times while doing so", now=services.clock.now())
    path = step_path(step.run_id, expander_id(step.id))
    (expander,) = services.store.get([path], fields=("problem", "expansion"))
    if expander is None:
        return fail_without_result(step, "found no node that created its items", now=services.clock.now())
    expansion = expander.fields["expansion"]
    if problem := expander.fields.get("problem"):
        return fail_with_problem(step, problem, now=services.clock.now())
    # Items that an earlier round left unstarted have not succeeded, either.
    if count_items(step)["failed"] + step.unstarted > step.tolerate:
        first, unstarted, stopped = find_failed_items(services, step, expansion)
        return fail_with_items(step, first, unstarted=unstarted, stopped=stopped, now=services.clock.now())
    outputs = _gather_outputs(services, step, expansion) if step.outputs else {}
    if outputs is None:
        return fail_too_large(step, now=services.clock.now())
    return replace(end_step(step, StepEvent.SUCCEED, services.clock.now()), outputs=outputs or None)


def count_after_stop(services: Services, run_id: str, step_id: str) -> dict[str, int]:
    """Count a step's items that had ended before a stop.

    The step's own counters cannot be used: barriers that the stop ended did not pass on their counts. Items that were
    not started also count as failed, and their number is known only once the last item has ended.
    """
    (expander,) = services.store.get([step_path(run_id, expander_id(step_id))], fields=("expansion",))
    if expander is None:
        return {}
    expansion = expander.fields["expansion"]
    # An item that the stop ended has no kind of failure of its own.
    failed: list[Condition] = [("state", "in", FAILED_ITEMS), ("last_kind", "in", list(FAILURE_KINDS.values()))]
    ended: dict[str, list[Condition]] = {
        "succeeded": [("state", "==", StepState.SUCCEEDED.value)],
        "failed": failed,
        "skipped": [("by_choice", "==", True)],
    }
    items: list[Condition] = [
        ("each", "==", step_id),
        ("expansion", "==", expansion),
        ("kind", "==", NodeKind.ITEM.value),
    ]
    return {
        name: services.store.count(Query(collection=steps_path(run_id), where=[*items, *conditions]))
        for name, conditions in ended.items()
    }


def _gather_outputs(services: Services, step: StepRecord, expansion: int) -> dict[str, JsonValue] | None:
    """Return the items' outputs as lists by name, in item order.

    Returns None if they are too large. An item without outputs, because it was skipped or its failure is tolerated,
    is represented by null.
    """
    lists: dict[str, list[JsonValue]] = {name: [] for name in step.outputs}
    size = 0
    for start in range(0, step.items, AT_ONCE):
        indexes = range(start, min(start + AT_ONCE, step.items))
        paths = [outputs_path(step.run_id, item_id(step.id, index, expansion)) for index in indexes]
        for document in services.store.get(paths, fields=("values",)):
            values = json.loads((document.fields.get("values") if document else "") or "{}")
            for name, gathered in lists.items():
                value = values.get(name)
                gathered.append(value)
                size += len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) + 1
        if size > MAX_GATHERED_BYTES:
            return None
    return dict(lists)
