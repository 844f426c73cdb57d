"""How long a run took, since its last start and in all."""

from __future__ import annotations

from datetime import datetime, timedelta

from atom_client.text import between, lasted
from atom_client.views.reasons import last_start
from atom_client.views.user_changes import is_reopened_by_mark
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState


def time_taken(run: RunRecord, now: datetime) -> timedelta | None:
    """Return how long a run has taken since its last start."""
    # A run may have been closed for days before its retry. One that waits has not begun.
    has_begun = run.started_at is not None if run.reopened_at is None else run.state is not RunState.QUEUED
    return between(last_start(run), _end(run, now)) if has_begun else None


def time_in_all(run: RunRecord, now: datetime) -> timedelta | None:
    """Return the time since a reopened run's first start.

    It includes the time during which the run was closed.
    """
    has_begun_again = run.started_at is not None and run.reopened_at is not None and run.started_at < run.reopened_at
    return between(run.started_at, _end(run, now)) if has_begun_again and time_taken(run, now) is not None else None


def reopening_of(run: RunRecord) -> str:
    """Return what last reopened a run, worded to follow "since" or "after"."""
    if is_reopened_by_mark(run):
        return "a mark reopened it"
    retry = "its retry" if run.retries == 1 else "its last retry"
    # A retried run may wait for a place in its group first.
    has_waited = run.admitted_at is not None and run.reopened_at is not None and run.admitted_at > run.reopened_at
    return f"{retry} began" if has_waited else retry


def taken_text(run: RunRecord, now: datetime) -> str:
    """Return how long a run has taken.

    For example `17 s`, or `17 s since its retry, 8 min 23 s in all`. Returns "" if it has not begun.
    """
    taken, in_all = lasted(time_taken(run, now)), time_in_all(run, now)
    return taken if in_all is None else f"{taken} since {reopening_of(run)}, {lasted(in_all)} in all"


def open_text(run: RunRecord, now: datetime) -> str:
    """Return how long an open run has been under way.

    For example `17 s`, or `17 s since its retry (it first started 8 min 23 s ago)`. Returns "" if it has not begun.
    """
    taken, in_all = lasted(time_taken(run, now)), time_in_all(run, now)
    # A reopened run was closed for a while.
    return taken if in_all is None else f"{taken} since {reopening_of(run)} (it first started {lasted(in_all)} ago)"


def ended_text(run: RunRecord, *, word: str = "after") -> str:
    """Return when a run ended, worded to follow its state.

    For example `after 17 s` (or another `word`), or `17 s after its retry, 8 min 23 s after its first start`.
    """
    took = lasted(between(last_start(run), run.finished_at))
    if run.finished_at is None or (in_all := time_in_all(run, run.finished_at)) is None:
        return f"{word} {took}"
    return f"{took} after {reopening_of(run)}, {lasted(in_all)} after its first start"


def _end(run: RunRecord, now: datetime) -> datetime | None:
    return run.finished_at if run.state.is_terminal else now
