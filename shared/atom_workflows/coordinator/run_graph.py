"""The documents of a run's graph, each made when it is to be written; and a half-seeded run compared with them.

A run that one version began to seed may be gone on with by another, whose limits make another graph of the same
workflow. Barriers of both would count each other's steps; so what does not fit is rewritten before the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from atom_workflows.coordinator.loading import all_documents
from atom_workflows.coordinator.retry import first_audit
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID, compile_graph
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Workflow, job_request
from atom_workflows.documents import new_step, step_fields, step_path
from atom_workflows.ports import Create, Document, Fields, Update


class RunGraph:
    """A workflow compiled for one run. `path` is the workflow file's, which its jobs are labelled with."""

    def __init__(self, run: RunRecord, workflow: Workflow, path: str) -> None:
        self.run = run
        self._path = path
        self._nodes = {step_path(run.id, node.id): node for node in compile_graph(workflow).values()}
        self._steps = {step.id: step for step in workflow.steps}

    @property
    def paths(self) -> Sequence[str]:
        """The paths of all nodes' documents, the end's last."""
        return list(self._nodes)

    def create(self, path: str) -> Create:
        """Make the document of one node.

        The end is where the checker finds the run, for as long as it is open.
        """
        node = self._nodes[path]
        step = self._steps.get(node.id)
        request = None if step is None or step.task is None else job_request(step, step.task, self._path)
        fields = step_fields(new_step(node, step, run=self.run, request=request))
        due = {"due_at": first_audit(self.run.created_at, self.run.deadline)} if node.id == END_ID else {}
        return Create(path=path, fields=fields | due)

    def creates(self, paths: Iterable[str]) -> Iterator[Create]:
        """Make these documents, one at a time."""
        return map(self.create, paths)


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
