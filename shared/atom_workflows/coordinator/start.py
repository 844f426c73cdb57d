"""Start a run: read the source, validate it, seed the documents, publish the ready steps.

A run that cannot start is stored as INVALID. The next start with the same key replaces it, since the cause may have
been fixed by then. A run in any other state is never replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.loading import load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.repair import continue_run
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.turns import turn_to_read
from atom_workflows.core.outcomes import clip
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.run_values import digest_of, render_params
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import SCHEMA_OF_NEW_RUNS, run_fields, run_path, run_record
from atom_workflows.errors import (
    AlreadyExists,
    Conflict,
    InvalidParams,
    NotStorable,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
)
from atom_workflows.language.limits import MAX_PROBLEMS
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.start import FileDeleted, RunSeedRequested, StartRequested
from atom_workflows.ports import Create, Document, Update
from atom_workflows.settings import Settings
from atom_workflows.task_runner_urls import expected_instead, is_same_url, shown_url

MAX_WARNINGS: Final = 20


def difference(run: RunRecord, event: StartRequested) -> str:  # noqa: PLR0911 (a field each)
    """Return the field in which the request and the run differ, or "".

    If the request does not specify a generation, its file may have changed; that does not count as a difference. A
    different spelling of the Task Runner's URL is not one either, since the run keeps the spelling in the settings.
    """
    if (event.definition is not None) is not bool(run.source.get("inline")):
        return "definition"
    if event.definition is not None and hashlib.sha256(event.definition.encode()).hexdigest() != run.digest:
        return "definition"
    if event.generation and event.generation != run.source.get("generation"):
        return "generation"
    if event.task_runner_url and not is_same_url(event.task_runner_url, run.task_runner_url):
        return "tr_url"
    if event.no_queue is not run.no_queue:
        return "no_queue"
    given = {name: value for name, value in run.params.items() if name not in run.defaulted}
    # The run stores its parameters in the notation of their types, so the same request may spell them differently.
    if _text(event.params) != _text(given) and digest_of(event.params) != run.given_digest:
        return "params"
    others = {
        "labels": _text(event.labels) != _text(run.labels),
        "scheduled_at": event.scheduled_at != run.scheduled_at,
    }
    return next((name for name, differs in others.items() if differs), "")


def changed_file(run: RunRecord, digest: str) -> str:
    """Return a warning if the run's file has changed, or "".

    `digest` is the digest of the file, or "" if the file could not be read.
    """
    if not digest or digest == run.digest:
        return ""
    return (
        "it was requested again after its file had changed; "
        f"it continues with generation {run.source.get('generation')}, the one it was started with"
    )


def warn_of_reuse(outbox: Outbox, run: RunRecord, what: str) -> str:
    """Warn that a key was reused for a different request.

    The warning is added to the run and to the log. Returns the sentence to send to the caller.
    """
    reused = f"its key was reused for a request that differs in its {what}"
    log.warning("start.key.reused", f"run {run.id}: {reused}", run_id=run.id)
    warn(outbox, run.id, f"{reused}; that request started nothing")
    started = run.created_at.strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"this key already belongs to run {run.id}, started {started}, but this request differs in its {what}; "
        "use another key to start another run"
    )


def warn(outbox: Outbox, run_id: str, warning: str) -> None:
    """Add a warning to a run.

    Each warning is stored only once, and a run has at most `MAX_WARNINGS` warnings.
    """
    for _ in range(_TRIES):
        stored = load_run(outbox.services, run_id)
        if stored is None or warning in stored.run.warnings or len(stored.run.warnings) >= MAX_WARNINGS:
            return
        fields = {"warnings": [*stored.run.warnings, warning]}
        try:
            outbox.services.store.commit([Update(path=run_path(run_id), fields=fields, guard=stored.version)])
        except Conflict:
            continue
        return


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


_TRIES: Final = 5


class Refusal(StrEnum):
    """The reasons why a run cannot start."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    KEY_IN_USE = "key_in_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The response to a start request. The run has started, now or earlier, unless there is a `refusal`.

    The `run_id` is empty if the event concerned only a file's schedules.
    `problems` explain a refusal; `warnings` are remarks about a run that has started.
    """

    run_id: str
    refusal: Refusal | None = None
    problems: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A request after its file was read: a run with its definition, or else a refusal with its problems.

    `digest` is the digest of the file, or "" if the file could not be read. `is_registered` is True if the file is
    started by its schedules, so that its upload starts no run.
    """

    run: RunRecord
    digest: str = ""
    definition: seed.Definition | None = None
    refusal: Refusal = Refusal.INVALID
    problems: list[dict[str, Any]] = field(default_factory=list)
    is_registered: bool = False

    def refuse(self, refusal: Refusal, problems: list[dict[str, Any]]) -> _Prepared:
        """Return the same request, marked as refused."""
        return replace(self, definition=None, refusal=refusal, problems=[{"step": None, **one} for one in problems])


