"""Give a group's places to new runs, waiting runs and retries.

A run holds its place for as long as its state says so (core/groups.py), so only giving places away needs care. An
instance that lets runs begin first reads the group's document, then counts the active runs, and changes the document
under a guard in the commit that lets the runs begin. So if two instances see the same free place, one of them is
refused. Each decision covers the whole line: a refused instance waits for a moment, reads again, and usually finds
nothing left to do.

A run that joins the line writes nothing that an ending run has to read. So both look at the line after their commits,
and at least one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from atom_workflows.coordinator.loading import StoredRun
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import backoff_delay
from atom_workflows.core.groups import (
    Admission,
    Group,
    admit,
    line_of,
    place_at_work,
    wait_ends,
    why_full,
)
from atom_workflows.core.polling import NEXT_AUDIT
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import Backoff, WhenFull
from atom_workflows.documents import RUNS, SCHEMA, group_path
from atom_workflows.errors import RunStateError
from atom_workflows.ports import Create, Query, Update, Upsert, Version, Write
from atom_workflows.run_documents import run_record

MOST_COUNTED: Final = 2_000
MOST_IN_LINE: Final = 1_200
"""The maximum number of waiting runs read at a time, which is more than any file allows."""

_PAUSE: Final = Backoff(initial=timedelta(milliseconds=50), factor=2.0, maximum=timedelta(seconds=2), jitter=1.0)
"""How long to wait before rereading what someone else has just changed. Its jitter differs from run to run."""

_IN_LINE: Final = (
    *("schema", "workflow", "state", "created_at", "place", "group", "queued_at", "stop", "retries", "timeout_s"),
    *("reopened_at", "expire_at", "step_count", "source", "scheduled_at", "late_at", "late"),
)
"""The fields needed to decide about a waiting run. Its parameters may be as large as 100 KB, so they are omitted."""


# -- what is read ----------------------------------------------------------------------------------------------------


class Occupancy(NamedTuple):
    """The version of a group's document, and its number of active runs.

    The version is None if the document does not exist. It is read before the runs are counted.
    """

    version: Version | None
    at_work: int


def read_occupancy(services: Services, group: Group) -> Occupancy:
    """Read the group's document, then count its active runs."""
    document = services.store.get([group_path(group.id)], fields=("admitted",))[0]
    return Occupancy(version=None if document is None else document.version, at_work=count_at_work(services, group))


def count_at_work(services: Services, group: Group) -> int:
    """Count the group's active runs."""
    at_work = Query(collection=RUNS, where=[("place", "==", place_at_work(group.id))], limit=MOST_COUNTED)
    return services.store.count(at_work)


def read_at_work(services: Services, group: Group, *, limit: int) -> list[RunRecord]:
    """Return some of the group's active runs, for display."""
    where = [("place", "==", place_at_work(group.id))]
    fields = (*_IN_LINE, "started_at", "admitted_at")
    return [run_record(one) for one in services.store.query(_runs(where, limit=limit, fields=fields))]


def count_ahead(services: Services, group: Group, place: str) -> int:
    """Count the waiting runs ahead of the given place in line."""
    line = replace(line_query(group, MOST_IN_LINE), fields=None)
    return services.store.count(replace(line, where=[line.where[0], ("place", "<", place)]))


def line_query(group: Group, limit: int) -> Query:
    """Return the query for a group's first waiting runs, in order."""
    first, end = line_of(group.id)
    return _runs([("place", ">=", first), ("place", "<", end)], limit=limit, order_by=[("place", "ascending")])


def _runs(where: Sequence[Any], *, limit: int, fields: Sequence[str] = _IN_LINE, order_by: Sequence[Any] = ()) -> Query:
    return Query(collection=RUNS, where=where, order_by=order_by, limit=limit, fields=fields)


# -- new runs and retries --------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """The decision about a started or retried run: begin, wait or skip.

    The `writes` let the run begin.
    """

    admission: Admission
    writes: Sequence[Write] = ()
    because: str = ""


def enter(services: Services, run: RunRecord, group: Group) -> Entry:
    """Decide whether a run begins.

    The writes must be part of the commit that begins the run. That commit fails if someone else has given away a place
    in the meantime.
    """
    if run.no_queue:
        # It takes a place that there need not be. Whoever is giving one away has to count again.
        return Entry(admission=Admission.BEGIN, writes=[Upsert(**_touch(services, run, group))])
    seen = read_occupancy(services, group)
    waiting = services.store.count(replace(line_query(group, group.max_queued), fields=None))
    admission = admit(group, at_work=seen.at_work, waiting=waiting)
    if admission is Admission.BEGIN:
        return Entry(admission=admission, writes=[give_places(services, run, group, seen, 1)])
    return Entry(admission=admission, because=why_full(group) if admission is Admission.SKIP else "")


def enter_again(services: Services, run: RunRecord) -> Entry:
    """Decide whether the retry begins or waits.

    Raises `RunStateError` if it may do neither.
    """
    if run.group is None:
        return Entry(admission=Admission.BEGIN)
    # Starting once without waiting does not mean that a retry need not wait.
    entry = enter(services, replace(run, no_queue=False), run.group)
    if entry.admission is not Admission.BEGIN and (
        entry.admission is Admission.SKIP or run.group.when_full is not WhenFull.QUEUE
    ):
        reason = entry.because or why_full(run.group)
        raise RunStateError(
            f"run {run.id} cannot be retried now: {reason}; try again when a run of its group has ended"
        )
    return entry


def _touch(services: Services, run: RunRecord, group: Group, count: int = 1) -> dict[str, Any]:
    expire_at = services.clock.now() + services.settings.keep_runs
    fields = {"schema": SCHEMA, "path": run.source.get("path", ""), "value": group.value, "expire_at": expire_at}
    return {"path": group_path(group.id), "fields": fields, "increments": {"admitted": count}}


def give_places(services: Services, run: RunRecord, group: Group, seen: Occupancy, count: int) -> Write:
    """Return the write that lets runs begin.

    The store refuses it if someone else has allocated a place in the meantime.
    """
    touch = _touch(services, run, group, count)
    if seen.version is None:
        return Create(path=touch["path"], fields={**touch["fields"], "admitted": count})
    return Update(**touch, guard=seen.version)


def first_look(group: Group, now: datetime) -> datetime:
    """Return the time of the checker's first check of a waiting run."""
    return min(now + NEXT_AUDIT, now + group.max_wait)


def pause(run_id: str, tries: int) -> float:
    """Return the seconds to wait after someone else has changed the group."""
    return backoff_delay(_PAUSE, tries=tries, seed=f"{run_id}/{tries}").total_seconds()


_STALLED_AFTER: Final = NEXT_AUDIT * 2


def find_stall(services: Services, stored: StoredRun, *, has_end: bool) -> str:
    """Return a clause that explains why a waiting run is stalled.

    Returns "" if it is not stalled.
    """
    run, now = stored.run, services.clock.now()
    if run.group is None or run.queued_at is None:
        return ""
    if not has_end:
        return "its end node is missing, so the checker cannot find it"
    if now >= wait_ends(run):
        return "it has waited longer than allowed"
    if now - run.queued_at < _STALLED_AFTER or count_at_work(services, run.group) >= run.group.limit:
        return ""
    return "there is a free place in its group, but no run has been given it"
