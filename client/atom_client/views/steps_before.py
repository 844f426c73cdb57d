"""Find the steps on which a step depends, directly or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from atom_client.views.loops import as_seen
from atom_client.views.queries import NodeReader
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import StepRecord

_MOST_LEVELS: Final = 40
_MOST_IN_A_LEVEL: Final = 300


def find_before(
    reader: NodeReader, step: StepRecord, *, into: Callable[[StepRecord], bool], until: str = ""
) -> dict[str, tuple[StepRecord, str]]:
    """Return the nodes that a step depends on, by id.

    Each is paired with the id of the node through which it was found. The search continues through the nodes that
    `into` accepts, and ends at the node whose id is `until`.
    """
    found: dict[str, tuple[StepRecord, str]] = {}
    level: dict[str, str] = dict.fromkeys(step.depends_on, step.id)
    for _ in range(_MOST_LEVELS):
        nodes = reader.read(level)
        expanders = reader.read([expander_id(node.id) for node in nodes if node.kind is NodeKind.GATHER])
        by_id = {expander.id: expander for expander in expanders}
        # Here, loops depend on users' steps, not on their items.
        nodes = [as_seen(node, by_id) for node in nodes]
        found |= {node.id: (node, level[node.id]) for node in nodes}
        if not nodes or until in found:
            break
        # The number of nodes read on each level is limited, since one path is enough for an explanation.
        behind = [(name, node.id) for node in nodes if into(node) for name in node.depends_on if name not in found]
        is_wide = until and len(behind) > _MOST_IN_A_LEVEL
        level = dict(behind[:_MOST_IN_A_LEVEL] if is_wide else behind)
    return found


def find_chain(reader: NodeReader, step: StepRecord) -> list[StepRecord]:
    """Return the steps from a blocked step's dependency to the cause."""
    cause = step.cause or ""
    found = find_before(reader, step, into=lambda node: node.cause == cause, until=cause)
    if cause not in found:
        return reader.read([cause])
    chain = []
    name = cause
    while name != step.id:
        node, name = found[name]
        chain.append(node)
    return [node for node in reversed(chain) if not is_internal(node.id)]
