"""A run as the start function's callers see it, from one read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from atom_workflows.core.records import RunRecord

VERSION: Final = 1
"""The version of this format. Adding a member does not change it; changing a member's meaning does."""


def run_status(run: RunRecord) -> dict[str, Any]:
    """Return a run as an object for JSON.

    Each of its members is also a member of a run in the command line's JSON.
    """
    return {
        "version": VERSION,
        "run_id": run.id,
        "workflow": run.workflow,
        "state": run.state.value,
        "labels": dict(run.labels),
        "step_count": run.step_count,
        "retries": run.retries,
        "because": run.because,
        "stop_reason": run.stop_reason,
        "failure_count": run.failure_count,
        "failures": [dict(failure) for failure in run.failures],
        "errors": [dict(error) for error in run.errors],
        "warnings": list(run.warnings),
        "outputs": dict(run.outputs),
        "changes": [
            {**change._asdict(), "at": _time_text(change.at), "why": change.why or None} for change in run.changes
        ],
        "created_at": _time_text(run.created_at),
        "started_at": _time_text(run.started_at),
        "finished_at": _time_text(run.finished_at),
        "deadline": _time_text(run.deadline),
        "scheduled_at": _time_text(run.scheduled_at),
        "late": run.late,
    }


def _time_text(moment: datetime | None) -> str | None:
    """Format a time in UTC, to the millisecond, such as `2026-01-31T08:05:00.000Z`."""
    if moment is None:
        return None
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
