"""Fill a group's free places, and skip runs that may not wait.

Each decision covers the whole line. If someone else changes the group in the meantime, everything is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from atom_workflows import log
from atom_workflows.coordinator.groups import MOST_IN_LINE, Occupancy, give_places, line_query, pause, read_occupancy
from atom_workflows.coordinator.loading import StoredRun
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.skipping import TOGETHER, skip_run, skip_runs
from atom_workflows.core.graph import END_ID
from atom_workflows.core.groups import AT_WORK, Group, decide, wait_ends, why_expired
from atom_workflows.core.polling import first_audit
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunEvent, next_run_state
from atom_workflows.core.workflow import WhenFull
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Query, Update, Write
from atom_workflows.run_documents import run_record, run_state_fields

_TRIES: Final = 12
_TRIES_TOGETHER: Final = 4


def admit_waiting(outbox: Outbox, group: Group, *, by: str) -> None:
    """Give free places to waiting runs, and skip excess or expired ones.

    `by` is the run on whose behalf this is done. Safe to repeat. If other instances keep giving away places, the
    remaining runs are left to them and to the audits of the waiting runs.
    """
    services, reads_all = outbox.services, False
    for tries in range(1, _TRIES + 1):
        seen, line = _look_at_line(services, group, reads_all=reads_all)
        decisions = decide([one.run for one in line.runs], at_work=seen.at_work, now=services.clock.now())
        # If a run has to wait, so have all runs behind it.
        some_wait = sum(one.run.stop is None for one in line.runs) > len(decisions.begin) + len(decisions.skip)
        by_id = {one.run.id: one for one in line.runs}
        begin = [by_id[run.id] for run in decisions.begin[:TOGETHER]]
        skip = [(by_id[run.id], because) for run, because in decisions.skip]
        is_saved = skip_runs(outbox, skip, one_by_one=tries > _TRIES_TOGETHER)
        if begin:
            is_saved = _begin(outbox, group, seen, begin) and is_saved
        if not is_saved:
            services.clock.sleep(pause(by, tries))
        elif len(begin) == len(decisions.begin) and (line.is_whole or some_wait):
            return
        # What was read has left the line or is being stopped, so the runs behind it are next. Their files may differ.
        reads_all = is_saved and not begin
        group = (begin[-1].run.group if begin else None) or group
    log.warning(
        "group.contended", f"group {group.id} keeps changing, so its remaining waiting runs are left to other instances"
    )


class _Line(NamedTuple):
    """The first waiting runs of a group, in order. `is_whole` is True if there are no others."""

    runs: Sequence[StoredRun] = ()
    is_whole: bool = True


def _look_at_line(services: Services, group: Group, *, reads_all: bool) -> tuple[Occupancy, _Line]:
    """Return the group's state and the waiting runs needed to decide."""
    most = MOST_IN_LINE if group.when_full is WhenFull.QUEUE else 1
    waiting = services.store.count(replace(line_query(group, most), fields=None))
    if not waiting:
        return Occupancy(version=None, at_work=0), _Line()
    seen = read_occupancy(services, group)
    room = max(0, group.limit - seen.at_work)
    # Runs that queue are skipped from the end of the line, so the rest of it is read only if it is too long.
    is_short = group.when_full is WhenFull.QUEUE and waiting <= room + group.max_queued and not reads_all
    # One more than there is room for, to see that it has to wait.
    limit = min(room + 1, TOGETHER) if is_short else MOST_IN_LINE
    runs = _read_line(services, line_query(group, limit))
    return seen, _Line(runs=runs, is_whole=len(runs) < limit or limit == MOST_IN_LINE)


def _read_line(services: Services, query: Query) -> list[StoredRun]:
    return [StoredRun(run=run_record(one), version=one.version) for one in services.store.query(query)]


def _begin(outbox: Outbox, group: Group, seen: Occupancy, runs: Sequence[StoredRun]) -> bool:
    """Begin the runs in one commit.

    Returns False if someone else has changed the group or one of the runs, or if one of the runs is broken.
    """
    services, now = outbox.services, outbox.services.clock.now()
    ends = services.store.get([step_path(one.run.id, END_ID) for one in runs], fields=("state",))
    for one in (one for one, end in zip(runs, ends, strict=True) if end is None):
        # Without its end node, which someone must have deleted, it could not begin, and would hold up the whole line.
        skip_run(outbox, one, "its documents are incomplete: its end node is missing")
    whole = [one for one, end in zip(runs, ends, strict=True) if end is not None]
    if not whole:
        return False
    begun = [_begun(one.run, now) for one in whole]
    writes = [write for one, run in zip(whole, begun, strict=True) for write in _admission(one, run, now)]
    try:
        services.store.commit([give_places(services, whole[0].run, group, seen, len(whole)), *writes])
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
    """Report that a waiting run has begun, and have its steps written."""
    outbox.report_run(run)
    outbox.add([seed_message(run.id)])
    log.info("run.admit", f"run {run.id} has a place in its group", run_id=run.id)


class Successor(NamedTuple):
    """The waiting run that takes an ending run's place, and its writes.

    `is_alone` is False if other waiting runs may need a decision as well.
    """

    run: RunRecord
    writes: Sequence[Write]
    is_alone: bool


def find_successor(services: Services, run: RunRecord, group: Group) -> Successor | None:
    """Return the waiting run that takes over an ending run's place.

    This is the first in line, or None if no run can begin when `run` ends. The successor's writes must be part
    of the commit that ends `run`.
    """
    if run.state not in AT_WORK:
        return None
    line = _read_line(services, line_query(group, 2))
    if not line:
        return None
    seen, now = read_occupancy(services, group), services.clock.now()
    begin = decide([one.run for one in line], at_work=seen.at_work - 1, now=now).begin
    if not begin or services.store.get([step_path(begin[0].id, END_ID)], fields=("state",))[0] is None:
        return None
    first = next(one for one in line if one.run.id == begin[0].id)
    begun = _begun(first.run, now)
    writes = [give_places(services, begun, group, seen, 1), *_admission(first, begun, now)]
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
