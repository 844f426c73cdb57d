"""Checks of Firestore, its index, the checker and the dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from atom_client.deployment import with_place
from atom_client.doctor.findings import Finding, ok, wrong
from atom_client.doctor.runs import line_findings, newer_findings
from atom_client.text import clip, listing, local_time, one_line
from atom_client.views.dead_letters import Desk, reason
from atom_client.views.queries import newest_runs
from atom_workflows.coordinator.checker.due_steps import due_query
from atom_workflows.coordinator.repair import LATE
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import StepState
from atom_workflows.documents import BURST_LEASE_PATH
from atom_workflows.errors import NewerVersion
from atom_workflows.messages.dead_letters import read_dead_letter
from atom_workflows.ports import Document
from atom_workflows.schedule_documents import SCHEDULES

_MOST_DUE: Final = 1_000
_MOST_LATE: Final = 50
_MOST_NAMED: Final = 3
_MOST_LETTERS: Final = 50
_LONGEST_REASON: Final = 200


def state_findings(services: Services, *, tick_fix: str) -> Iterator[Finding]:
    """Check Firestore and its index, and whether the checker is running.

    `tick_fix` is what to do if the checker is not running.
    """
    database = services.settings.database
    lease = services.store.get([BURST_LEASE_PATH])[0]
    try:
        run = newest_run(services)
        newest = f"the newest run is {run.id}, {run.state}" if run else "there are no runs yet"
    except NewerVersion:
        newest = "the newest run was written by a newer version, so this version cannot read it"
    yield ok("Firestore", f"database {database} answers; {newest}")
    yield from newer_findings(services)
    yield from line_findings(services)
    due = services.store.query(due_query(services.clock.now() - LATE, limit=_MOST_DUE, fields=("due_at", "state")))
    # A job keeps the due time of its first poll, since polls that report nothing new write nothing.
    overdue = [document for document in due if document.fields.get("state") != StepState.RUNNING]
    late = [document for document in overdue if not document.path.startswith(f"{SCHEDULES}/")][:_MOST_LATE]
    yield ok("index", "the checker's query works")
    if schedules := [document for document in overdue if document.path.startswith(f"{SCHEDULES}/")]:
        since: datetime = schedules[0].fields["due_at"]
        files = listing([document.path.split("/")[1] for document in schedules], most=_MOST_NAMED)
        yield wrong("schedules", f"overdue since {local_time(since)}: {files}", tick_fix)
    else:
        yield ok("schedules", "none is overdue")
    if not late:
        yield ok("checker", f"no step is waiting for it{_last_burst(lease)}")
        return
    runs = list(dict.fromkeys(document.path.split("/")[1] for document in late))
    since = late[0].fields["due_at"]
    count = f"{len(late)}{' or more' if len(late) == _MOST_LATE else ''}"
    detail = f"overdue steps: {count}, the first since {local_time(since)}; the checker has not processed them"
    yield wrong("checker", f"{detail}{_last_burst(lease)}", tick_fix)
    doctors = " && ".join(with_place(f"runs doctor {run_id}") for run_id in runs[:_MOST_NAMED])
    yield wrong("runs", f"no progress in {listing(runs, most=_MOST_NAMED)}", doctors)


def newest_run(services: Services) -> RunRecord | None:
    """Return the most recently created run, if there is one."""
    return next(iter(newest_runs(services.store, limit=1)), None)


def letters_findings(desk: Desk) -> Iterator[Finding]:
    """Check that there are no dead letters.

    The letters are held only briefly.
    """
    held = desk.box.take(_MOST_LETTERS)
    desk.box.release(held)
    if not held:
        yield ok("dead letters", "there are none")
        return
    newest = max(
        (read_dead_letter(one, topic_prefix=desk.topic_prefix) for one in held), key=lambda one: one.dead_since
    )
    more = " or more" if len(held) == _MOST_LETTERS else ""
    detail = f"{len(held)}{more} found, the newest from {local_time(newest.dead_since)}"
    why = clip(one_line(reason(newest)), _LONGEST_REASON)
    yield wrong("dead letters", f"{detail}: {why}", with_place("dead-letters list"))


def _last_burst(lease: Document | None) -> str:
    until = lease.fields.get("until") if lease else None
    return f"; its last burst was due to end at {local_time(until)}" if isinstance(until, datetime) else ""
