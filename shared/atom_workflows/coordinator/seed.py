"""Seed a run: write its graph's documents, in resumable stages if necessary.

A large run goes through three stages:

1. One commit writes the run as SEEDING, its definition, and its end node, which the checker watches.
2. Batches write its steps.
3. The run becomes RUNNING, and its roots are published.

If the invocation dies in between, another invocation (`resume`) reads the existing documents, writes the missing ones,
and rewrites those that another version built differently (`run_graph.py`). If the definition is no longer valid, the
run is ended. A retry continues in the same way, except that steps are reset instead of written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator import batches
from atom_workflows.coordinator.close import Closing, close_run, fail_run
from atom_workflows.coordinator.definitions import Definition, load_workflow, store_definition
from atom_workflows.coordinator.groups import Entry, enter, first_look
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.line import admit_waiting, audit_waiting
from atom_workflows.coordinator.loading import StoredRun, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import publish_placed
from atom_workflows.coordinator.retry import expiry_once_running, reset_unsuccessful
from atom_workflows.coordinator.run_graph import RunGraph, compare, fit_into_commit, rewrite
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.groups import Admission
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.documents import (
    estimate_bytes,
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
)
from atom_workflows.messages.internal import ReadyStep, seed_message
from atom_workflows.ports import Create, Document, Fields, Query, Update
from atom_workflows.run_documents import run_fields, run_state_fields

BATCHES_AT_ONCE: Final = 4
"""Enough batches to keep one processor busy; each takes up a few megabytes while it is being written."""

PAGE: Final = 500


MAX_RUN_BYTES: Final = 700_000
"""The maximum size of a new run's document, which grows when failure messages are added.

