"""Read the nodes of a run that its picture needs."""

from __future__ import annotations

from atom_client.views.items import MOST_LOOPS
from atom_client.views.queries import may_have_items, read_outlines_without_items
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.documents import steps_path
from atom_workflows.ports import Query, Store
from atom_workflows.step_documents import step_record


def read_nodes_to_draw(store: Store, run: RunRecord) -> dict[str, StepRecord]:
    """Return a run's nodes by id, without items and jobs.

    Outlines leave out the conditions that are decided for each item, so the first loops are also read in full.
    """
    nodes = read_outlines_without_items(store, run)
    if may_have_items(run):
        expanders = Query(
            collection=steps_path(run.id), where=[("kind", "==", NodeKind.EXPAND.value)], limit=MOST_LOOPS
        )
        nodes |= {document.id: step_record(document) for document in store.query(expanders)}
    return nodes
