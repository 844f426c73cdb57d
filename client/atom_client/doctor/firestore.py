"""Checks of Firestore, its index, the checker and the dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from atom_client.deployment import with_place
from atom_client.doctor.findings import Finding, ok, wrong
from atom_client.text import clip, listing, local_time, one_line
from atom_client.views.dead_letters import Desk, reason
from atom_client.views.queries import newest_runs
from atom_workflows.coordinator.checker.due_steps import due_query
from atom_workflows.coordinator.groups import count_at_work
from atom_workflows.coordinator.repair import LATE
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import BURST_LEASE_PATH, RUNS, SCHEMAS, STEPS, run_record
from atom_workflows.errors import NewerVersion
from atom_workflows.messages.dead_letters import read_dead_letter
from atom_workflows.ports import Condition, Document, Query
from atom_workflows.schedule_documents import SCHEDULES

_MOST_DUE: Final = 1_000
_MOST_LATE: Final = 50
_MOST_WAITING: Final = 100
_MOST_NAMED: Final = 3
_MOST_LETTERS: Final = 50
_LONGEST_REASON: Final = 200
_NEWER_SCHEMAS: Final = range(SCHEMAS[-1] + 1, SCHEMAS[-1] + 6)
"""The schemas that the next versions may write. The query lists them, so that the checker's index can serve it."""


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
        newest = "the newest run was written by a newer version, so this one cannot read it"
    yield ok("Firestore", f"database {database} answers; {newest}")
    yield from _newer_findings(services)
    yield from _line_findings(services)
    due = services.store.query(due_query(services.clock.now() - LATE, limit=_MOST_DUE, fields=("due_at", "state")))
    # A job keeps the due time of its first poll, since polls that report nothing new write nothing.
    overdue = [document for document in due if document.fields.get("state") != StepState.RUNNING]
    late = [document for document in overdue if not document.path.startswith(f"{SCHEDULES}/")][:_MOST_LATE]
    yield ok("index", "the checker's query works")
    yield from _schedule_findings([one for one in overdue if one.path.startswith(f"{SCHEDULES}/")], tick_fix)
    if not late:
        yield ok("checker", f"no step is waiting for it{_last_burst(lease)}")
        return
    runs = list(dict.fromkeys(document.path.split("/")[1] for document in late))
    since: datetime = late[0].fields["due_at"]
    count = f"{len(late)}{' or more' if len(late) == _MOST_LATE else ''}"
    detail = f"{count} steps are overdue, the first since {local_time(since)}, and the checker has not processed them"
    yield wrong("checker", f"{detail}{_last_burst(lease)}", tick_fix)
    doctors = " && ".join(with_place(f"runs doctor {run_id}") for run_id in runs[:_MOST_NAMED])
    yield wrong("runs", f"no progress in {listing(runs, most=_MOST_NAMED)}", doctors)


def _schedule_findings(overdue: Sequence[Document], tick_fix: str) -> Iterator[Finding]:
    """Report schedules whose runs should have been started."""
    if not overdue:
        yield ok("schedules", "none is overdue")
        return
    since: datetime = overdue[0].fields["due_at"]
    files = listing([document.path.split("/")[1] for document in overdue], most=_MOST_NAMED)
    yield wrong("schedules", f"overdue since {local_time(since)}: {files}", tick_fix)


def newest_run(services: Services) -> RunRecord | None:
    """Return the most recently created run, if there is one."""
    return next(iter(newest_runs(services.store, limit=1, state=None)), None)


def _newer_findings(services: Services) -> Iterator[Finding]:
    """Report steps with newer schemas that no checker handles.

    This version's checker skips them, so they are overdue only if no newer checker is running.
    """
    late = services.clock.now() - LATE
    where: list[Condition] = [("schema", "in", list(_NEWER_SCHEMAS)), ("due_at", "<=", late)]
    query = Query(
        collection=STEPS,
        group=True,
        where=where,
        order_by=[("due_at", "ascending")],
        limit=_MOST_DUE,
        fields=("due_at", "state", "schema"),
    )
    found = [one for one in services.store.query(query) if one.fields.get("state") != StepState.RUNNING]
    if not found:
        return
    schemas = listing(sorted({str(one.fields["schema"]) for one in found}))
    runs = list(dict.fromkeys(one.path.split("/")[1] for one in found))
    since: datetime = found[0].fields["due_at"]
    detail = (
        f"documents of schema {schemas} have been due since {local_time(since)}, in {listing(runs, most=_MOST_NAMED)}: "
        f"a newer version started these runs, and this one reads schemas up to {SCHEMAS[-1]}"
    )
    yield wrong("newer runs", detail, "deploy the version that started them, or a newer one, and install it here")


def _line_findings(services: Services) -> Iterator[Finding]:
    """Report runs that wait although their group has a free place."""
    query = Query(collection=RUNS, where=[("state", "==", RunState.QUEUED.value)], limit=_MOST_WAITING)
    found: list[str] = []
    waiting = [run_record(one) for one in services.store.query(query) if one.fields.get("schema") in SCHEMAS]
    groups = {run.group.id: run.group for run in waiting if run.group is not None}
    free = {name for name, group in groups.items() if count_at_work(services, group) < group.limit}
    for run in waiting:
        late = run.queued_at is not None and services.clock.now() - run.queued_at > LATE
        if late and run.group is not None and run.group.id in free:
            found.append(run.id)
    if not found:
        yield ok("line", f"QUEUED, behind others in progress: {len(waiting)}" if waiting else _NO_LINE)
        return
    doctors = " && ".join(with_place(f"runs doctor {run_id}") for run_id in found[:_MOST_NAMED])
    yield wrong("line", f"waiting although their group has a free place: {listing(found, most=_MOST_NAMED)}", doctors)


_NO_LINE: Final = "no run is QUEUED"


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
