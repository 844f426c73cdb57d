"""Build a run's graph documents, each just before it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator import batches
from atom_workflows.coordinator.loading import StoredRun, iter_documents
from atom_workflows.coordinator.services import Services
from atom_workflows.core.evaluation import STEPS_AT_THE_START, new_budget, settle_templates
from atom_workflows.core.gathering import gathered_types
from atom_workflows.core.graph import Node, compile_graph
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind, WhenDue
from atom_workflows.core.polling import first_audit
from atom_workflows.core.reads import is_per_item
from atom_workflows.core.records import Loop, RunRecord, StepRecord
from atom_workflows.core.run_values import constants_of
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Condition, Step, Template, Workflow, job_request, job_templates
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Create, Document, Fields, Update
from atom_workflows.step_documents import new_step, policies_of, step_fields


class RunGraph:
    """A workflow compiled for one run.

    `path` is the path of the workflow file; the label of its jobs is derived from it.
    """

    def __init__(self, run: RunRecord, workflow: Workflow, path: str) -> None:
        self.run = run
        self._path = path
        self._nodes = {step_path(run.id, node.id): node for node in compile_graph(workflow).values()}
        self._steps = {step.id: step for step in workflow.all_steps}
        self._steps |= {expander_id(step.id): step for step in workflow.all_steps if step.for_each is not None}
        self._gathered = gathered_types(workflow)
        self._constants = constants_of(run, workflow)

    @property
    def paths(self) -> Sequence[str]:
        """The paths of all nodes' documents. The end node's path is last."""
        return list(self._nodes)

    def record(self, path: str) -> StepRecord:
        """Build one node as it is before the run begins."""
        node = self._nodes[path]
        step = self._steps.get(node.id)
        return new_step(node, step, run=self.run, **self._own_fields(node, step))

    def create(self, path: str) -> Create:
        """Build the document of one node.

        The end node's document has a due time, which is how the checker finds an open run.
        """
        record = self.record(path)
        fields = step_fields(record)
        if record.rules.due is WhenDue.AUDIT_RUN:
            fields["due_at"] = first_audit(self.run.created_at, self.run.deadline, self.run.late_at)
        return Create(path=path, fields=fields)

    def _own_fields(self, node: Node, step: Step | None) -> dict[str, Any]:
        """Return the fields of a node's record that are not edges."""
        if step is None or step.for_each is None:
            return self._work_of(step)
        if node.kind is NodeKind.GATHER:
            return {
                "request": None,
                "each": step.id,
                "outputs": self._gathered.get(step.id, {}),
                "allow_failure": step.allow_failure,
                "tolerate": step.for_each.tolerate,
            }
        from atom_workflows.expressions.types import write_type  # noqa: PLC0415 (only runs with loops need it)

        per_item = step.when is not None and is_per_item(step.when)
        loop = Loop(
            lists=step.for_each.lists,
            item_type=write_type(step.for_each.item_type),
            policies=policies_of(step),
            max_parallel=step.for_each.max_parallel,
            when=step.when if per_item else None,
            outputs=step.outputs,
        )
        return {
            **self._work_of(step),
            "each": step.id,
            "expansion": 1,
            "tolerate": step.for_each.tolerate,
            "loop": loop,
            "trigger": step.trigger,
            "when": None if per_item else step.when,
        }

    def _work_of(self, step: Step | None) -> dict[str, Any]:
        """Return the step's job, evaluating expressions that read only constants."""
        if step is None or step.task is None:
            when = [step.when] if step is not None and step.when else []
            return {"request": None, "constants": self._constants.read_by(when)}
        request = job_request(step, step.task, self._path)
        budget = new_budget(STEPS_AT_THE_START) if step.task.templates else None
        request, templates = settle_templates(request, job_templates(step.task), self._constants, budget)
        conditions = [one for one in (step.when, step.retry.when) if one is not None]
        lists = () if step.for_each is None else step.for_each.templates
        read: list[Condition | Template] = [*templates, *conditions, *lists]
        return {
            "request": request,
            "templates": templates,
            # Outputs and items may be times.
            "constants": self._constants.read_by(read, reads_times=bool(step.outputs or step.for_each)),
        }

    def creates(self, paths: Iterable[str]) -> Iterator[Create]:
        """Build the documents at the given paths, one at a time."""
        return map(self.create, paths)


