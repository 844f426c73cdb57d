"""Seeding: writing the documents of a run's graph, all at once if one commit holds them, else resumably.

A large run is first written as SEEDING together with its definition and its end, which the checker watches; then come
its steps, in batches that are the same each time and so are there whole or not at all; then it becomes RUNNING.
Retry-from-failed goes the same way, with steps that are reset instead of written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from atom_workflows import decision_log
from atom_workflows.coordinator.loading import HeldRun, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.reset import NEXT_AUDIT, reset_unsuccessful
from atom_workflows.coordinator.stop import close_run
from atom_workflows.coordinator.waves import waves
from atom_workflows.core.graph import END_ID, Node, compile_graph
from atom_workflows.core.job_request import job_request
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import (
    definition_path,
    new_step,
    run_fields,
    run_path,
    step_fields,
    step_path,
    steps_path,
)
from atom_workflows.errors import AlreadyExists, Conflict, NotStorable, RunNotFound
from atom_workflows.events import ReadyStep
from atom_workflows.ports import Create, Query, Update

BATCH_DOCUMENTS: Final = 200
BATCH_BYTES: Final = 900_000
"""A request may hold 1 MB; this leaves room for what encoding adds."""

PAGE: Final = 500

MAX_DEFINITION_BYTES: Final = 900_000
"""A larger run's definition is kept, compressed, in one document, which may have 1 MiB."""

_DOCUMENT_OVERHEAD: Final = 600


def with_workflow(run: RunRecord, workflow: Workflow, *, digest: str) -> RunRecord:
    """The run with what its workflow says."""
    return replace(
        run,
        workflow=workflow.name,
        description=workflow.description,
        step_count=len(workflow.steps),
        timeout=workflow.timeout,
        deadline=None if workflow.timeout is None else run.created_at + workflow.timeout,
        digest=digest,
        warnings=(*run.warnings, *workflow.warnings),
    )


def new(outbox: Outbox, run: RunRecord, workflow: Workflow, text: bytes, path: str) -> None:
    """Seed a run that should not exist yet, and publish its roots."""
    creates = list(_step_creates(run, workflow, path))
    whole = len(creates) < BATCH_DOCUMENTS and sum(map(_size, creates)) < BATCH_BYTES
    try:
        first = _whole_run(run, creates) if whole else _opening(run, creates, text, path)
        version = outbox.services.store.commit(first)[0].version
    except AlreadyExists:
        decision_log.decided("run.start.again", f"run {run.id} was started before", run_id=run.id)
        resume(outbox, run.id)
        return
    decision_log.decided("run.start", f"run {run.id} of {run.workflow} has {run.step_count} steps", run_id=run.id)
    if whole:
        outbox.run_changed(replace(run, state=RunState.RUNNING))
        roots = [step.id for step in workflow.steps if not step.depends_on]
        outbox.ready(run.id, [ReadyStep(step_id=step_id) for step_id in roots])
        return
    _write_steps(outbox, creates)
    if _set_running(outbox, HeldRun(run=run, version=version)):
        publish_released(outbox, run.id)
    else:
        resume(outbox, run.id)


def _whole_run(run: RunRecord, creates: Sequence[Create]) -> list[Create]:
    """A run and all its steps in one commit: it is there RUNNING or not at all."""
    running = replace(run, state=RunState.RUNNING, started_at=run.created_at)
    return [Create(path=run_path(run.id), fields=run_fields(running)), *creates]


def _opening(run: RunRecord, creates: Sequence[Create], text: bytes, path: str) -> list[Create]:
    """The first commit of a larger run: all that it takes to go on if this invocation dies."""
    compressed = zlib.compress(text)
    if len(compressed) > MAX_DEFINITION_BYTES:
        raise NotStorable(
            f"{path} takes {len(compressed)} bytes even compressed, and {MAX_DEFINITION_BYTES} can be kept; "
            "move what its args carry to files that the jobs read"
        )
    definition = {"text": compressed, "path": path, "expire_at": run.expire_at}
    end = next(create for create in creates if create.path == step_path(run.id, END_ID))
    return [
        Create(path=run_path(run.id), fields=run_fields(run)),
        Create(path=definition_path(run.id), fields=definition),
        end,
    ]


