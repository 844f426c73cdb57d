"""Closing an open run from outside: cancelled by a user, or out of time."""

from __future__ import annotations

from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.finish import finish_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.saving import Decision, Held, save_alone
from atom_workflows.core.decide import stopped
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import Stop
from atom_workflows.core.states import OPEN_STEP_STATES
from atom_workflows.documents import run_path, run_record, steps_path, stop_fields
from atom_workflows.errors import Conflict, RunNotFound, RunStateError
from atom_workflows.ports import Query, Update

PAGE: Final = 200
_TRIES: Final = 20


def request_stop(outbox: Outbox, run_id: str, stop: Stop) -> None:
    """Ask for the run to be closed, then close it. If this dies in between, the checker's audit goes on.

    A second request finds the first one's reason and goes on with that. Raises `RunNotFound`, or `RunStateError`
    if the run has ended.
    """
    for _ in range(_TRIES):
        document = outbox.services.store.get([run_path(run_id)])[0]
        if document is None:
            raise RunNotFound(run_id)
        run = run_record(document)
        if run.state.is_terminal:
            raise RunStateError(f"run {run_id} has ended: it is {run.state}")
        if run.stop is not None or _set_stop(outbox, run_id, stop, document.version):
            close_run(outbox, run_id)
            return
    raise RunStateError(f"run {run_id} could not be stopped: it keeps changing; try again")


def close_run(outbox: Outbox, run_id: str) -> None:
    """End every open step of a run that is to be stopped, then the run itself. May be repeated."""
    document = outbox.services.store.get([run_path(run_id)])[0]
    stop = None if document is None else run_record(document).stop
    if stop is None:
        return
    # Steps that change while we look are found by the next look, and a step that has ended stays so.
    while open_steps := _open_steps(outbox, run_id):
        now = outbox.services.clock.now()
        save_alone(outbox, [Decision(held=one, change=stopped(one.step, stop, now=now)) for one in open_steps])
    finish_run(outbox, run_id)


def _open_steps(outbox: Outbox, run_id: str) -> list[Held]:
    query = Query(
        collection=steps_path(run_id),
        where=[("state", "in", [state.value for state in OPEN_STEP_STATES])],
        limit=PAGE,
    )
    return [Held.of(document) for document in outbox.services.store.query(query) if document.id != END_ID]


def _set_stop(outbox: Outbox, run_id: str, stop: Stop, version: object) -> bool:
    update = Update(path=run_path(run_id), fields={"stop": stop_fields(stop)}, guard=version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        return False
    decision_log.decided(f"run.stop.{stop.kind}", f"run {run_id} is stopped: {stop.reason}", run_id=run_id)
    return True
