"""Audit each open run from time to time, and restart stalled work.

Work stalls when an event is lost or an instance dies. The checker has many runs to audit and little memory. So an audit
makes only a few calls to the store; longer work, such as closing a large run, is handed off to the start function
(`run.seed`, see `repair.continue_run`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.close import Closing, close_run, request_stop
from atom_workflows.coordinator.lateness import mark_late
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.line import audit_waiting
from atom_workflows.coordinator.loading import StoredStep, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import audit_places
from atom_workflows.coordinator.repair import request_repair
from atom_workflows.coordinator.retention import needs_renewal
from atom_workflows.coordinator.seed import publish_released
from atom_workflows.coordinator.services import Services
from atom_workflows.core.durations import format_duration
from atom_workflows.core.graph import END_ID
from atom_workflows.core.polling import SHORTEST_AUDIT, next_audit
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, Conflict, RunStateError, StoreUnavailable
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Update

PAGE: Final = 20
"""The maximum number of released steps that an audit publishes directly."""


def audit_due_run(services: Services, end: StoredStep) -> int:
    """Audit a run whose end node is due, publishing events as needed.

    Returns the number of events.

    Raises `StoreUnavailable` or `BusUnavailable`; any other failure concerns only this run, and is logged.
    """
    outbox = Outbox(services)
    try:
        published = audit_run(outbox, end)
        outbox.flush()
    except (StoreUnavailable, BusUnavailable):
        raise
    except (AtomWorkflowsError, LookupError, OverflowError, TypeError, ValueError) as error:
        # Except for `AtomWorkflowsError`, these are all caused by documents that another program has modified.
        run_id, reason = end.step.run_id, f"{type(error).__name__}: {error}"
        log.warning("run.audit.failed", f"run {run_id} could not be audited: {reason}", run_id=run_id)
        return 0
    return published


def audit_run(outbox: Outbox, end: StoredStep) -> int:
    """Audit a run, and schedule its next audit.

    Returns the number of events that were added to the outbox.
    """
    run_id, budget = end.step.run_id, Budget.of_audit(outbox.services.clock)
    stored, now = load_run(outbox.services, run_id), outbox.services.clock.now()
    if stored is not None and not stored.run.state.is_terminal and stored.run.is_late(now):
        stored = mark_late(outbox, stored)
    run = None if stored is None or stored.run.state.is_terminal else stored.run
    if run is None or run.stop is not None:
        # A stopped run may still have open steps, even if it has ended; close them first.
        closing = close_run(outbox, run_id, budget)
    elif run.is_overdue(now):
        name, limit = ("timeout", run.timeout) if run.main_state is None else ("finallyTimeout", run.finally_timeout)
        reason = f"the workflow's {name}{'' if limit is None else f' of {format_duration(limit)}'} expired"
        stop = Stop(kind=StopKind.TIMEOUT, reason=reason, requested_at=now)
        try:
            closing = request_stop(outbox, run_id, stop, budget)
        except RunStateError as error:
            log.debug("run.timeout.late", str(error), run_id=run_id)
            closing = Closing.DONE
    elif run.state is RunState.QUEUED and stored is not None and run.group is not None:
        wait_ends = audit_waiting(outbox, stored, run.group)
        _set_next_audit(outbox, end, min(next_audit(run, now), wait_ends))
        return _renew(outbox, run)
    else:
        _set_next_audit(outbox, end, next_audit(run, now))
        return _restart(outbox, run, budget)
    if closing is Closing.UNFINISHED:
        outbox.add([seed_message(run_id)])
        # In case that event is lost, audit the run again soon.
        _set_next_audit(outbox, end, now + SHORTEST_AUDIT)
    elif run is None and closing is Closing.DONE:
        _set_next_audit(outbox, end, None)
    return int(closing is Closing.UNFINISHED)


def _restart(outbox: Outbox, run: RunRecord, budget: Budget) -> int:
    """Publish events that restart the work of an open run.

    Returns the number of events.
    """
    if run.state is RunState.SEEDING:
        log.warning("run.seed.repair", f"run {run.id} was only partly seeded", run_id=run.id)
        outbox.add([seed_message(run.id)])
        return 1
    published = publish_released(outbox, run.id, page=PAGE, budget=budget) + audit_places(outbox, run, budget)
    published = published or request_repair(outbox, run.id)
    return published + _renew(outbox, run)


def _renew(outbox: Outbox, run: RunRecord) -> int:
    """Request longer retention of the run's documents if that is due.

    Returns the number of events.
    """
    if not needs_renewal(outbox.services, run):
        return 0
    outbox.add([seed_message(run.id)])
    return 1


def _set_next_audit(outbox: Outbox, end: StoredStep, due_at: datetime | None) -> None:
    update = Update(path=step_path(end.step.run_id, END_ID), fields={"due_at": due_at}, guard=end.version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        log.debug("run.audit.late", "the run's end node changed in the meantime", run_id=end.step.run_id)
