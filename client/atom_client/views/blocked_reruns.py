"""Find steps that a retry resets but that a kept failure blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import TopologicalSorter

from atom_workflows.core.counts import count_end
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import Counters, NodeKind, Release, decide_release
from atom_workflows.core.records import StepRecord
from atom_workflows.core.selection import Selection


def find_blocked(
    nodes: Mapping[str, StepRecord], again: Collection[str], selection: Selection, *, marked: str = ""
) -> dict[str, str]:
    """Return the nodes that are certain to be blocked.

    Each is mapped to the failed step that blocks it. `nodes` are all nodes of a run, and `again` those that the retry
    resets. `marked` is the node that a person is about to mark, which ends as decided.
    """
    causes, blocked = dict[str, str](), dict[str, str]()
    for name in TopologicalSorter({node.id: node.depends_on for node in nodes.values()}).static_order():
        node = nodes.get(name)
        if node is None or name in {END_ID, MAIN_END_ID}:
            continue
        if name not in again:
            kept = count_end(node)
            causes |= {name: kept.cause or name} if kept.unsuccessful else {}
            continue
        # A step with `forEach` joins its items however they end; without any, it ends like the node that creates them.
        needs = (expander_id(name),) if node.kind is NodeKind.GATHER else node.depends_on
        cause = next((causes[need] for need in needs if need in causes), "")
        is_decided = name == marked or (node.has_open_mark and not selection.names(name))
        if not cause or is_decided:
            continue
        if decide_release(node.kind, Counters(0, unsuccessful=1, total=1), node.trigger) is Release.BLOCK:
            causes[name] = blocked[name] = cause
    return blocked
