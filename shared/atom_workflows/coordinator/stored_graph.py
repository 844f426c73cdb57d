"""Compare the documents of a half-seeded run with its compiled graph.

A run that one version began to seed may be continued by another, whose limits make another graph of the same workflow.
Barriers of both graphs would count each other's steps, so documents that do not fit are rewritten before the run goes
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.coordinator.loading import iter_documents
from atom_workflows.coordinator.run_graph import RunGraph
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import StepState
from atom_workflows.ports import Create, Document, Fields, Update

_ABSENT: Final[Mapping[str, Any]] = {
    "depends_on": [],
    "dependents": [],
    "barriers": [],
    "heirs": [],
    "hands_over_to": None,
    "task": None,
    "policies": {},
    "task_runner_url": "",
}
"""The fields that the graph determines, each with the value that a missing field stands for."""

MAX_BYTES: Final = 20_000_000

_SET_ASIDE: Final[Fields] = {
    **_ABSENT,
    "state": StepState.SUCCEEDED.value,
    "remaining": 0,
    "unsuccessful": 0,
}
"""A barrier that only the other graph has is disconnected and ended, as functions delete no document."""


def compare(services: Services, graph: RunGraph) -> tuple[list[str], list[Update]]:
    """Return the missing documents' paths, and writes that make the others fit.

    The writes stop at about `MAX_BYTES`, so the caller compares again after making them.
    """
    missing = dict.fromkeys(graph.paths)
    misfits: list[Update] = []
    size = 0
    for document in iter_documents(services, graph.run.id):
        is_known = document.path in missing
        missing.pop(document.path, None)
        if document.fields.get("attempt") or size > MAX_BYTES:
            continue  # It was claimed, so its graph was complete when it was released; or it has to wait.
        if is_known:
            fields = _fields_to_fit(graph.create(document.path), document)
        else:
            fields = {} if all(document.fields.get(name) == value for name, value in _SET_ASIDE.items()) else _SET_ASIDE
        if fields:
            misfits.append(Update(path=document.path, fields=fields, guard=document.version))
            size += len(str(fields))
    return list(missing), misfits


def _fields_to_fit(create: Create, document: Document) -> Fields:
    """Return the fields that differ from the graph's, or {}."""
    fields = {
        name: create.fields.get(name, absent)
        for name, absent in _ABSENT.items()
        if create.fields.get(name, absent) != document.fields.get(name, absent)
    }
    if not fields:
        return {}
    # The run has not begun, so a step that succeeded was set aside.
    is_set_aside = document.fields["state"] == StepState.SUCCEEDED.value
    again = {"state": create.fields["state"]} if is_set_aside else {}
    return {**fields, **again, "remaining": create.fields["remaining"]}
