"""Seeding: writing the documents of a run's graph, all at once if one commit holds them, else resumably.

A large run is first written as SEEDING together with its definition and its end, which the checker watches; then come
its steps, in batches; then it becomes RUNNING. Who goes on with it reads what is there, writes what is missing, and
rewrites what another version made otherwise (`run_graph.py`). A definition that is no longer valid ends the run.
Retry-from-failed goes the same way, with steps that are reset instead of written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import close_run, request_stop
from atom_workflows.coordinator.loading import HeldRun, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retry import kept_until, reset_unsuccessful
from atom_workflows.coordinator.run_graph import RunGraph, compare
from atom_workflows.coordinator.turns import turn_to_read
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import (
    definition_path,
    run_fields,
    run_path,
    step_path,
    steps_path,
)
from atom_workflows.errors import (
    AlreadyExists,
    Conflict,
    DefinitionUnusable,
    NotStorable,
    RunNotFound,
    RunStateError,
)
from atom_workflows.messages.internal import ReadyStep, seed_message
from atom_workflows.ports import Create, Document, Fields, Query, Update

BATCH_DOCUMENTS: Final = 200
BATCH_BYTES: Final = 900_000
"""A request may hold 1 MB; this leaves room for what encoding adds."""

BATCHES_AT_ONCE: Final = 4
"""What keeps one processor busy; each takes some megabytes while it is written."""

PAGE: Final = 500

MAX_DEFINITION_BYTES: Final = 900_000
"""A larger run's definition is kept, compressed, in one document, which may have 1 MiB."""

_DOCUMENT_OVERHEAD: Final = 600
_MOST_TOLD: Final = 3
_EMPTY: Final[Fields] = {"params": "{}", "warnings": []}
"""What stands for no value in fields of a run for which that is not None."""

