"""Starting a run: read the source, validate it, seed the documents, publish the ready steps."""

from __future__ import annotations

import hashlib
from typing import Any

from atom_workflows import decision_log
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import run_fields, run_path
from atom_workflows.errors import AlreadyExists, SourceError, SourceUnavailable
from atom_workflows.events import RunSeedRequested, StartRequested
from atom_workflows.parsing.parse import parse_workflow
from atom_workflows.parsing.problems import InvalidWorkflow
from atom_workflows.ports import Create

MAX_PROBLEMS = 100


def handle_start(services: Services, event: StartRequested | RunSeedRequested) -> str:
    """Handle an event of the topic `start` and answer the run's id. The same event again starts nothing twice."""
    outbox = Outbox(services)
    if isinstance(event, RunSeedRequested):
        seed.resume(outbox, event.run_id)
        outbox.flush()
        return event.run_id
    run = _new_run(services, event)
    try:
        text = _read(services, event)
        workflow = parse_workflow(text, filename=event.workflow_path)
    except InvalidWorkflow as error:
        problems = [{"step": None, **problem.as_fields()} for problem in error.problems[:MAX_PROBLEMS]]
        _refuse(outbox, run, problems)
    except SourceError as error:
        if isinstance(error, SourceUnavailable):
            raise
        _refuse(outbox, run, [{"step": None, "message": str(error)}])
    else:
        _seed(outbox, run, workflow, text, event)
    outbox.flush()
    return run.id


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
        expire_at=now + services.settings.keep_runs,
    )


def _read(services: Services, event: StartRequested) -> bytes:
    if event.definition is not None:
        return event.definition.encode()
    content, _ = services.source.read(event.workflow_path, event.generation)
    return content


def _seed(outbox: Outbox, run: RunRecord, workflow: Workflow, text: bytes, event: StartRequested) -> None:
    settings = outbox.services.settings
    if not settings.may_use_task_runner(run.task_runner_url):
        where = run.task_runner_url or "(none)"
        message = (
            f"the Task Runner {where} is not one that this deployment may use; "
            "set WORKFLOW_TASK_RUNNER_URL or add it to WORKFLOW_TASK_RUNNER_ALLOW"
        )
        _refuse(outbox, run, [{"step": None, "message": message}])
        return
    digest = hashlib.sha256(text).hexdigest()
    seed.new(outbox, seed.with_workflow(run, workflow, digest=digest), workflow, text, event.workflow_path)


def _refuse(outbox: Outbox, run: RunRecord, problems: list[dict[str, Any]]) -> None:
    """Record a run that cannot start, with every reason."""
    fields = run_fields(run) | {
        "state": RunState.INVALID.value,
        "errors": problems,
        "finished_at": run.created_at,
    }
    try:
        outbox.services.store.commit([Create(path=run_path(run.id), fields=fields)])
    except AlreadyExists:
        decision_log.dropped("run.invalid.again", f"run {run.id} is known to be invalid", run_id=run.id)
        return
    decision_log.warned(
        "run.invalid",
        f"run {run.id} is INVALID: {problems[0]['message']}",
        run_id=run.id,
        problems=len(problems),
    )
