"""A half-seeded run against its compiled graph: what of it is missing, and what another version wrote otherwise.

A run that one version began to seed may be gone on with by another, whose limits make another graph of the same
workflow. Barriers of both would count each other's steps; so what does not fit is rewritten before the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.coordinator.loading import all_documents
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
"""What a step is from the start, with the value that a missing field stands for."""

MOST_BYTES: Final = 20_000_000

_SET_ASIDE: Final[Fields] = {
    **_ABSENT,
    "state": StepState.SUCCEEDED.value,
    "remaining": 0,
    "unsuccessful": 0,
}
"""A barrier of the other graph alone: connected with nothing, and over. Functions delete no document."""


def compare(services: Services, graph: RunGraph) -> tuple[list[str], list[Update]]:
    """Return the missing documents' paths, and writes that make the others fit.

    At most `MOST_BYTES` of writes: the caller compares again after writing them.
    """
    missing = dict.fromkeys(graph.paths)
    misfits: list[Update] = []
    size = 0
    for document in all_documents(services, graph.run.id):
        is_known = document.path in missing
        missing.pop(document.path, None)
        if document.fields.get("attempt") or size > MOST_BYTES:
            continue  # It ran, so that it was released by a graph that was complete; or it has to wait.
        fields = _differing(graph.create(document.path), document) if is_known else _setting_aside(document)
        if fields:
            misfits.append(Update(path=document.path, fields=fields, guard=document.version))
            size += len(str(fields))
    return list(missing), misfits


def _setting_aside(document: Document) -> Fields:
    """Return the fields that set a node aside, none if it is."""
    return {} if all(document.fields.get(name) == value for name, value in _SET_ASIDE.items()) else _SET_ASIDE


def _differing(create: Create, document: Document) -> Fields:
    """Return the fields with which a step fits this graph."""
    fields = {
        name: create.fields.get(name, absent)
        for name, absent in _ABSENT.items()
        if create.fields.get(name, absent) != document.fields.get(name, absent)
    }
    if not fields:
        return {}
    # Of a run that has not begun, only what was set aside has succeeded.
    is_set_aside = document.fields["state"] == StepState.SUCCEEDED.value
    again = {"state": create.fields["state"]} if is_set_aside else {}
    return {**fields, **again, "remaining": create.fields["remaining"]}