_Batched = TypeVar("_Batched", Create, Update)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A workflow, the text that it was read from, and the path of that."""

    workflow: Workflow
    text: bytes
    path: str


def new(outbox: Outbox, run: RunRecord, definition: Definition, *, instead_of: Document | None = None) -> None:
    """Seed a run that should not exist yet, and publish its roots.

    It may take the place of an INVALID one. Raises `AlreadyExists` or `Conflict` if there is another run, or not the
    one that it should take the place of.
    """
    graph = RunGraph(run, definition.workflow, definition.path)
    creates = _at_most_a_commit(graph)
    end = [graph.create(step_path(run.id, END_ID))]
    opening = _whole_run(run, creates) if creates else _opening(run, end, definition.text, definition.path)
    first = [replacement(instead_of, one) if instead_of and one.path == instead_of.path else one for one in opening]
    version = outbox.services.store.commit(first)[0].version
    log.decided("run.start", f"run {run.id} of {run.workflow} has {run.step_count} steps", run_id=run.id)
    if creates:
        outbox.run_changed(replace(run, state=RunState.RUNNING))
        roots = [step.id for step in definition.workflow.steps if not step.depends_on]
        outbox.ready(run.id, [ReadyStep(step_id=step_id) for step_id in roots])
        return
    _write_steps(outbox, graph.creates(path for path in graph.paths if path != end[0].path))
    budget = Budget.of_invocation(outbox.services)
    if _set_running(outbox, HeldRun(run=run, version=version)):
        publish_released(outbox, run.id, budget=budget)
    else:
        resume(outbox, run.id, budget)


def replacement(document: Document, create: Create) -> Update:
    """Return the write that leaves nothing of the old document."""
    emptied = {name: _EMPTY.get(name) for name in document.fields if name not in create.fields}
    return Update(path=create.path, fields={**emptied, **create.fields}, guard=document.version)


def _whole_run(run: RunRecord, creates: Sequence[Create]) -> list[Create]:
    """A run and all its steps in one commit: it is there RUNNING or not at all."""
    running = replace(run, state=RunState.RUNNING, started_at=run.created_at)
    return [Create(path=run_path(run.id), fields=run_fields(running)), *creates]


def _at_most_a_commit(graph: RunGraph) -> list[Create]:
    """Return all documents if one commit holds them beside the run, else none."""
    if len(graph.paths) >= BATCH_DOCUMENTS:
        return []
    creates: list[Create] = []
    size = 0
    for create in graph.creates(graph.paths):
        creates.append(create)
        size += _size(create)
        if size >= BATCH_BYTES:
            return []
    return creates


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


def resume(outbox: Outbox, run_id: str, budget: Budget | None = None) -> None:
    """Go on where an earlier invocation stopped, wherever that was; on a run that is going well, change little.

    With the budget spent the rest is handed on; without one it goes on to the end.
    The run is set RUNNING only if it is still as it was read before its steps were written or reset: a run that was
    stopped or retried meanwhile is looked at again.
    """
    budget = budget or Budget(services=outbox.services)
    while True:
        held = load_run(outbox.services, run_id)
        if held is None:
            raise RunNotFound(run_id)
        if held.run.stop is not None:
            if close_run(outbox, run_id, budget):
                return
            break
        if held.run.state not in {RunState.SEEDING, RunState.RUNNING}:
            return
        is_running = held.run.state is RunState.RUNNING
        if is_running or (_seed_again(outbox, held, budget) and _set_running(outbox, held)):
            publish_released(outbox, run_id, budget=budget)
            return
        if budget.is_spent:
            break
    outbox.add([seed_message(run_id)])


def publish_released(
    outbox: Outbox, run_id: str, *, after: str = "", page: int = PAGE, budget: Budget | None = None
) -> int:
    """Publish every released step that nobody took. Return how many.

    They are read a page at a time, those behind the path `after`. With the budget spent the rest is handed on.
    """
    budget = budget or Budget(services=outbox.services)
    published = 0
    while True:
        released = outbox.services.store.query(
            Query(
                collection=steps_path(run_id),
                where=[("state", "==", StepState.PENDING.value), ("remaining", "==", 0)],
                after=(after,) if after else None,
                limit=page,
                fields=("state",),
            )
        )
        budget.spend()
        outbox.ready(run_id, [ReadyStep(step_id=document.id) for document in released])
        outbox.flush_ready()
        published += len(released)
        if len(released) < page:
            return published
        after = released[-1].path
        if budget.is_spent:
            outbox.add([seed_message(run_id, after=after)])
            return published


def _seed_again(outbox: Outbox, held: HeldRun, budget: Budget) -> bool:
    """Write what is missing of a run whose seeding was interrupted, or reset what a retry is to run again.

    False if the run is to be looked at again before it goes on, as it changed meanwhile or the budget is spent.
    """
    if held.run.started_at is None and not _complete(outbox, held, budget):
        return False
    return not held.run.retries or reset_unsuccessful(outbox, held.run, budget)


def _complete(outbox: Outbox, held: HeldRun, budget: Budget) -> bool:
    """Write the steps that are missing. Return True if all are there.

    A run that cannot be seeded is ended; it is to be looked at again, and so is one that was rewritten in part.
    """
    run = held.run
    try:
        workflow, path = _stored_workflow(outbox, run)
        graph = RunGraph(run, workflow, path)
        missing, misfits = compare(outbox.services, graph)
        if misfits:
            _write_anew(outbox, held, misfits)
            return False
        _write_steps(outbox, graph.creates(missing))
    except DefinitionUnusable as error:
        _end(outbox, run, str(error), budget)
    except NotStorable as error:
        _end(outbox, run, f"its steps cannot be stored: {error}", budget)
    else:
        return True
    return False


def _stored_workflow(outbox: Outbox, run: RunRecord) -> tuple[Workflow, str]:
    """Return the kept workflow of a large run, and its path.

    Raises `DefinitionUnusable`.
    """
    # Only the start function is made to read files; others come here when they repair a run.
    from atom_workflows.language.parser import parse_workflow  # noqa: PLC0415 - see above
    from atom_workflows.language.problems import InvalidWorkflow  # noqa: PLC0415 - see above

    stored = outbox.services.store.get([definition_path(run.id)])[0]
    if stored is None:
        raise DefinitionUnusable("its definition is gone, before all of its steps were written")
    try:
        path, text = stored.fields["path"], zlib.decompress(stored.fields["text"])
        with turn_to_read(len(text)):
            return parse_workflow(text, filename=path), path
    except InvalidWorkflow as error:
        told = "; ".join(map(str, error.problems[:_MOST_TOLD]))
        more = f"; and {len(error.problems) - _MOST_TOLD} more" if len(error.problems) > _MOST_TOLD else ""
        message = f"its definition is not valid for the version that went on with it: {told}{more}"
        raise DefinitionUnusable(message) from None
    except (zlib.error, LookupError, TypeError) as error:
        raise DefinitionUnusable(f"its definition cannot be read: {type(error).__name__}: {error}") from None


def _end(outbox: Outbox, run: RunRecord, reason: str, budget: Budget) -> None:
    """End a run that can never be seeded."""
    log.warned("run.seed.given_up", f"run {run.id} cannot be seeded: {reason}", run_id=run.id)
    stop = Stop(kind=StopKind.FAIL, reason=reason, requested_at=outbox.services.clock.now())
    try:
        request_stop(outbox, run.id, stop, budget)
    except RunStateError as error:
        log.dropped("run.seed.given_up.late", str(error), run_id=run.id)


def _write_anew(outbox: Outbox, held: HeldRun, misfits: Sequence[Update]) -> None:
    """Make what is there fit the compiled graph.

    Each commit changes the run, too: once another has set that RUNNING, its graph is left alone.
    """
    run_id, version = held.run.id, held.version
    message = f"run {run_id} was begun with another graph: {len(misfits)} of its documents are rewritten"
    log.warned("run.seed.anew", message, run_id=run_id)
    for batch in _batches(misfits):
        touch = Update(path=run_path(run_id), increments={"touches": 1}, guard=version)
        try:
            version = outbox.services.store.commit([touch, *batch])[0].version
        except Conflict:
            log.dropped("run.seed.anew.late", f"run {run_id} changed meanwhile", run_id=run_id)
            return


def _write_steps(outbox: Outbox, creates: Iterable[Create]) -> None:
    """Write the steps' documents, those that another has written meanwhile excepted.

    A batch is made when it is to be written: all together may be a hundred times the file, by its aliases.
    """

    def write(batch: Sequence[Create]) -> None:
        missing = batch
        while missing:
            try:
                outbox.services.store.commit(missing)
            except AlreadyExists:
                found = outbox.services.store.get([create.path for create in missing])
                missing = [create for create, there in zip(missing, found, strict=True) if there is None]
            else:
                return
        log.dropped("run.seed.again", f"{batch[0].path} and what follows were written before")

    calls = outbox.services.workers.calls(write)
    for batch in _batches(creates):
        calls.begin([batch])
        while len(calls.pending) >= BATCHES_AT_ONCE:
            calls.wave()
    while calls.pending:
        calls.wave()
    calls.wave()


def _set_running(outbox: Outbox, held: HeldRun) -> bool:
    """Whether the run is now RUNNING; False if its document changed in between."""
    run, now = held.run, outbox.services.clock.now()
    running = replace(run, state=next_run_state(run.state, RunEvent.SEEDED), started_at=run.started_at or now)
    fields = {"state": running.state.value, "started_at": running.started_at}
    if (until := kept_until(outbox.services, run)) != run.expire_at:
        fields["expire_at"] = until
    try:
        outbox.services.store.commit([Update(path=run_path(run.id), fields=fields, guard=held.version)])
    except Conflict:
        return False
    outbox.run_changed(running)
    log.decided("run.seeded", f"run {run.id} is {running.state}", run_id=run.id)
    return True


def _batches(writes: Iterable[_Batched]) -> Iterator[list[_Batched]]:
    batch: list[_Batched] = []
    size = 0
    for write in writes:
        if batch and (len(batch) == BATCH_DOCUMENTS or size + _size(write) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += _size(write)
    if batch:
        yield batch


def _size(write: Create | Update) -> int:
    """About what the document takes in a request."""
    fields = write.fields
    names = sum(
        len(one) + 6 for name in ("depends_on", "dependents", "barriers", "heirs") for one in fields.get(name) or ()
    )
    return _DOCUMENT_OVERHEAD + len((fields.get("task") or "").encode()) + names
