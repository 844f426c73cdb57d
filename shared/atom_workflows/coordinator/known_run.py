"""Compare a start request with the run that already has its key.

The same request, however often it comes, gets the same answer. A different one under the same key starts nothing: the
caller gets an error, and the run keeps a warning, because the sender of a message gets no answer.
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
    """Return the field in which a request differs, or "".

    If the request names no generation, its file may have changed; that is no difference. Nor is another spelling of the
    Task Runner's address, as the run has that of the settings.
    """
    if (event.definition is not None) is not bool(run.source.get("inline")):
        return "definition"
    if event.definition is not None and hashlib.sha256(event.definition.encode()).hexdigest() != run.digest:
        return "definition"
    if event.generation and event.generation != run.source.get("generation"):
        return "generation"
    if event.task_runner_url and not is_same_place(event.task_runner_url, run.task_runner_url):
        return "tr_url"
    if _text(event.params) != _text(run.params):
        return "params"
    return "labels" if _text(event.labels) != _text(run.labels) else ""


def changed_file(run: RunRecord, digest: str) -> str:
    """Return a warning if the run's file has changed, or "".

    `digest` is the file's, "" if it could not be read.
    """
    if not digest or digest == run.digest:
        return ""
    return (
        "it was requested again after its file had changed; "
        f"it continues with generation {run.source.get('generation')}, with which it began"
    )


def warn_of_reuse(outbox: Outbox, run: RunRecord, what: str) -> str:
    """Warn that a key was used again for something else.

    The warning is on the run and in the log. Returns the sentence for the caller.
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

    A run keeps each once, and at most `MAX_WARNINGS`.
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
