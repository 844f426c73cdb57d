"""Give the places of a group of runs away: to new runs, to waiting ones, and to retries.

A run has its place as long as its state says so (core/groups.py), so only giving places away needs care: whoever lets
runs begin reads the group's document first, then counts the runs at work, and changes the document under a guard in the
commit that lets them begin. So of two that saw the same free place, one is refused. Whoever decides, decides for the
whole line: a refused one waits for a moment, reads again, and mostly finds nothing left to do.

A run that joins the line writes nothing that a run which ends has to read. So both look at the line after their commit:
at least one of the two then sees the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.lateness import report_late
from atom_workflows.coordinator.loading import StoredRun
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import backoff_delay
from atom_workflows.core.graph import END_ID
from atom_workflows.core.groups import (
    AT_WORK,
    Admission,
    Decisions,
    Group,
    admit,
    decide,
    line_of,
    place_at_work,
    wait_ends,
    why_expired,
    why_full,
)
from atom_workflows.core.polling import NEXT_AUDIT, first_audit
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunEvent, RunState, StepState, next_run_state
from atom_workflows.core.workflow import Backoff, WhenFull
from atom_workflows.documents import RUNS, SCHEMA, group_path, run_path, run_record, run_state_fields, step_path
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Create, Query, Update, Upsert, Version, Write

MOST_COUNTED: Final = 2_000
MOST_IN_LINE: Final = 1_200
"""The maximum number of waiting runs that are read at a time, which is more than any file allows."""

TOGETHER: Final = 50
"""The maximum number of runs that begin, or are skipped, in one commit. Each takes two writes."""

_TRIES: Final = 12
_TRIES_TOGETHER: Final = 4
_PAUSE: Final = Backoff(initial=timedelta(milliseconds=50), factor=2.0, maximum=timedelta(seconds=2), jitter=1.0)
"""The wait before reading again what someone else has just changed. Its jitter differs from run to run."""

_IN_LINE: Final = (
    *("schema", "workflow", "state", "created_at", "place", "group", "queued_at", "stop", "retries", "timeout_s"),
    *("reopened_at", "expire_at", "step_count", "source", "scheduled_at", "late_at", "late"),
)
"""The fields of a waiting run that decide its fate. Its parameters are omitted, since they may take up 100 KB."""


# -- what is read ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The version of the group's document, if it exists, and the number of active runs, which is read after it."""

    version: Version | None
    at_work: int


def _look(services: Services, group: Group) -> _Seen:
    document = services.store.get([group_path(group.id)], fields=("admitted",))[0]
    return _Seen(version=None if document is None else document.version, at_work=count_at_work(services, group))


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
    line = replace(_line(group, MOST_IN_LINE), fields=None)
    return services.store.count(replace(line, where=[line.where[0], ("place", "<", place)]))


def _line(group: Group, limit: int) -> Query:
    first, end = line_of(group.id)
    return _runs([("place", ">=", first), ("place", "<", end)], limit=limit, order_by=[("place", "ascending")])


def _runs(where: Sequence[Any], *, limit: int, fields: Sequence[str] = _IN_LINE, order_by: Sequence[Any] = ()) -> Query:
    return Query(collection=RUNS, where=where, order_by=order_by, limit=limit, fields=fields)


def _read_line(services: Services, query: Query) -> list[StoredRun]:
    return [StoredRun(run=run_record(one), version=one.version) for one in services.store.query(query)]


# -- new runs and retries --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The decision about a run that is started or retried: it begins with these writes, waits, or is skipped."""

    admission: Admission
    writes: Sequence[Write] = ()
    because: str = ""


def enter(services: Services, run: RunRecord, group: Group) -> Entry:
    """Decide whether a run begins.

    The writes must be part of the commit that begins the run, which fails if someone else has given a place away.
    """
    if run.no_queue:
        # It takes a place that there need not be. Whoever is giving one away has to count again.
        return Entry(admission=Admission.BEGIN, writes=[Upsert(**_touch(services, run, group))])
    seen = _look(services, group)
    waiting = services.store.count(replace(_line(group, group.max_queued), fields=None))
    admission = admit(group, at_work=seen.at_work, waiting=waiting)
    if admission is Admission.BEGIN:
        return Entry(admission=admission, writes=[_give_away(services, run, group, seen, 1)])
    return Entry(admission=admission, because=why_full(group) if admission is Admission.SKIP else "")


