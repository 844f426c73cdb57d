"""A half-seeded run against its compiled graph: what of it is missing, and what another version wrote otherwise.

A run that one version began to seed may be gone on with by another, whose limits make another graph of the same
workflow. Barriers of both would count each other's steps; so what does not fit is written anew before the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from atom_workflows.coordinator.loading import all_documents
from atom_workflows.coordinator.services import Services
from atom_workflows.ports import Create, Delete, Document, Update

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


def compare(services: Services, run_id: str, creates: Sequence[Create]) -> tuple[list[Create], list[Update | Delete]]:
    """Return the documents that are not there yet, and the writes that make fit what is there otherwise."""
    missing = {create.path: create for create in creates}
    misfits: list[Update | Delete] = []
    for document in all_documents(services, run_id):
        create = missing.pop(document.path, None)
        if document.fields.get("attempt"):
            continue  # It ran, so that it was released by a graph that was complete.
        if create is None:
            misfits.append(Delete(path=document.path))
        elif fields := _differing(create, document):
            misfits.append(Update(path=document.path, fields=fields, guard=document.version))
    return list(missing.values()), misfits


def _differing(create: Create, document: Document) -> dict[str, Any]:
    """Return the fields with which a step fits that was written for another graph."""
    fields = {
        name: create.fields.get(name, absent)
        for name, absent in _ABSENT.items()
        if create.fields.get(name, absent) != document.fields.get(name, absent)
    }
    return {**fields, "remaining": create.fields["remaining"]} if fields else {}
