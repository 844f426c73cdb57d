"""Close an open run from outside: a user cancelled it, its time is over, or it cannot go on.

A large run takes more than one invocation to close: each ends some of its steps, and the next continues.
"""

from __future__ import annotations

from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import close
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.loading import StoredRun, StoredStep, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import Stop, StopKind
from atom_workflows.core.states import OPEN_STEP_STATES
from atom_workflows.core.transitions import stop_step
from atom_workflows.documents import run_path, steps_path, stop_fields
from atom_workflows.errors import Conflict, RunNotFound, RunStateError
from atom_workflows.ports import Query, Update

PAGE: Final = 200
_TRIES: Final = 20


def request_stop(outbox: Outbox, run_id: str, stop: Stop, budget: Budget | None = None) -> bool:
    """Record the stop of a run, then close the run.

    If this dies in between, the checker's audit continues. Returns False if the budget was spent before the run was
    closed. A second request keeps the first one's reason and continues with that.

    Raises `RunNotFound`, or `RunStateError` if the run has ended, or if a timeout comes too late because a retry gave
    the run more time.
    """
    for _ in range(_TRIES):
        stored = load_run(outbox.services, run_id)
        if stored is None:
            raise RunNotFound(run_id)
        run = stored.run
        if run.state.is_terminal:
            raise RunStateError(f"run {run_id} has ended: it is {run.state}")
        if stop.kind is StopKind.TIMEOUT and not run.is_overdue(stop.requested_at):
            raise RunStateError(f"run {run_id} was given more time")
        if run.stop is not None or _record_stop(outbox, stored, stop):
            return close_run(outbox, run_id, budget)
    raise RunStateError(f"run {run_id} could not be stopped: it keeps changing; try again")


def close_run(outbox: Outbox, run_id: str, budget: Budget | None = None) -> bool:
    """End every open step of a stopped run, then the run.

    May be repeated. Returns False if the budget was spent first: the caller hands the rest on. Without a budget it goes
    on to the end.

    Steps that change in between are found in the next turn of the loop, and a step that has ended stays so. The order
    of the reads matters. The run is read after its steps: once a user has retried it, they must not be ended any more.
    Its end node is read before them: a retry resets it first, so if it is still the same, no step was opened again.
    """
    budget = budget or Budget(services=outbox.services)
    while True:
        ends = load_steps(outbox.services, run_id, [END_ID])
        page = budget.page(PAGE)
        query = Query(
            collection=steps_path(run_id),
            where=[("state", "in", [state.value for state in OPEN_STEP_STATES])],
            # The run's end is among them, and is closed last.
            limit=page + 1,
        )
        documents = [document for document in outbox.services.store.query(query) if document.id != END_ID]
        open_steps = [StoredStep.without_task(document) for document in documents[:page]]
        stored = load_run(outbox.services, run_id)
        if stored is None or stored.run.stop is None:
            return True
        if not open_steps and (stored.run.state.is_terminal or close(outbox, stored, ends[0] if ends else None)):
            return True
        stop, now = stored.run.stop, outbox.services.clock.now()
        stops = [Decision(stored=one, change=stop_step(one.step, stop, now=now)) for one in open_steps]
        saved = save_alone(outbox, stops)
        budget.spend(calls=3 + saved.commits, written=saved.written)
        if budget.is_spent:
            return False


def fail_run(outbox: Outbox, run_id: str, reason: str, budget: Budget, *, action: str) -> None:
    """Close a run that cannot go on, unless it has ended meanwhile.

    `action` names the reason in the log.
    """
    stop = Stop(kind=StopKind.FAIL, reason=reason, requested_at=outbox.services.clock.now())
    try:
        request_stop(outbox, run_id, stop, budget)
    except RunStateError as error:
        log.dropped(f"{action}.late", str(error), run_id=run_id)


def _record_stop(outbox: Outbox, stored: StoredRun, stop: Stop) -> bool:
    run_id = stored.run.id
    update = Update(path=run_path(run_id), fields={"stop": stop_fields(stop)}, guard=stored.version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        return False
    log.decided(f"run.stop.{stop.kind}", f"run {run_id} is stopped: {stop.reason}", run_id=run_id)
    return True