def _touch(services: Services, run: RunRecord, group: Group, count: int = 1) -> dict[str, Any]:
    expire_at = services.clock.now() + services.settings.keep_runs
    fields = {"schema": SCHEMA, "path": run.source.get("path", ""), "value": group.value, "expire_at": expire_at}
    return {"path": group_path(group.id), "fields": fields, "increments": {"admitted": count}}


def _give_away(services: Services, run: RunRecord, group: Group, seen: _Seen, count: int) -> Write:
    touch = _touch(services, run, group, count)
    if seen.version is None:
        return Create(path=touch["path"], fields={**touch["fields"], "admitted": count})
    return Update(**touch, guard=seen.version)


def first_look(group: Group, now: datetime) -> datetime:
    """Return the time of the checker's first check of a waiting run."""
    return min(now + NEXT_AUDIT, now + group.max_wait)


# -- the line --------------------------------------------------------------------------------------------------------


def admit_waiting(outbox: Outbox, group: Group, *, by: str) -> None:
    """Give free places to waiting runs, and skip excess or expired ones.

    `by` is the run on whose behalf this is done. Safe to repeat. If others keep giving places away, the rest is left to
    them and to the audits of the waiting runs.
    """
    services, reads_all = outbox.services, False
    for tries in range(1, _TRIES + 1):
        seen, line = _look_at_line(services, group, reads_all=reads_all)
        decisions = decide([one.run for one in line.runs], at_work=seen.at_work, now=services.clock.now())
        by_id = {one.run.id: one for one in line.runs}
        begin = [by_id[run.id] for run in decisions.begin[:TOGETHER]]
        skip = [(by_id[run.id], because) for run, because in decisions.skip]
        is_saved = _skip(outbox, skip, one_by_one=tries > _TRIES_TOGETHER)
        if begin:
            is_saved = _begin(outbox, group, seen, begin) and is_saved
        if not is_saved:
            services.clock.sleep(pause(by, tries))
        elif len(begin) == len(decisions.begin) and (line.is_whole or _waits_still(line, decisions)):
            return
        # What was read has left the line or is being stopped, so the runs behind it are next. Their files may differ.
        reads_all = is_saved and not begin
        group = (begin[-1].run.group if begin else None) or group
    log.warning("group.contended", f"group {group.id} keeps changing, so its other waiting runs are left to others")


def pause(run_id: str, tries: int) -> float:
    """Return the seconds to wait after someone else has changed the group."""
    return backoff_delay(_PAUSE, tries=tries, seed=f"{run_id}/{tries}").total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """The first waiting runs of a group, in order. `is_whole` is True if there are no others."""

    runs: Sequence[StoredRun] = ()
    is_whole: bool = True


def _waits_still(line: _Line, decisions: Decisions) -> bool:
    """Return True if a run and all runs behind it have to wait."""
    still_open = sum(one.run.stop is None for one in line.runs)
    return still_open > len(decisions.begin) + len(decisions.skip)


def _look_at_line(services: Services, group: Group, *, reads_all: bool) -> tuple[_Seen, _Line]:
    """Return the group's state and the waiting runs needed to decide."""
    most = MOST_IN_LINE if group.when_full is WhenFull.QUEUE else 1
    waiting = services.store.count(replace(_line(group, most), fields=None))
    if not waiting:
        return _Seen(version=None, at_work=0), _Line()
    seen = _look(services, group)
    room = max(0, group.limit - seen.at_work)
    # Runs that queue are skipped from the end of the line, so the rest of it is read only if it is too long.
    is_short = group.when_full is WhenFull.QUEUE and waiting <= room + group.max_queued and not reads_all
    # One more than there is room for, to see that it has to wait.
    limit = min(room + 1, TOGETHER) if is_short else MOST_IN_LINE
    runs = _read_line(services, _line(group, limit))
    return seen, _Line(runs=runs, is_whole=len(runs) < limit or limit == MOST_IN_LINE)