def fit_into_commit(graph: RunGraph) -> list[Create]:
    """Return all documents if they fit into one commit.

    Returns an empty list if they do not. Room is left for the run's own document.
    """
    if len(graph.paths) >= batches.BATCH_DOCUMENTS:
        return []
    creates: list[Create] = []
    size = 0
    for create in graph.creates(graph.paths):
        creates.append(create)
        size += batches.size_of(create)
        if size >= batches.BATCH_BYTES:
            return []
    return creates


_ABSENT: Final[Mapping[str, Any]] = {
    "depends_on": [],
    "dependents": [],
    "barriers": [],
    "heirs": [],
    "hands_over_to": None,
    "conditional": [],
    "task": None,
    "policies": {},
    "task_runner_url": "",
    **dict.fromkeys(("templates", "constants", "outputs", "trigger", "phase", "loop", "each"), ""),
    **dict.fromkeys(("expansion", "tolerate"), 0),
    "when": None,
    "allow_failure": False,
}
"""The fields that the graph determines, each with the value that is assumed if the field is missing."""

MAX_BYTES: Final = 20_000_000

_SET_ASIDE: Final[Fields] = {
    **_ABSENT,
    "state": StepState.SUCCEEDED.value,
    "remaining": 0,
    "unsuccessful": 0,
}
"""Fields that disconnect and end a barrier left over from another version's graph. Functions never delete documents."""


def compare(services: Services, graph: RunGraph) -> tuple[list[str], list[Update]]:
    """Return the paths of missing documents, and writes that correct the others.

    The writes amount to no more than about `MAX_BYTES`, so the caller compares again after making them.
    """
    missing = dict.fromkeys(graph.paths)
    misfits: list[Update] = []
    size = 0
    for document in iter_documents(services, graph.run.id):
        is_known = document.path in missing
        missing.pop(document.path, None)
        is_claimed = document.fields.get("attempt") and not document.fields.get("kept_from")
        if is_claimed or size > MAX_BYTES:
            continue  # A claimed step was released, so its graph was complete. The rest are left to the next call.
        if is_known:
            fields = _fields_to_fit(graph.create(document.path), document)
        else:
            fields = {} if all(document.fields.get(name) == value for name, value in _SET_ASIDE.items()) else _SET_ASIDE
        if fields:
            misfits.append(Update(path=document.path, fields=fields, guard=document.version))
            size += len(str(fields))
    return list(missing), misfits


def _fields_to_fit(create: Create, document: Document) -> Fields:
    """Return the fields to change so that a document fits the graph."""
    fields = {
        name: create.fields.get(name, absent)
        for name, absent in _ABSENT.items()
        if create.fields.get(name, absent) != document.fields.get(name, absent)
    }
    if document.fields.get("kind", create.fields["kind"]) != create.fields["kind"]:
        fields["kind"] = create.fields["kind"]
    if not fields:
        return {}
    # The run has not begun yet, so a step that has succeeded is a barrier that was set aside.
    is_set_aside = document.fields["state"] == StepState.SUCCEEDED.value
    again = {"state": create.fields["state"]} if is_set_aside else {}
    return {**fields, **again, "remaining": create.fields["remaining"]}


def rewrite(services: Services, stored: StoredRun, misfits: Sequence[Update]) -> None:
    """Make existing documents fit the compiled graph.

    Each commit also changes the run under a guard, so the graph can no longer change once another instance has set the
    run to RUNNING.
    """
    run_id, version = stored.run.id, stored.version
    message = f"run {run_id} was started with a different graph; documents being rewritten: {len(misfits)}"
    log.warning("run.seed.rewritten", message, run_id=run_id)
    for batch in batches.in_batches(misfits):
        touch = Update(path=run_path(run_id), increments={"touches": 1}, guard=version)
        try:
            version = services.store.commit([touch, *batch])[0].version
        except Conflict:
            log.debug("run.seed.rewritten.late", f"run {run_id} changed in the meantime", run_id=run_id)
            return
