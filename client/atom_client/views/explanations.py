"""Read what explains a run or a step: its documents, and those around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import listing
from atom_client.views.items import read_loop, read_loops, read_some
from atom_client.views.lines import read_line
from atom_client.views.loops import LoopView, origin_text
from atom_client.views.queries import (
    NodeReader,
    is_step_id,
    last_look,
    read_outlines,
    read_outlines_without_items,
    read_outputs_of_steps,
    similar_step,
)
from atom_client.views.seen import Seen, StepSeen
from atom_client.views.why_step import look_around
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import UNDER_WAY
from atom_workflows.core.item_ids import item_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState

_MOST_ITEMS: Final = 3
"""The maximum number of items per state to name in an explanation of their step."""


def look_at_run(services: Services, run: RunRecord) -> Seen:
    """Read what explains a run's state.

    In a run without items, the steps that SUCCEEDED are not read: they are usually the majority.
    """
    nodes: Mapping[str, StepRecord] = {}
    if run.state not in {RunState.INVALID, RunState.SKIPPED}:
        nodes = (
            read_outlines_without_items(services.store, run)
            if run.item_count
            else read_outlines(services.store, run.id, but_succeeded=run.started_at is not None)
        )
    return look_around_nodes(services, run, nodes)


def look_around_nodes(services: Services, run: RunRecord, nodes: Mapping[str, StepRecord]) -> Seen:
    """Read what explains a run's state besides its nodes, which are known."""
    now = services.clock.now()
    looked_at = last_look(services.store, now=now) if run.state is RunState.RUNNING else None
    queue = read_line(services, run) if run.state is RunState.QUEUED else None
    loops = read_loops(services.store, run, nodes)
    open_loops = [loop for loop in loops.values() if not loop.step.state.is_terminal]
    items = [item for loop in open_loops for state in UNDER_WAY for item in read_some(services.store, loop, state)]
    return Seen(run=run, nodes=nodes, now=now, looked_at=looked_at, line=queue, loops=loops, items=items)


def look_at_step(services: Services, run: RunRecord, step_id: str) -> StepSeen:
    """Read a step or an item, and what explains its state.

    Raises `Failure` if there is no such step or item.
    """
    reader = NodeReader(services.store, run)
    step, loop = _find_step(services, reader, run, step_id)
    seen = replace(look_around(reader, run, step, now=services.clock.now()), loop=loop)
    if loop is not None and step.kind is not NodeKind.ITEM:
        some = (read_some(services.store, loop, state) for state in (*UNDER_WAY, StepState.SKIPPED))
        seen = replace(seen, items=[item for items in some for item in items[:_MOST_ITEMS]])
    if step.outputs:
        outputs = read_outputs_of_steps(services.store, run.id, [step.id]).get(step.id, {})
        seen = replace(seen, outputs=outputs)
    return seen


def _find_step(
    services: Services, reader: NodeReader, run: RunRecord, step_id: str
) -> tuple[StepRecord, LoopView | None]:
    """Return a step (as users see it) or item, and its loop.

    The loop is the step with `forEach` itself, or the one that the item belongs to. Raises `Failure` if there is no
    such step or item.
    """
    name = parse_item_id(step_id)
    if name is not None and (loop := read_loop(services.store, run, name.each)) is not None:
        items = reader.read([item_id(name.each, name.index, loop.expander.expansion)]) if loop.is_expanded else []
        if items and shown_id(items[0].id) == step_id:
            return items[0], loop
        has = f"has {loop.counts.describe()} (numbered from 0)" if loop.is_expanded else "has no items"
        explains = origin_text(loop.step) or f"`{with_place(f'why {run.id} {name.each}')}` explains the step"
        raise Failure(f"step `{name.each}` {has}: there is no {listing([step_id])}; {explains}")
    found = reader.read([step_id]) if is_step_id(step_id) else []
    if found:
        loop = read_loop(services.store, run, step_id) if found[0].kind is NodeKind.GATHER else None
        return (found[0] if loop is None else loop.step), loop
    if run.started_at is None:
        explains = f"`{with_place(f'why {run.id}')}` explains why"
        raise Failure(f"run {run.id} is {run.state} and has not begun, so it has no steps to show; {explains}")
    meant = similar_step(services.store, run, name.each if name else step_id)
    lists = f"`{with_place(f'runs show {run.id}')}` lists its steps"
    hint = f"did you mean {listing([meant])}?" if meant else lists
    raise Failure(f"run {run.id} has no step {listing([step_id])}; {hint}")