def _begin(outbox: Outbox, group: Group, seen: _Seen, runs: Sequence[StoredRun]) -> bool:
    """Begin the runs in one commit.

    Returns False if someone else has changed the group or one of them, or if one of them is broken.
    """
    services, now = outbox.services, outbox.services.clock.now()
    whole = _drop_broken(outbox, runs)
    if not whole:
        return False
    begun = [_begun(one.run, now) for one in whole]
    writes = [write for one, run in zip(whole, begun, strict=True) for write in _admission(one, run, now)]
    try:
        services.store.commit([_give_away(services, whole[0].run, group, seen, len(whole)), *writes])
    except (AlreadyExists, Conflict):
        return False
    for run in begun:
        report_begun(outbox, run)
    return len(whole) == len(runs)


def _begun(run: RunRecord, now: datetime) -> RunRecord:
    state = next_run_state(run.state, RunEvent.ADMIT)
    # Its timeout counts from now, as it has done nothing until now.
    return replace(run, state=state, admitted_at=now, deadline=None if run.timeout is None else now + run.timeout)


def _admission(stored: StoredRun, begun: RunRecord, now: datetime) -> list[Write]:
    fields = {**run_state_fields(begun), "deadline": begun.deadline, "admitted_at": now}
    return [
        Update(path=run_path(begun.id), fields=fields, guard=stored.version),
        # If the event that seeds it is lost, the checker finds it at this time.
        Update(path=step_path(begun.id, END_ID), fields={"due_at": first_audit(now, begun.deadline)}),
    ]


def report_begun(outbox: Outbox, run: RunRecord) -> None:
    """Publish that a waiting run begins, and have its steps written."""
    outbox.report_run(run)
    outbox.add([seed_message(run.id)])
    log.info("run.admit", f"run {run.id} has a place in its group", run_id=run.id)


def _drop_broken(outbox: Outbox, runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Return the runs that can begin, and skip those that cannot.

    Without its end node, which someone must have deleted, a run could not begin, and would hold up the whole line.
    """
    ends = outbox.services.store.get([step_path(one.run.id, END_ID) for one in runs], fields=("state",))
    for one in (one for one, end in zip(runs, ends, strict=True) if end is None):
        skip_run(outbox, one, "its documents are incomplete: its end node is missing")
    return [one for one, end in zip(runs, ends, strict=True) if end is not None]


# -- skipping --------------------------------------------------------------------------------------------------------


def _skip(outbox: Outbox, chosen: Sequence[tuple[StoredRun, str]], *, one_by_one: bool) -> bool:
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


# -- ends and audits -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """The waiting run that takes over an ending run's place, and the writes that begin it.

    `is_alone` is False if other waiting runs may need a decision as well.
    """

    run: RunRecord
    writes: Sequence[Write]
    is_alone: bool


def find_successor(services: Services, run: RunRecord) -> Successor | None:
    """Return the waiting run that takes over an ending run's place.

    This is the first in line, or None if no run can begin then. Its writes must be part of the commit that ends `run`.
    """
    if run.group is None or run.state not in AT_WORK:
        return None
    line = _read_line(services, _line(run.group, 2))
    if not line:
        return None
    seen, now = _look(services, run.group), services.clock.now()
    begin = decide([one.run for one in line], at_work=seen.at_work - 1, now=now).begin
    if not begin or services.store.get([step_path(begin[0].id, END_ID)], fields=("state",))[0] is None:
        return None
    first = next(one for one in line if one.run.id == begin[0].id)
    begun = _begun(first.run, now)
    writes = [_give_away(services, begun, run.group, seen, 1), *_admission(first, begun, now)]
    return Successor(run=begun, writes=writes, is_alone=len(begin) == 1 and first is line[0])


def audit_waiting(outbox: Outbox, stored: StoredRun, group: Group) -> datetime:
    """Skip this run if its wait has expired, then fill free places.

    Returns the time at which its wait expires.
    """
    ends = wait_ends(stored.run)
    if outbox.services.clock.now() >= ends:
        skip_run(outbox, stored, why_expired(group))
    # If it was first in line, the file of the next may allow more runs at work.
    admit_waiting(outbox, group, by=stored.run.id)
    return ends


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
