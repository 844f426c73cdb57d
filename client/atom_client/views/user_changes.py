"""What people did to a run or to schedules, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atom_client.text import local_time, one_line
from atom_workflows.core.records import RunRecord
from atom_workflows.core.user_changes import UserChange

_VERBS: Final[Mapping[str, str]] = {
    "cancel": "cancelled",
    "retry": "retried",
    "mark": "marked",
    "doctor": "repaired",
    "pause": "paused",
    "resume": "resumed",
}


def change_line(change: UserChange) -> str:
    """Return a clause about a change.

    For example "cancelled (--now) by ana@example.com at 2026-03-29 01:00:00 UTC: the wrong day".
    """
    command, _, options = one_line(change.what).partition(" ")
    how = f" ({options})" if options else ""
    why = f": {one_line(change.why)}" if change.why else ""
    return f"{_VERBS.get(command, command)}{how} by {one_line(change.actor)} at {local_time(change.at)}{why}"


def is_reopened_by_mark(run: RunRecord) -> bool:
    """Return True if a mark, and no retry, reopened the run last."""
    reopened_at = run.reopened_at
    until = [change for change in run.changes if reopened_at is not None and change.at <= reopened_at]
    return bool(until) and until[-1].what.startswith("mark ")
