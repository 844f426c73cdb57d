"""Make the documents of a run's graph, each only when it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from atom_workflows.core.graph import END_ID, compile_graph
from atom_workflows.core.job_request import job_request
from atom_workflows.core.looks import first_audit
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import new_step, step_fields, step_path
from atom_workflows.ports import Create


class RunGraph:
    """A workflow compiled for one run. `path` is that of the workflow file, from which its jobs get their label."""

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

        The end has a due time, by which the checker finds an open run.
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