def handle_start(services: Services, event: StartRequested | RunSeedRequested | FileDeleted) -> Started:
    """Handle an event from the topic `start`.

    The event may be delivered twice: the second delivery starts nothing and gets the same response.
    """
    if isinstance(event, FileDeleted):
        # Imported here, as most starts have nothing to do with schedules, and every import delays the first of them.
        from atom_workflows.coordinator.schedules import end_schedules  # noqa: PLC0415 - see above

        end_schedules(services, event)
        return Started(run_id="")
    outbox = Outbox(services, wakes_checker=True)
    if isinstance(event, RunSeedRequested):
        continue_run(outbox, event.run_id, after=event.after)
        started = Started(run_id=event.run_id)
    else:
        run = _new_run(services, event)
        for warning in event.warnings:
            log.warning("start.field.ignored", f"run {run.id}: {warning}", run_id=run.id)
        started = _start(outbox, run, event)
    outbox.flush()
    return started


def _start(outbox: Outbox, run: RunRecord, event: StartRequested) -> Started:
    """Start the run, or store it as INVALID.

    It replaces an INVALID run with the same key. If any other run has this key, the response is about that run.
    """
    prepared = _prepare(outbox.services, run, event)
    if prepared.is_registered:
        return Started(run_id="")
    known: Document | None = None
    for _ in range(_TRIES):
        try:
            if prepared.definition is None:
                return _refuse(outbox, prepared, known)
            seed.seed_run(outbox, prepared.run, prepared.definition, instead_of=known)
            return Started(run_id=run.id)
        except (AlreadyExists, Conflict):
            known = outbox.services.store.get([run_path(run.id)])[0]
        except NotStorable as error:
            # Its document may be what is too large, so the run is stored as it was before its workflow was read.
            prepared = replace(prepared, run=run).refuse(Refusal.INVALID, [{"message": str(error)}])
        if known is not None and run_record(known).state is not RunState.INVALID:
            return _answer_again(outbox, run_record(known), event, prepared.digest)
    raise Conflict(f"run {run.id} cannot be written: parts of an earlier run with the same key are still being deleted")


def _prepare(services: Services, run: RunRecord, event: StartRequested) -> _Prepared:
    prepared = _Prepared(run=run)
    if refusal := _task_runner_refusal(services.settings, run, event):
        return prepared.refuse(Refusal.FORBIDDEN, [{"message": refusal}])
    try:
        if event.definition is not None:
            text = event.definition.encode()
        else:
            text, generation = services.source.read(event.workflow_path, event.generation)
            # Record the generation that was read, since the request may not have named one.
            run = replace(run, source={**run.source, "generation": generation})
        prepared = _Prepared(run=run, digest=hashlib.sha256(text).hexdigest())
        with turn_to_read(len(text)):
            workflow = parse_workflow(text, filename=event.workflow_path)
        if event.is_upload and _register(services, workflow, event):
            return replace(prepared, is_registered=True)
        if event.templates:
            run = replace(run, params={**run.params, **render_params(run, workflow.timezone, event.templates)})
        ready = seed.with_workflow(run, workflow, digest=prepared.digest, env=services.settings.env)
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
    except (SourceNotFound, SourceForbidden, SourceTooLarge) as error:
        return prepared.refuse(_SOURCE_REFUSALS[type(error)], [{"message": str(error)}])
    definition = seed.Definition(workflow=workflow, text=text, path=event.workflow_path)
    return replace(prepared, run=ready, definition=definition)


