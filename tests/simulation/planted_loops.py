"""Bugs on purpose in loops: how items are created, counted, gathered, and run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from atom_workflows.core import gathering, items, rerun
from atom_workflows.core.evaluation import Scope
from atom_workflows.core.item_ids import expander_id, parse_item_id
from atom_workflows.core.items import Items
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import Loop, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.ports import Create, Document, Update, Upsert, Write
from simulation.planting import (
    Scene,
    changes_step,
    commits,
    count_otherwise,
    fields_of,
    id_of,
    is_reset,
    read_as,
    reads,
    sets,
    with_fields,
    without,
    writes,
)

# What is replaced here, as it was.
_compute_items = items.compute_items
_counts_of = gathering.counts_of
_steps_to_rerun = rerun.steps_to_rerun


# -- creating items --------------------------------------------------------------------------------------------------


@writes
def unguarded_batch(_scene: Scene, write: Write) -> Write:
    """Create items whoever creates them, too, and whatever became of their run."""
    if not isinstance(write, Update) or not ("counted" in write.fields or "item_count" in write.increments):
        return write
    return replace(write, guard=None)


@writes
def forget_the_last_batch(_scene: Scene, write: Write) -> Write:
    """Create items without a note of how far that has come."""
    return without(write, "written") if isinstance(write, Update) else write


@writes
def count_from_one(_scene: Scene, write: Write) -> Write:
    """Count items from one."""
    if not isinstance(write, Create) or "index" not in write.fields:
        return write
    return replace(write, fields={**write.fields, "index": write.fields["index"] + 1})


@commits
def end_with_the_first_item(_scene: Scene, together: Sequence[Write]) -> list[Write]:
    """Let a loop wait for one thing only."""
    return [
        replace(write, increments={**write.increments, "remaining": 0})
        if isinstance(write, Update) and "items" in write.fields and write.increments.get("remaining", 0) > 0
        else write
        for write in together
    ]


def leave_out_the_last(step: StepRecord, loop: Loop, scope: Scope) -> Items:
    """Leave the last item of a single list out."""
    found = _compute_items(step, loop, scope)
    return replace(found, lists={name: list(one)[:-1] for name, one in found.lists.items()})


def first_list_fastest(*lists: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Combine several lists in another order."""
    return (combined[::-1] for combined in product(*lists[::-1]))


# -- counting items --------------------------------------------------------------------------------------------------


def _is_failed_item(_scene: Scene, write: Write) -> bool:
    return parse_item_id(id_of(write.path)) is not None and sets(write, StepState.FAILED)


def _is_skipped_item(_scene: Scene, write: Write) -> bool:
    return parse_item_id(id_of(write.path)) is not None and fields_of(write).get("by_choice") is True


items_stain = count_otherwise("stained", _is_failed_item, lambda count: count + 1)
"""Let the failure of an item fail its run."""

forget_skipped_items = count_otherwise("skipped", _is_skipped_item, lambda _: 0)
"""Count an item that was skipped as one that succeeded."""


@reads
def tolerate_one_more(_scene: Scene, document: Document) -> Document:
    """Tolerate one failed item more than allowed."""
    is_loop = document.fields.get("kind") == NodeKind.GATHER.value
    return read_as(document, tolerate=document.fields.get("tolerate", 0) + 1) if is_loop else document


def count_no_failures(fields: Mapping[str, Any]) -> dict[str, int]:
    """Tell expressions that no item failed."""
    return {**_counts_of(fields), "failed": 0}


def count_no_more(*_: object) -> dict[str, int]:
    """Do not count again if the counters of a step lack some of its items."""
    return {}


# -- the end of a loop -----------------------------------------------------------------------------------------------


@writes
def skip_the_empty(scene: Scene, write: Write) -> Write:
    """Skip a loop without items."""
    if not changes_step(write) or not sets(write, StepState.SUCCEEDED):
        return write
    stored = scene.stored(write.path)
    is_empty = stored.get("kind") == NodeKind.GATHER.value and not stored.get("items")
    return with_fields(write, state=StepState.SKIPPED.value, by_choice=True) if is_empty else write


def _gathered(write: Write) -> dict[str, list[Any]]:
    """Return what a loop has gathered, if the write holds that."""
    if "/outputs/" not in write.path or not isinstance(write, Upsert) or parse_item_id(id_of(write.path)):
        return {}
    values = json.loads(write.fields.get("values") or "{}")
    return values if values and all(isinstance(one, list) for one in values.values()) else {}


def _with_values(write: Write, values: Mapping[str, list[Any]]) -> Write:
    return replace(write, fields={**write.fields, "values": json.dumps(values)}) if isinstance(write, Upsert) else write


@writes
def gather_backwards(_scene: Scene, write: Write) -> Write:
    """Gather the outputs in another order."""
    gathered = _gathered(write)
    return _with_values(write, {name: one[::-1] for name, one in gathered.items()}) if gathered else write


@writes
def gather_without_nulls(_scene: Scene, write: Write) -> Write:
    """Leave out items that have no outputs."""
    gathered = _gathered(write)
    kept = {name: [value for value in one if value is not None] for name, one in gathered.items()}
    return _with_values(write, kept) if gathered else write


# -- retries of a run ------------------------------------------------------------------------------------------------


def rerun_all_items(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Run all items of a loop again."""
    chosen = _steps_to_rerun(steps, retries=retries)
    loops = {name for name in chosen if steps[name].kind is NodeKind.GATHER and expander_id(name) not in chosen}
    return chosen | {name for name, step in steps.items() if step.kind is NodeKind.ITEM and step.each in loops}


def rerun_lists(steps: Mapping[str, StepRecord], *, retries: int) -> set[str]:
    """Evaluate the list of a loop again."""
    chosen = _steps_to_rerun(steps, retries=retries)
    loops = {name for name in chosen if steps[name].kind is NodeKind.GATHER}
    old = {name for name, step in steps.items() if step.each in loops and step.kind is not NodeKind.GATHER}
    return (chosen - old) | {expander_id(name) for name in loops}


@writes
def keep_old_items(_scene: Scene, write: Write) -> Write:
    """Let a loop count the items of a list that is over."""
    return without(write, "depends_on") if isinstance(write, Update) and is_reset(write) else write


@writes
def keep_the_number(_scene: Scene, write: Write) -> Write:
    """Create items anew under the ids of the old ones."""
    return without(write, "expansion") if isinstance(write, Update) and is_reset(write) else write
