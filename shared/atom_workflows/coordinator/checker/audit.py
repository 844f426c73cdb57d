"""A look at a whole run, now and then while it is open: what lost events and deaths left behind is set going again.

The checker has many runs to look at, and little memory. So a look is a few calls to the store; what takes more of them,
as closing a large run does, is handed on to the start function (`run.seed`, see `doctor.continue_run`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import close_run, request_stop
from atom_workflows.coordinator.loading import Held, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.repair import revive
from atom_workflows.coordinator.retention import needs_renewal
from atom_workflows.coordinator.seed import publish_released
from atom_workflows.core.durations import format_duration
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path
from atom_workflows.errors import Conflict, RunStateError
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Update

SHORTEST: Final = timedelta(seconds=60)
LONGEST: Final = timedelta(minutes=5)
PAGE: Final = 20
"""Released steps that a look publishes by itself."""

_SHARE_OF_AGE: Final = 10


def audit_run(outbox: Outbox, end: Held) -> int:
    """Look after the run whose end is due. Return the number of events.

    Its end's new `due_at` says when to look next.
    """
    run_id, budget = end.step.run_id, Budget.of_audit(outbox.services)
    held, now = load_run(outbox.services, run_id), outbox.services.clock.now()
    run = None if held is None or held.run.state.is_terminal else held.run
    if run is None or run.stop is not None:
        # Of a run that was stopped, steps may have been left behind.
        is_closed = close_run(outbox, run_id, budget)
    elif run.deadline is not None and run.deadline <= now:
        is_closed = _time_out(outbox, run, now, budget)
    else:
        _look_again(outbox, end, _next_audit(run, now))
        return _set_going(outbox, run, budget)
    if not is_closed:
        outbox.add([seed_message(run_id)])
        # In case that event is lost.
        _look_again(outbox, end, now + SHORTEST)
    elif run is None:
        _look_again(outbox, end, None)
    return int(not is_closed)


def _set_going(outbox: Outbox, run: RunRecord, budget: Budget) -> int:
    if run.state is RunState.SEEDING:
        log.warned("run.seed.repair", f"run {run.id} was left half seeded", run_id=run.id)
        outbox.add([seed_message(run.id)])
        return 1
    published = publish_released(outbox, run.id, page=PAGE, budget=budget) or revive(outbox, run.id)
    if needs_renewal(outbox.services, run):
        outbox.add([seed_message(run.id)])
        published += 1
    return published


def _time_out(outbox: Outbox, run: RunRecord, now: datetime, budget: Budget) -> bool:
    limit = "" if run.timeout is None else f" of {format_duration(run.timeout)}"
    stop = Stop(kind=StopKind.TIMEOUT, reason=f"the workflow's timeout{limit} passed", requested_at=now)
    try:
        return request_stop(outbox, run.id, stop, budget)
    except RunStateError as error:
        log.dropped("run.timeout.late", str(error), run_id=run.id)
        return True


def _next_audit(run: RunRecord, now: datetime) -> datetime:
    age = now - (run.reopened_at or run.created_at)
    wait = min(max(age / _SHARE_OF_AGE, SHORTEST), LONGEST)
    return now + wait if run.deadline is None else min(now + wait, run.deadline)


def _look_again(outbox: Outbox, end: Held, due_at: datetime | None) -> None:
    update = Update(path=step_path(end.step.run_id, END_ID), fields={"due_at": due_at}, guard=end.version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        log.dropped("run.audit.late", "the run's end changed meanwhile", run_id=end.step.run_id)
