"""`why`: explains why a run or a step is in its current state, based on its documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import click

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import clean, listing
from atom_client.views.as_json import json_document, moment_text
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
from atom_client.views.reasons import Reason
from atom_client.views.run_references import require_run
from atom_client.views.seen import Seen, StepSeen
from atom_client.views.why_run import HEADINGS, explain_run, headline
from atom_client.views.why_step import look_around, step_explanation, step_facts, step_headline
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import UNDER_WAY
from atom_workflows.core.item_ids import item_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState

MOST_OF_A_KIND: Final = 6
"""The maximum number of reasons of each kind to print, so that an explanation fits on a screen."""

_MOST_ITEMS: Final = 3
"""The maximum number of items per state to name in an explanation of their step."""

_LONGEST_NAME: Final = 12


def print_why_run(services: Services, run_text: str, *, as_json: bool) -> None:
    """Print why a run is in its current state."""
    run = require_run(services.store, run_text)
    now = services.clock.now()
    looked_at = last_look(services.store, now=now) if run.state is RunState.RUNNING else None
    nodes: Mapping[str, StepRecord] = {}
    if run.state not in {RunState.INVALID, RunState.SKIPPED}:
        # In a run without items, the majority has usually succeeded, and is not needed.
        nodes = (
            read_outlines_without_items(services.store, run)
            if run.item_count
            else read_outlines(services.store, run.id, but_succeeded=run.started_at is not None)
        )
    queue = read_line(services, run) if run.state is RunState.QUEUED else None
    loops = read_loops(services.store, run, nodes)
    open_loops = [loop for loop in loops.values() if not loop.step.state.is_terminal]
    items = [item for loop in open_loops for state in UNDER_WAY for item in read_some(services.store, loop, state)]
    seen = Seen(run=run, nodes=nodes, now=now, looked_at=looked_at, line=queue, loops=loops, items=items)
    reasons = list(explain_run(seen))
    if as_json:
        described = {
            "run_id": run.id,
            "run": run.id,
            "state": run.state.value,
            "main_state": run.main_state.value if run.main_state else None,
            "text": headline(seen),
            "steps": seen.count_states(),
            "deadline": moment_text(run.deadline),
            "reasons": [reason.as_fields() for reason in reasons],
        }
        click.echo(json_document(described))
        return
    click.echo(headline(seen))
    for line in _lines(reasons):
        click.echo(line)
    if run.step_count and run.state not in {RunState.QUEUED, RunState.SKIPPED}:
        click.echo(f"\n`{with_place(f'why {run.id} STEP')}` explains a step.")


def _lines(reasons: Sequence[Reason]) -> Iterator[str]:
    """Yield the reasons as lines, a few under each heading."""
    kinds = Counter(reason.kind for reason in reasons)
    printed: Counter[str] = Counter()
    for reason in reasons:
        printed[reason.kind] += 1
        number, of = printed[reason.kind], kinds[reason.kind]
        if reason.kind not in HEADINGS:
            yield clean(reason.text)
            continue
        if number == 1:
            yield HEADINGS[reason.kind]
        if number <= MOST_OF_A_KIND:
            yield f"  {clean(reason.text)}"
        elif number == of:
            yield f"  … and {of - MOST_OF_A_KIND:,} more; `--json` lists all"


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


def read_step(services: Services, run: RunRecord, step_id: str) -> StepSeen:
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


def print_why_step(services: Services, run_text: str, step_id: str, *, as_json: bool) -> None:
    """Print why a step is in its current state."""
    seen = read_step(services, require_run(services.store, run_text), step_id)
    if as_json:
        click.echo(json_document(step_explanation(seen)))
        return
    click.echo(clean(step_headline(seen)))
    print_facts(step_facts(seen))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print facts, each with its label; a label that repeats is printed once."""
    before = ""
    for name, value in facts:
        click.echo(f"  {'' if name == before else name:{_LONGEST_NAME}} {clean(value)}")
        before = name
