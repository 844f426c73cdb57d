"""Prepare a run: read its file, and find every reason against starting.

If there is no such reason, the workflow determines the remaining fields of the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.coordinator.definitions import Definition
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.turns import turn_to_read
from atom_workflows.core.outcomes import clip
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.run_values import UNUSED_PARAMS, bind_run, render_params
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import SCHEMA_OF_LANGUAGE_RUNS, SCHEMA_OF_LOOP_RUNS, SCHEMA_OF_NEW_RUNS
from atom_workflows.errors import (
    InvalidParams,
    RunNotFound,
    RunStateError,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
)
from atom_workflows.language.limits import MAX_PROBLEMS
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.start import StartRequested
from atom_workflows.settings import Settings
from atom_workflows.task_runner_urls import expected_instead, shown_url

if TYPE_CHECKING:
    from atom_workflows.coordinator.reuse import Reuse

_NO_LIMIT: Final = "no_queue was given, but the file does not limit its runs, so none of them waits"


class Refusal(StrEnum):
    """The reasons why a run cannot start."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    KEY_IN_USE = "key_in_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request after its file was read: a run or a refusal.

    `digest` is the digest of the file, or "" if the file could not be read. `is_registered` is True if the file is
    started by its schedules, so uploading it starts no run.
    """

    run: RunRecord
    digest: str = ""
    definition: Definition | None = None
    refusal: Refusal = Refusal.INVALID
    problems: list[dict[str, Any]] = field(default_factory=list)
    is_registered: bool = False

    def refuse(self, refusal: Refusal, problems: list[dict[str, Any]]) -> Prepared:
        """Return the same request, marked as refused."""
        return replace(self, definition=None, refusal=refusal, problems=[{"step": None, **one} for one in problems])


def new_run(services: Services, event: StartRequested) -> RunRecord:
    """Return what is known about the run before its file is read."""
    now, settings = services.clock.now(), services.settings
    asked_for = event.task_runner_url or settings.task_runner_url
    source = {"path": event.workflow_path, "inline": event.definition is not None}
    if event.generation:
        source["generation"] = event.generation
    return RunRecord(
        id=run_id_for(event.workflow_path, *event.key),
        workflow=event.workflow_path.rpartition("/")[2],
        state=RunState.SEEDING,
        schema=SCHEMA_OF_NEW_RUNS,
        created_at=now,
        task_runner_url=settings.allowed_task_runner(asked_for) or shown_url(asked_for).rstrip("/"),
        source=source,
        trigger=event.trigger,
        params=event.params,
        labels=event.labels,
        no_queue=event.no_queue,
        repairs=event.repairs,
        warnings=event.warnings,
        scheduled_at=event.scheduled_at,
        window_start=event.window_start,
        expire_at=now + settings.keep_runs,
    )


def prepare(services: Services, run: RunRecord, event: StartRequested) -> Prepared:
    """Read the run's file, and bind its parameters.

    An uploaded file's schedules replace those of its earlier version.
    """
    prepared = Prepared(run=run)
    if refusal := _task_runner_refusal(services.settings, run, event):
        return prepared.refuse(Refusal.FORBIDDEN, [{"message": refusal}])
    try:
        if event.definition is not None:
            text = event.definition.encode()
        else:
            text, generation = services.source.read(event.workflow_path, event.generation)
            # Record the generation that was read, since the request may not have named one.
            run = replace(run, source={**run.source, "generation": generation})
        prepared = Prepared(run=run, digest=hashlib.sha256(text).hexdigest())
        with turn_to_read(len(text)):
            workflow = parse_workflow(text, filename=event.workflow_path)
        if event.is_upload:
            from atom_workflows.coordinator.schedules import register_upload  # noqa: PLC0415 (only uploads need it)

            # If the file has schedules, its upload starts no run.
            if register_upload(services, workflow, event.workflow_path, event.generation or ""):
                return replace(prepared, is_registered=True)
        if event.templates:
            run = replace(run, params={**run.params, **render_params(run, workflow.timezone, event.templates)})
        ready, reuse = _bind(services, replace(run, digest=prepared.digest), event, workflow)
    except InvalidWorkflow as error:
        # The traceback would keep the whole file in memory.
        error.__traceback__ = None
        return prepared.refuse(Refusal.INVALID, [problem.as_fields() for problem in error.problems])
    except InvalidParams as error:
        problems = [clip(problem) for problem in error.problems[:MAX_PROBLEMS]]
        if (more := len(error.problems) - MAX_PROBLEMS) > 0:
            problems.append(f"... and {more:,} more problems")
        problems += _how_to_give_params(event, workflow)
        return prepared.refuse(Refusal.INVALID, [{"message": problem} for problem in problems])
    except (SourceNotFound, SourceForbidden, SourceTooLarge, RunNotFound, RunStateError) as error:
        return prepared.refuse(_REFUSALS[type(error)], [{"message": str(error)}])
    definition = Definition(workflow=workflow, text=text, path=event.workflow_path, reuse=reuse)
    return replace(prepared, run=ready, definition=definition)


_REFUSALS: Final[Mapping[type[Exception], Refusal]] = {
    SourceNotFound: Refusal.NOT_FOUND,
    SourceForbidden: Refusal.FORBIDDEN,
    SourceTooLarge: Refusal.INVALID,
    # The run that is to be repaired.
    RunNotFound: Refusal.NOT_FOUND,
    RunStateError: Refusal.INVALID,
}


def _bind(
    services: Services, run: RunRecord, event: StartRequested, workflow: Workflow
) -> tuple[RunRecord, Reuse | None]:
    """Return the run with its workflow's fields, and what it reuses."""
    env = services.settings.env
    if not event.repairs:
        return with_workflow(run, workflow, digest=run.digest, env=env), None
    from atom_workflows.coordinator.reuse import plan_reuse  # noqa: PLC0415 (only a few runs repair others)

    plan = plan_reuse(services, run, event, workflow, env)
    return plan.run, plan.reuse


