"""A start that comes again: what it asks for against the run that has its key already.

The same request, however often it comes, is answered as it was first. Another one under the same key starts nothing:
who asked is told so, and the run keeps a warning, as the sender of a message is told nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.loading import load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.records import RunRecord
from atom_workflows.documents import run_path
from atom_workflows.errors import Conflict
from atom_workflows.messages.start import StartRequested
from atom_workflows.ports import Update
from atom_workflows.settings import is_same_place

MAX_WARNINGS: Final = 20
_TRIES: Final = 5


def difference(run: RunRecord, event: StartRequested) -> str:
    """Return what the request asks for otherwise than the run's, or "".

    A file whose generation was not asked for may have changed: the request is the same. So it is if its `tr_url` is
    spelt otherwise than the settings spell it, whose spelling the run has.
    """
    if (event.definition is not None) is not bool(run.source.get("inline")):
        return "definition"
    if event.definition is not None and hashlib.sha256(event.definition.encode()).hexdigest() != run.digest:
        return "definition"
    if event.generation and event.generation != run.source.get("generation"):
        return "generation"
    if event.task_runner_url and not is_same_place(event.task_runner_url, run.task_runner_url):
        return "tr_url"
    asked: Mapping[str, Any] = {"params": event.params, "labels": event.labels}
    started_with: Mapping[str, Any] = {"params": run.params, "labels": run.labels}
    return next((name for name in asked if _text(asked[name]) != _text(started_with[name])), "")


def changed_file(run: RunRecord, digest: str) -> str:
    """Return a warning if the file of the run has changed, or "".

    `digest` is that of the file, empty if it could not be read.
    """
    if not digest or digest == run.digest:
        return ""
    generation = run.source.get("generation")
    return (
        f"it was asked for again after its file had changed; it keeps to generation {generation}, which it began with"
    )


def warn_of_reuse(outbox: Outbox, run: RunRecord, what: str) -> str:
    """Warn that a key was used again for something else.

    The run and the log say so. Return the sentence for the caller.
    """
    log.warned("start.key.reused", f"run {run.id}: its key came with another {what}", run_id=run.id)
    warn(outbox, run.id, f"its key was used again with another {what}; that started nothing")
    started = run.created_at.strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"this key was used with another {what} for run {run.id}, which began {started}; "
        "use another key to start another run"
    )


def warn(outbox: Outbox, run_id: str, warning: str) -> None:
    """Add a warning to a run.

    A run keeps each once, and not more than `MAX_WARNINGS`.
    """
    for _ in range(_TRIES):
        held = load_run(outbox.services, run_id)
        if held is None or warning in held.run.warnings or len(held.run.warnings) >= MAX_WARNINGS:
            return
        fields = {"warnings": [*held.run.warnings, warning]}
        try:
            outbox.services.store.commit([Update(path=run_path(run_id), fields=fields, guard=held.version)])
        except Conflict:
            continue
        return


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