def resume(outbox: Outbox, run_id: str) -> None:
    """Go on where an earlier invocation stopped, wherever that was; on a run that is going well, change little.

    The run is set RUNNING only if it is still as it was read before its steps were written or reset: a run that was
    stopped or retried meanwhile is looked at again.
    """
    while True:
        held = load_run(outbox.services, run_id)
        if held is None:
            raise RunNotFound(run_id)
        if held.run.stop is not None:
            close_run(outbox, run_id)
            return
        if held.run.state is RunState.SEEDING:
            if not _seed_again(outbox, held.run) or not _set_running(outbox, held):
                continue
        elif held.run.state is not RunState.RUNNING:
            return
        publish_released(outbox, run_id)
        return


def publish_released(outbox: Outbox, run_id: str) -> int:
    """Publish every step that waits for nothing and that nobody took; how many there were."""
    published, after = 0, None
    while True:
        released = outbox.services.store.query(
            Query(
                collection=steps_path(run_id),
                where=[("state", "==", StepState.PENDING.value), ("remaining", "==", 0)],
                after=after,
                limit=PAGE,
            )
        )
        outbox.ready(run_id, [ReadyStep(step_id=document.id) for document in released])
        outbox.flush_ready()
        published += len(released)
        if len(released) < PAGE:
            return published
        after = (released[-1].path,)


def _seed_again(outbox: Outbox, run: RunRecord) -> bool:
    """Write what is missing of a run whose seeding was interrupted, or reset what a retry is to run again.

    False if the run is to be looked at again before it goes on.
    """
    if run.started_at is None:
        definition = outbox.services.store.get([definition_path(run.id)])[0]
        if definition is not None:
            # Only the start function is made to read files; others come here when they mend a run.
            from atom_workflows.parsing.parse import parse_workflow  # noqa: PLC0415 - see above

            path = definition.fields["path"]
            workflow = parse_workflow(zlib.decompress(definition.fields["text"]), filename=path)
            _write_steps(outbox, list(_step_creates(run, workflow, path)))
    return not run.retries or reset_unsuccessful(outbox, run)


def _write_steps(outbox: Outbox, creates: Sequence[Create]) -> None:
    """Write the steps' documents; a batch that exists was written by an earlier try. The end exists already."""
    batches = list(_batches([create for create in creates if not create.path.endswith(f"/{END_ID}")]))

    def write(batch: Sequence[Create]) -> None:
        try:
            outbox.services.store.commit(batch)
        except AlreadyExists:
            decision_log.dropped("run.seed.again", f"{batch[0].path} and what follows were written before")

    for _ in waves(outbox.services.workers, write, batches):
        pass


def _set_running(outbox: Outbox, held: HeldRun) -> bool:
    """Whether the run is now RUNNING; False if its document changed in between."""
    run, now = held.run, outbox.services.clock.now()
    running = replace(run, state=next_run_state(run.state, RunEvent.SEEDED), started_at=run.started_at or now)
    fields = {"state": running.state.value, "started_at": running.started_at}
    try:
        outbox.services.store.commit([Update(path=run_path(run.id), fields=fields, guard=held.version)])
    except Conflict:
        return False
    outbox.run_changed(running)
    decision_log.decided("run.seeded", f"run {run.id} is {running.state}", run_id=run.id)
    return True


def _step_creates(run: RunRecord, workflow: Workflow, path: str) -> Iterator[Create]:
    steps = {step.id: step for step in workflow.steps}
    for node in compile_graph(workflow).values():
        step = steps.get(node.id)
        task = None if step is None else step.task
        request = None if step is None or task is None else job_request(step, task, path)
        fields = step_fields(new_step(node, step, run=run, request=request))
        yield Create(path=step_path(run.id, node.id), fields=fields | _watch(node, run))


def _watch(node: Node, run: RunRecord) -> dict[str, datetime]:
    """The end is where the checker finds the run, for as long as it is open."""
    if node.id != END_ID:
        return {}
    first = run.created_at + NEXT_AUDIT
    return {"due_at": first if run.deadline is None else min(first, run.deadline)}


def _batches(creates: Sequence[Create]) -> Iterator[list[Create]]:
    batch: list[Create] = []
    size = 0
    for create in creates:
        if batch and (len(batch) == BATCH_DOCUMENTS or size + _size(create) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(create)
        size += _size(create)
    if batch:
        yield batch


def _size(create: Create) -> int:
    """About what the document takes in a request."""
    fields: dict[str, Any] = dict(create.fields)
    names = sum(
        len(one) + 6 for name in ("depends_on", "dependents", "barriers", "heirs") for one in fields.get(name, ())
    )
    return _DOCUMENT_OVERHEAD + len(fields.get("task", "").encode()) + names