def _task_runner_refusal(settings: Settings, run: RunRecord, event: StartRequested) -> str:
    """Return the reason for refusing the run's Task Runner, or ""."""
    if event.task_runner_url and (expected := expected_instead(event.task_runner_url)):
        return f"the start message's tr_url is {run.task_runner_url!r}; it must be {expected}"
    if settings.may_use_task_runner(run.task_runner_url):
        return ""
    return (
        f"the Task Runner {run.task_runner_url or '(none)'} is not one that this deployment may use; "
        "set WORKFLOW_TASK_RUNNER_URL or add it to WORKFLOW_TASK_RUNNER_ALLOW"
    )


def _how_to_give_params(event: StartRequested, workflow: Workflow) -> list[str]:
    """Explain how to start an uploaded file that requires parameters.

    The list is empty if no explanation is needed.
    """
    required = [param.name for param in workflow.params if param.required]
    if not event.is_upload or not required:
        return []
    needed = " ".join(f"--param {name}=…" for name in required)
    command = f"atom-workflows start {event.workflow_path} {needed}"
    message = (
        f"an upload cannot provide parameters: start the workflow with `{command}`, set them in `schedules`, or write "
        "`schedules: []` to upload it without running it"
    )
    return [message]


def with_workflow(run: RunRecord, workflow: Workflow, *, digest: str, env: Mapping[str, str]) -> RunRecord:
    """Fill in the fields of the run that its workflow determines."""
    ignored = (UNUSED_PARAMS,) if run.params else ()
    if run.no_queue and workflow.concurrency is None:
        workflow = replace(workflow, warnings=(*workflow.warnings, _NO_LIMIT))
    if workflow.has_loops or workflow.concurrency is not None:
        schema = SCHEMA_OF_LOOP_RUNS
    else:
        schema = SCHEMA_OF_NEW_RUNS if workflow.is_plain else SCHEMA_OF_LANGUAGE_RUNS
    known = replace(
        run,
        schema=max(run.schema, schema),
        workflow=workflow.name,
        description=workflow.description,
        step_count=len(workflow.all_steps),
        timeout=workflow.timeout,
        finally_timeout=workflow.finally_timeout if workflow.finally_steps else None,
        deadline=None if workflow.timeout is None else run.created_at + workflow.timeout,
        late_at=_late_at(run, workflow),
        digest=digest,
        warnings=(*run.warnings, *(() if workflow.params else ignored), *workflow.warnings),
    )
    return bind_run(known, workflow, env)


def _late_at(run: RunRecord, workflow: Workflow) -> datetime | None:
    """Return the run's deadline.

    Returns None if it has none, or if the deadline had already passed when a user started the run.
    """
    if workflow.deadline is None:
        return None
    from atom_workflows.core.schedules import late_at_of  # noqa: PLC0415 (only files with a deadline need it)
    from atom_workflows.messages.start import SCHEDULE_TRIGGER  # noqa: PLC0415 (likewise)

    late_at = late_at_of(workflow.deadline, run.scheduled_at or run.created_at, workflow.timezone)
    # Someone who loads a past day by hand knows that it is past; a scheduled run that begins too late is late.
    is_backfill = late_at is not None and late_at <= run.created_at and run.trigger.get("kind") != SCHEDULE_TRIGGER
    return None if is_backfill else late_at
