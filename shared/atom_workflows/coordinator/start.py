"""Start a run: read, validate and seed it, and publish ready steps.

A run that cannot start is stored as INVALID. The next start with the same key replaces it, since the cause may have
been fixed by then. A run in any other state is never replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from atom_workflows import log
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.preparation import Prepared, Refusal, new_run, prepare
from atom_workflows.coordinator.repair import continue_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_values import digest_of
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.errors import (
    AlreadyExists,
    Conflict,
    NotStorable,
)
from atom_workflows.messages.start import FileDeleted, RunSeedRequested, StartRequested
from atom_workflows.ports import Create, Document, Update
from atom_workflows.run_documents import run_fields, run_record
from atom_workflows.task_runner_urls import is_same_url

MAX_WARNINGS: Final = 20


def difference(run: RunRecord, event: StartRequested) -> str:  # noqa: PLR0911 (a field each)
    """Return the field in which the request and run differ, or "".

    If the request does not specify a generation, its file may have changed; that does not count as a difference. A
    different spelling of the Task Runner's URL does not count either, since the run stores the settings' spelling.
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
    if event.repairs != run.repairs:
        return "repairs"
    if event.repairs:
        # Its other parameters, labels and times are those of the run that it repairs.
        return "params" if digest_of(event.params) != run.given_digest else ""
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


class Started(NamedTuple):
    """The response to a start request. The run has started, now or earlier, unless there is a `refusal`.

    The `run_id` is empty if the event concerned only a file's schedules.
    `problems` explain a refusal; `warnings` are remarks about a run that has started.
    """

    run_id: str
    refusal: Refusal | None = None
    problems: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


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
        run = new_run(services, event)
        for warning in event.warnings:
            log.warning("start.field.ignored", f"run {run.id}: {warning}", run_id=run.id)
        started = _start(outbox, run, event)
    outbox.flush()
    return started


def _start(outbox: Outbox, run: RunRecord, event: StartRequested) -> Started:
    """Start the run, or store it as INVALID.

    It replaces an INVALID run with the same key. If any other run has this key, the response is about that run.
    """
    prepared = prepare(outbox.services, run, event)
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
            continue
        if known is not None and run_record(known).state is not RunState.INVALID:
            return _answer_again(outbox, run_record(known), event, prepared.digest)
        if event.repairs:
            # The run that it repairs may have changed.
            prepared = prepare(outbox.services, run, event)
    raise Conflict(f"run {run.id} cannot be written: parts of an earlier run with the same key are still being deleted")


def _answer_again(outbox: Outbox, run: RunRecord, event: StartRequested, digest: str) -> Started:
    """Respond to a request whose key already belongs to a run.

    The request that started the run gets the same response again; any other request is refused.
    """
    # The instance that started the run may have died before it published anything.
    seed.resume(outbox, run.id, Budget.of_invocation(outbox.services.clock, outbox.services.settings.inline_budget))
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


def _refuse(outbox: Outbox, prepared: Prepared, known: Document | None) -> Started:
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
