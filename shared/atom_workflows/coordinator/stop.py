"""Closing an open run from outside: cancelled by a user, or out of time.

A large run takes more than one invocation to close: each ends some of its steps, and the next goes on with the others.
"""

from __future__ import annotations

from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import close
from atom_workflows.coordinator.commits import Decision, save_alone
from atom_workflows.coordinator.loading import Held, HeldRun, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import OPEN_STEP_STATES
from atom_workflows.core.transitions import stop_step
from atom_workflows.documents import run_path, steps_path, stop_fields
from atom_workflows.errors import Conflict, RunNotFound, RunStateError
from atom_workflows.ports import Query, Update

PAGE: Final = 200
_TRIES: Final = 20


def request_stop(outbox: Outbox, run_id: str, stop: Stop, budget: Budget | None = None) -> bool:
    """Ask for the run to be closed, then close it. If this dies in between, the checker's audit goes on.

    False if the budget was spent before it was closed. A second request finds the first one's reason and goes on with
    that. Raises `RunNotFound`, or `RunStateError` if the run has ended, or was given more time.
    """
    for _ in range(_TRIES):
        held = load_run(outbox.services, run_id)
        if held is None:
            raise RunNotFound(run_id)
        if held.run.state.is_terminal:
            raise RunStateError(f"run {run_id} has ended: it is {held.run.state}")
        if stop.kind is StopKind.TIMEOUT and not _is_overdue(held.run, stop):
            raise RunStateError(f"run {run_id} was given more time")
        if held.run.stop is not None or _set_stop(outbox, held, stop):
            return close_run(outbox, run_id, budget)
    raise RunStateError(f"run {run_id} could not be stopped: it keeps changing; try again")


def close_run(outbox: Outbox, run_id: str, budget: Budget | None = None) -> bool:
    """End every open step of a run that is to be stopped, then the run itself. May be repeated.

    With the budget spent, return False: the rest is to be handed on. Without one, go on to the end.
    Steps that change while we look are found by the next look, and a step that has ended stays so. The order of the
    reads matters. The run comes after its steps: once a user has retried it, they are no longer ours to end. Its end
    comes before them: it is the first that a retry resets, so if it is still the same, no step was opened again.
    """
    budget = budget or Budget(services=outbox.services)
    while True:
        ends = load_steps(outbox.services, run_id, [END_ID])
        open_steps = _open_steps(outbox, run_id, budget.page(PAGE))
        held = load_run(outbox.services, run_id)
        if held is None or held.run.stop is None:
            return True
        if not open_steps and (held.run.state.is_terminal or close(outbox, held, ends[0] if ends else None)):
            return True
        stop, now = held.run.stop, outbox.services.clock.now()
        stops = [Decision(held=one, change=stop_step(one.step, stop, now=now)) for one in open_steps]
        saved = save_alone(outbox, stops)
        budget.spend(calls=3 + saved.commits, written=saved.written)
        if budget.is_spent:
            return False


def _open_steps(outbox: Outbox, run_id: str, limit: int) -> list[Held]:
    query = Query(
        collection=steps_path(run_id),
        where=[("state", "in", [state.value for state in OPEN_STEP_STATES])],
        # Its end comes last, and is not one of them.
        limit=limit + 1,
    )
    found = [Held.without_task(document) for document in outbox.services.store.query(query) if document.id != END_ID]
    return found[:limit]


def _is_overdue(run: RunRecord, stop: Stop) -> bool:
    return run.deadline is not None and run.deadline <= stop.requested_at


def _set_stop(outbox: Outbox, held: HeldRun, stop: Stop) -> bool:
    run_id = held.run.id
    update = Update(path=run_path(run_id), fields={"stop": stop_fields(stop)}, guard=held.version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        return False
    log.decided(f"run.stop.{stop.kind}", f"run {run_id} is stopped: {stop.reason}", run_id=run_id)
    return True