def _register(services: Services, workflow: Workflow, event: StartRequested) -> bool:
    """Replace the file's schedules.

    Return True if it has any, so that its upload starts no run.
    """
    from atom_workflows.coordinator.schedules import register_upload  # noqa: PLC0415 (only uploads need it)

    return register_upload(services, workflow, event.workflow_path, event.generation or "")


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


_SOURCE_REFUSALS: Final[Mapping[type[Exception], Refusal]] = {
    SourceNotFound: Refusal.NOT_FOUND,
    SourceForbidden: Refusal.FORBIDDEN,
    SourceTooLarge: Refusal.INVALID,
}


def _answer_again(outbox: Outbox, run: RunRecord, event: StartRequested, digest: str) -> Started:
    """Respond to a request whose key already belongs to a run.

    The request that started the run gets the same response again; any other request is refused.
    """
    # The instance that started the run may have died before it published anything.
    seed.resume(outbox, run.id, Budget.of_invocation(outbox.services))
    if event.is_scheduled:
        # The key names all that a schedule asks for, and the file may well have changed since.
        log.info("run.start.again", f"run {run.id} has already been started", run_id=run.id)
        return Started(run_id=run.id)
    if what := difference(run, event):
        problem = {"step": None, "message": warn_of_reuse(outbox, run, what)}
        return Started(run_id=run.id, refusal=Refusal.KEY_IN_USE, problems=(problem,))
    log.info("run.start.again", f"run {run.id} has already been started", run_id=run.id)
    if warning := changed_file(run, digest):
        log.warning("start.file.changed", f"run {run.id}: {warning}", run_id=run.id)
        warn(outbox, run.id, warning)
        return Started(run_id=run.id, warnings=(warning,))
    return Started(run_id=run.id)


def _task_runner_refusal(settings: Settings, run: RunRecord, event: StartRequested) -> str:
    """Return why the run's Task Runner is refused, or ""."""
    if event.task_runner_url and (expected := expected_instead(event.task_runner_url)):
        return f"the start message's tr_url is {run.task_runner_url!r}; it must be {expected}"
    if settings.may_use_task_runner(run.task_runner_url):
        return ""
    return (
        f"the Task Runner {run.task_runner_url or '(none)'} is not one that this deployment may use; "
        "set WORKFLOW_TASK_RUNNER_URL or add it to WORKFLOW_TASK_RUNNER_ALLOW"
    )


def _new_run(services: Services, event: StartRequested) -> RunRecord:
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
        warnings=event.warnings,
        scheduled_at=event.scheduled_at,
        window_start=event.window_start,
        expire_at=now + settings.keep_runs,
    )


def _refuse(outbox: Outbox, prepared: _Prepared, known: Document | None) -> Started:
    """Store a run that cannot start as INVALID, with every reason.

    Raises `AlreadyExists` or `Conflict` if the stored document is not `known`.
    """
    run, problems = prepared.run, prepared.problems
    refused = Started(run_id=run.id, refusal=prepared.refusal, problems=tuple(problems))
    if known is not None and known.fields.get("errors") == problems:
        log.debug("run.invalid.again", f"run {run.id} is already known to be INVALID", run_id=run.id)
        return refused
    invalid = replace(run, state=RunState.INVALID, errors=tuple(problems), finished_at=run.created_at)
    create = Create(path=run_path(run.id), fields=run_fields(invalid))
    outbox.services.store.commit([create if known is None else seed.replacement(known, create)])
    log.error(
        "run.invalid",
        f"run {run.id} is INVALID: {problems[0]['message']}",
        run_id=run.id,
        problems=len(problems),
    )
    return refused
