"""Starting a run: read the source, validate it, seed the documents, publish the ready steps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from atom_workflows import decision_log
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_fields, run_path
from atom_workflows.errors import (
    AlreadyExists,
    NotStorable,
    SourceError,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
)
from atom_workflows.parsing.parse import parse_workflow
from atom_workflows.parsing.problems import InvalidWorkflow
from atom_workflows.ports import Create
from atom_workflows.start_events import RunSeedRequested, StartRequested


class Refusal(StrEnum):
    """Why a run cannot start."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The run that an event named; with a `refusal` it is INVALID for these `problems`, else it is on its way."""

    run_id: str
    refusal: Refusal | None = None
    problems: tuple[Mapping[str, Any], ...] = ()


def handle_start(services: Services, event: StartRequested | RunSeedRequested) -> Started:
    """Handle an event of the topic `start`. The same event again starts nothing twice and is answered alike."""
    outbox = Outbox(services)
    if isinstance(event, RunSeedRequested):
        seed.resume(outbox, event.run_id)
        started = Started(run_id=event.run_id)
    else:
        run = _new_run(services, event)
        for warning in event.warnings:
            decision_log.warned("start.field.ignored", f"run {run.id}: {warning}", run_id=run.id)
        started = _start(outbox, run, event)
    outbox.flush()
    return started


def _start(outbox: Outbox, run: RunRecord, event: StartRequested) -> Started:
    settings = outbox.services.settings
    if not settings.may_use_task_runner(run.task_runner_url):
        where = run.task_runner_url or "(none)"
        message = (
            f"the Task Runner {where} is not one that this deployment may use; "
            "set WORKFLOW_TASK_RUNNER_URL or add it to WORKFLOW_TASK_RUNNER_ALLOW"
        )
        return _refuse(outbox, run, Refusal.FORBIDDEN, [{"step": None, "message": message}])
    try:
        text, run = _read(outbox.services, run, event)
        workflow = parse_workflow(text, filename=event.workflow_path)
    except InvalidWorkflow as error:
        problems = [{"step": None, **problem.as_fields()} for problem in error.problems]
        return _refuse(outbox, run, Refusal.INVALID, problems)
    except (SourceNotFound, SourceForbidden, SourceTooLarge) as error:
        return _refuse(outbox, run, _refusal_of(error), [{"step": None, "message": str(error)}])
    seeded = seed.with_workflow(run, workflow, digest=hashlib.sha256(text).hexdigest())
    try:
        seed.new(outbox, seeded, workflow, text, event.workflow_path)
    except NotStorable as error:
        return _refuse(outbox, run, Refusal.INVALID, [{"step": None, "message": str(error)}])
    return Started(run_id=run.id)


def _new_run(services: Services, event: StartRequested) -> RunRecord:
    now = services.clock.now()
    source = {"path": event.workflow_path, "inline": event.definition is not None}
    if event.generation:
        source["generation"] = event.generation
    return RunRecord(
        id=run_id_for(event.workflow_path, *event.key),
        workflow=event.workflow_path.rpartition("/")[2],
        state=RunState.SEEDING,
        created_at=now,
        task_runner_url=(event.task_runner_url or services.settings.task_runner_url).rstrip("/"),
        source=source,
        trigger=event.trigger,
        params=event.params,
        labels=event.labels,
        warnings=event.warnings,
        expire_at=now + services.settings.keep_runs,
    )


def _read(services: Services, run: RunRecord, event: StartRequested) -> tuple[bytes, RunRecord]:
    """The definition, and the run with the generation that was read, whichever was the newest."""
    if event.definition is not None:
        return event.definition.encode(), run
    content, generation = services.source.read(event.workflow_path, event.generation)
    return content, replace(run, source={**run.source, "generation": generation})


def _refusal_of(error: SourceError) -> Refusal:
    if isinstance(error, SourceNotFound):
        return Refusal.NOT_FOUND
    return Refusal.FORBIDDEN if isinstance(error, SourceForbidden) else Refusal.INVALID


def _refuse(outbox: Outbox, run: RunRecord, refusal: Refusal, problems: list[dict[str, Any]]) -> Started:
    """Record a run that cannot start, with every reason."""
    started = Started(run_id=run.id, refusal=refusal, problems=tuple(problems))
    fields = run_fields(run) | {
        "state": RunState.INVALID.value,
        "errors": problems,
        "finished_at": run.created_at,
    }
    try:
        outbox.services.store.commit([Create(path=run_path(run.id), fields=fields)])
    except AlreadyExists:
        decision_log.dropped("run.invalid.again", f"run {run.id} is known", run_id=run.id)
        # It may have been started before the file was removed or changed, by one that died before it published.
        seed.resume(outbox, run.id)
        return started
    decision_log.failed(
        "run.invalid",
        f"run {run.id} is INVALID: {problems[0]['message']}",
        run_id=run.id,
        problems=len(problems),
    )
    return started
