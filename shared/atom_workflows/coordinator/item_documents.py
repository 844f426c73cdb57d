"""Build the documents of a loop's items and the surrounding nodes.

Each is built only when it is about to be written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from atom_workflows.core.expansion import Expansion
from atom_workflows.core.graph import Node
from atom_workflows.core.items import Items
from atom_workflows.core.reads import select_constants
from atom_workflows.core.records import Loop, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.documents import step_path
from atom_workflows.ports import Create
from atom_workflows.step_documents import step_fields


def create_items(step: StepRecord, loop: Loop, items: Items, expansion: Expansion) -> Iterator[Create]:
    """Yield the documents that have not been written yet.

    Each is built only when it is needed.
    """
    first_item = expansion.node_count - expansion.size
    texts = items.texts(max(0, step.written - first_item))
    shared: dict[str, Any] | None = None
    for node, index in islice(expansion.nodes(), step.written, None):
        path = step_path(step.run_id, node.id)
        if index is None:
            record = _barrier(step, node)
            if (shard := expansion.shards.get(node.id)) is not None:
                record = replace(record, state=StepState.SUCCEEDED, items=items.count, places=shard)
            yield Create(path=path, fields=step_fields(record))
            continue
        text = next(texts)
        if shared is None:
            shared = step_fields(_item(step, loop, node, index=index, text=text))
        # What items have in common is converted only once.
        edges = ("depends_on", "dependents", "barriers", "conditional")
        own: dict[str, Any] = {name: list(getattr(node, name)) for name in edges}
        # An item has one dependency, or waits for its place.
        own |= {"index": index, "item": text, "remaining": 1, **expansion.places_of(index)}
        yield Create(path=path, fields={**shared, **own})


def _barrier(step: StepRecord, node: Node) -> StepRecord:
    return StepRecord(
        run_id=step.run_id,
        id=node.id,
        kind=node.kind,
        schema=step.schema,
        request=None,
        task_runner_url="",
        policies=step.policies,
        depends_on=node.depends_on,
        dependents=node.dependents,
        barriers=node.barriers,
        conditional=node.conditional,
        phase=node.phase,
        each=step.each,
        expansion=step.expansion,
        remaining=len(node.depends_on),
        expire_at=step.expire_at,
    )


def _item(step: StepRecord, loop: Loop, node: Node, *, index: int, text: str) -> StepRecord:
    conditions = [one for one in (loop.when, loop.policies.retry.when) if one is not None]
    return replace(
        _barrier(step, node),
        request=step.request,
        task_runner_url=step.task_runner_url,
        policies=loop.policies,
        templates=step.templates,
        constants=select_constants(step.constants, [*step.templates, *conditions]),
        outputs=loop.outputs,
        when=loop.when,
        index=index,
        item=text,
        item_type=json.dumps(loop.item_type, separators=(",", ":")),
    )