If it became too large to write, the run would never end.
"""


_EMPTY: Final[Fields] = {"params": "{}", "warnings": []}
"""The empty values of the run fields that must not be None."""


def seed_run(outbox: Outbox, run: RunRecord, definition: Definition, *, instead_of: Document | None = None) -> None:
    """Write a new run and publish its roots.

    The run may replace an INVALID run. Raises `AlreadyExists` or `Conflict` if there is a run other than `instead_of`.
    """
    # What a plain workflow's run holds is limited by its file and by the start message.
    size = 0 if definition.workflow.is_plain else estimate_bytes(run_fields(run))
    if size > MAX_RUN_BYTES:
        what = "the run's parameters, its outputs as written in the file, and the values and types that they use"
        raise NotStorable(f"{what} take up {size:,} bytes, but at most {MAX_RUN_BYTES:,} can be stored")
    entry = Entry(admission=Admission.BEGIN) if run.group is None else enter(outbox.services, run, run.group)
    if entry.admission is Admission.SKIP:
        _skip_at_once(outbox, run, entry.because, instead_of)
        return
    if entry.admission is Admission.WAIT:
        _join_line(outbox, run, definition, instead_of)
        return
    graph = _graph_of(outbox.services, run, definition)
    creates = fit_into_commit(graph) if definition.reuse is None else []
    end = graph.create(step_path(run.id, END_ID))
    if creates:
        # Everything is in one commit: the run either exists and is RUNNING, or does not exist.
        running = replace(run, state=RunState.RUNNING, started_at=run.created_at)
        opening: list[Create | Update] = [Create(path=run_path(run.id), fields=run_fields(running)), *creates]
    else:
        opening = _opening(run, definition, end)
    try:
        version = outbox.services.store.commit([*_instead(instead_of, opening), *entry.writes])[0].version
    except (AlreadyExists, Conflict):
        if not entry.writes:
            raise
        # Someone else has given the place away. If it is the run that exists already, this is refused, too.
        _join_line(outbox, run, definition, instead_of)
        return
    log.info("run.start", f"run {run.id} of {run.workflow} has {run.step_count} steps", run_id=run.id)
    if creates:
        outbox.report_run(replace(run, state=RunState.RUNNING))
        roots = [
            step.id if step.for_each is None else expander_id(step.id)
            for step in definition.workflow.steps
            if not step.depends_on
        ]
        outbox.add_ready(run.id, [ReadyStep(step_id=step_id) for step_id in roots])
        return
    budget = Budget.of_invocation(outbox.services.clock, outbox.services.settings.inline_budget)
    if definition.reuse is not None:
        resume(outbox, run.id, budget)
        return
    _write_steps(outbox, graph.creates(path for path in graph.paths if path != end.path))
    if _set_running(outbox, StoredRun(run=run, version=version)):
        publish_released(outbox, run.id, budget=budget)
    else:
        resume(outbox, run.id, budget)


def _graph_of(services: Services, run: RunRecord, definition: Definition) -> RunGraph:
    """Return the graph with which a run begins."""
    if definition.reuse is None:
        return RunGraph(run, definition.workflow, definition.path)
    from atom_workflows.coordinator.reuse import ReuseGraph  # noqa: PLC0415 (only a few runs repair others)

    return ReuseGraph(services, run, definition.workflow, definition.path, definition.reuse)


def _instead(instead_of: Document | None, writes: Sequence[Create | Update]) -> list[Create | Update]:
    """Return the writes, turning the one for `instead_of` into an update."""
    return [
        replacement(instead_of, one) if instead_of and one.path == instead_of.path and isinstance(one, Create) else one
        for one in writes
    ]


def _join_line(outbox: Outbox, run: RunRecord, definition: Definition, instead_of: Document | None) -> None:
    """Write a run that waits, with its definition and its end node."""
    services = outbox.services
    assert run.group is not None  # noqa: S101 (only runs of a group wait)
    now = services.clock.now()
    queued = replace(run, state=RunState.QUEUED, queued_at=now, deadline=None)
    graph = _graph_of(services, queued, definition)
    end = graph.create(step_path(run.id, END_ID))
    due = replace(end, fields={**end.fields, "due_at": first_look(run.group, now)})
    services.store.commit(_instead(instead_of, _opening(queued, definition, due)))
    outbox.report_run(queued)
    log.info("run.queue", f"run {run.id} of {run.workflow} is waiting for a place in its group", run_id=run.id)
    admit_waiting(outbox, run.group, by=run.id)


def _skip_at_once(outbox: Outbox, run: RunRecord, because: str, instead_of: Document | None) -> None:
    """Write a run that is skipped as soon as it is started."""
    state = next_run_state(RunState.QUEUED, RunEvent.SKIP)
    skipped = replace(run, state=state, because=because, deadline=None, finished_at=run.created_at)
    outbox.services.store.commit(_instead(instead_of, [Create(path=run_path(run.id), fields=run_fields(skipped))]))
    outbox.report_run(skipped)
    log.warning("run.skip", f"run {run.id} is SKIPPED: {because}", run_id=run.id)


def replacement(document: Document, create: Create) -> Update:
    """Build an update that replaces a document without keeping any old fields."""
    emptied = {name: _EMPTY.get(name) for name in document.fields if name not in create.fields}
    return Update(path=create.path, fields={**emptied, **create.fields}, guard=document.version)


def _opening(run: RunRecord, definition: Definition, end: Create) -> list[Create | Update]:
    """Return the first commit of a run that is seeded in stages.

    The run is large, or keeps steps of another run. The commit holds everything that another invocation needs to
    continue the run if this one dies.
    """
    link = [] if definition.reuse is None or definition.reuse.link is None else [definition.reuse.link]
    return [Create(path=run_path(run.id), fields=run_fields(run)), store_definition(run, definition), end, *link]


def resume(outbox: Outbox, run_id: str, budget: Budget | None = None) -> None:
    """Continue a run from wherever an earlier invocation stopped.

    Safe to repeat: for a healthy run, it only publishes released steps again. Once the budget is spent, the rest is
    handed off; without a budget, the work continues to the end. The run is read before its steps are
    written or reset, and is set to RUNNING only if its document has not changed since then. Otherwise, for example
    after a stop or a retry, it is read again.
    """
    budget = budget or Budget(outbox.services.clock)
    while True:
        stored = load_run(outbox.services, run_id)
        if stored is None:
            raise RunNotFound(run_id)
        if stored.run.stop is not None:
            if close_run(outbox, run_id, budget) is not Closing.UNFINISHED:
                return
            break
        run = stored.run
        if run.state is RunState.QUEUED and run.group is not None:
            audit_waiting(outbox, stored, run.group)
        if run.state not in {RunState.SEEDING, RunState.RUNNING}:
            return
        # If anything fails here, the run has changed in the meantime or the budget is spent.
        if run.state is RunState.RUNNING or (
            (run.started_at is not None or _write_missing(outbox, stored, budget))
            and (not run.retries or reset_unsuccessful(outbox, run, budget))
            and _set_running(outbox, stored)
        ):
            publish_released(outbox, run_id, budget=budget)
            publish_placed(outbox, run, budget)
            return
        if budget.is_spent:
            break
    outbox.add([seed_message(run_id)])


def publish_released(
    outbox: Outbox, run_id: str, *, after: str = "", page: int = PAGE, budget: Budget | None = None
) -> int:
    """Publish every released step that no dispatcher has taken.

    Returns the number of these steps. They are read a page at a time, starting after the path `after`. Once the budget
    is spent, the rest is handed off.
    """
    budget = budget or Budget(outbox.services.clock)
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
        outbox.add_ready(run_id, [ReadyStep(step_id=document.id) for document in released])
        outbox.flush_ready()
        published += len(released)
        if len(released) < page:
            return published
        after = released[-1].path
        if budget.is_spent:
            outbox.add([seed_message(run_id, after=after)])
            return published


def _write_missing(outbox: Outbox, stored: StoredRun, budget: Budget) -> bool:
    """Write the missing steps of a run.

    Returns False if the run has to be read again, either because it could not be seeded and was therefore ended, or
    because documents were rewritten.
    """
    run = stored.run
    try:
        workflow, path = load_workflow(outbox.services, run)
        if run.repairs:
            from atom_workflows.coordinator.reuse import reuse_graph  # noqa: PLC0415 (only a few runs repair others)

            graph: RunGraph = reuse_graph(outbox.services, run, workflow, path)
        else:
            graph = RunGraph(run, workflow, path)
        missing, misfits = compare(outbox.services, graph)
        if misfits:
            rewrite(outbox.services, stored, misfits)
            return False
        _write_steps(outbox, graph.creates(missing))
    except DefinitionUnusable as error:
        reason = str(error)
    except NotStorable as error:
        reason = f"its steps cannot be stored: {error}"
    else:
        return True
    log.warning("run.seed.given_up", f"run {run.id} cannot be seeded: {reason}", run_id=run.id)
    fail_run(outbox, run.id, reason, budget, action="run.seed.given_up")
    return False


def _write_steps(outbox: Outbox, creates: Iterable[Create]) -> None:
    """Write the steps' documents, leaving existing documents as they are.

    A batch is built only when it is about to be written: with YAML aliases, all batches together may be a hundred times
    as large as the file.
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
        log.debug("run.seed.again", f"{batch[0].path} and the documents after it have already been written")

    calls = outbox.services.workers.calls(write)
    for batch in batches.in_batches(creates):
        calls.begin([batch])
        while len(calls.pending) >= BATCHES_AT_ONCE:
            calls.wave()
    while calls.pending:
        calls.wave()
    calls.wave()


def _set_running(outbox: Outbox, stored: StoredRun) -> bool:
    """Set the run to RUNNING.

    Returns False if its document has changed since it was read.
    """
    run, now = stored.run, outbox.services.clock.now()
    running = replace(run, state=next_run_state(run.state, RunEvent.SEEDED), started_at=run.started_at or now)
    fields = {**run_state_fields(running), "started_at": running.started_at}
    if (until := expiry_once_running(outbox.services, run)) != run.expire_at:
        fields["expire_at"] = until
    try:
        outbox.services.store.commit([Update(path=run_path(run.id), fields=fields, guard=stored.version)])
    except Conflict:
        return False
    outbox.report_run(running)
    log.info("run.seeded", f"run {run.id} is {running.state}", run_id=run.id)
    return True
