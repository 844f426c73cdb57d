"""Skip runs that may not wait in the line of their group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.lateness import report_late
from atom_workflows.coordinator.loading import StoredRun
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Update, Write
from atom_workflows.run_documents import run_state_fields

TOGETHER: Final = 50
"""The maximum number of runs that begin, or are skipped, in one commit. Each takes two writes."""


def skip_runs(outbox: Outbox, chosen: Sequence[tuple[StoredRun, str]], *, one_by_one: bool) -> bool:
    """Skip the chosen runs, each with its reason.

    Returns False if one of them has changed since it was read, probably because another instance is doing the same.
    With `one_by_one`, only the runs that have changed are left as they are.
    """
    if one_by_one:
        for one, because in chosen:
            skip_run(outbox, one, because)
        return True
    for start in range(0, len(chosen), TOGETHER):
        part = chosen[start : start + TOGETHER]
        skipped = [_skipped(one.run, because, outbox.services.clock.now()) for one, because in part]
        writes = [write for (one, _), run in zip(part, skipped, strict=True) for write in _writes_of_skip(one, run)]
        try:
            outbox.services.store.commit(writes)
        except Conflict:
            return False
        for (one, _), run in zip(part, skipped, strict=True):
            _report_skip(outbox, one.run, run)
    return True


def skip_run(outbox: Outbox, stored: StoredRun, because: str) -> bool:
    """Skip a waiting run, even if its end node is missing.

    Returns False if it has changed since it was read.
    """
    store = outbox.services.store
    run = _skipped(stored.run, because, outbox.services.clock.now())
    end = store.get([step_path(run.id, END_ID)], fields=("state",))[0]
    writes = list(_writes_of_skip(stored, run))
    try:
        store.commit(writes[:1] if end is None else writes)
    except Conflict:
        return False
    _report_skip(outbox, stored.run, run)
    return True


def _skipped(run: RunRecord, because: str, now: datetime) -> RunRecord:
    """Return the run in its state after being skipped.

    A retry that could not begin leaves its run FAILED, so that it can be retried again.
    """
    run = replace(run, late=run.late or run.is_late(now))
    if not run.retries:
        return replace(run, state=next_run_state(run.state, RunEvent.SKIP), finished_at=now, because=because)
    error = {"step": None, "message": f"its retry did not begin: {because}"}
    return replace(run, state=next_run_state(run.state, RunEvent.FAIL), finished_at=now, errors=(error,))


def _writes_of_skip(stored: StoredRun, run: RunRecord) -> Iterator[Write]:
    fields: dict[str, Any] = {**run_state_fields(run), "finished_at": run.finished_at}
    if run.errors:
        fields["errors"] = [dict(error) for error in run.errors]
    fields |= {name: value for name in ("because", "late") if (value := getattr(run, name))}
    yield Update(path=run_path(run.id), fields=fields, guard=stored.version)
    # The end of a retried run has ended already.
    ended = {} if run.retries else {"state": StepState.SKIPPED.value, "finished_at": run.finished_at}
    yield Update(path=step_path(run.id, END_ID), fields={"due_at": None, **ended})


def _report_skip(outbox: Outbox, waiting: RunRecord, run: RunRecord) -> None:
    outbox.report_run(run)
    if run.late and not waiting.late:
        report_late(outbox, run)
    if run.state is RunState.FAILED:
        log.error("run.fail", f"run {run.id} is FAILED: {run.errors[0]['message']}", run_id=run.id)
    else:
        log.warning("run.skip", f"run {run.id} is SKIPPED: {run.because}", run_id=run.id)
