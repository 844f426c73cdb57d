"""End the main part of a run, and begin its `finally` steps.

One commit records the result of the main part, sets the deadline for the rest, and ends the node on which the steps
under `finally` depend. The commit also clears any requested stop, since that concerned only the main part; from then
on, the run continues like any other. So these steps run after a success, a failure, a cancellation and a timeout
alike, once in each round of the run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.commits import Decision, save
from atom_workflows.coordinator.failures import load_failures
from atom_workflows.coordinator.loading import StoredRun, StoredStep, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.endings import end_main, main_event
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.kinds import NodeKind, Release
from atom_workflows.core.polling import first_audit
from atom_workflows.core.states import StepState, next_run_state
from atom_workflows.documents import run_path, step_path, steps_path
from atom_workflows.messages.internal import ReadyStep
from atom_workflows.ports import Condition, Query, Update
from atom_workflows.run_documents import main_result_fields

_KINDS_OF_STEPS: Final = [NodeKind.JOB.value, NodeKind.BARRIER.value, NodeKind.GATHER.value]
_STATES_OF_WORK: Final = [StepState.SUCCEEDED.value, StepState.FAILED.value]

_TRIES: Final = 5


def begin_finally(outbox: Outbox, run_id: str, *, after_stop: bool = False) -> bool:
    """End the main part if all of its steps have ended.

    With `after_stop`, a stop may have ended them. Safe to repeat. Returns False if the run keeps changing, or if
    documents are missing (see `is_broken`); the checker's audit will then try again. After a stop, also returns False
    if a later stop skips the steps under `finally` and the run is still open.
    """
    for _ in range(_TRIES):
        stored = load_run(outbox.services, run_id)
        ends = {one.step.id: one for one in load_steps(outbox.services, run_id, [MAIN_END_ID, END_ID])}
        if stored is None or not stored.run.runs_finally:
            # Another stop may have asked for the end of the run meanwhile, without the steps under `finally`.
            is_open = stored is not None and stored.run.stop is not None and not stored.run.state.is_terminal
            return not (after_stop and is_open)
        if MAIN_END_ID not in ends:
            return False
        is_over = after_stop and stored.run.stop is not None
        if not is_over and ends[MAIN_END_ID].step.release is not Release.BEGIN_FINALLY:
            return True
        # The node may have ended since the run was read; in that case, reading the run again shows it.
        if not ends[MAIN_END_ID].step.state.is_terminal and _begin(outbox, stored, ends):
            return True
    log.warning("run.finally.contended", f"the main part of run {run_id} could not be ended yet", run_id=run_id)
    return False


def is_broken(services: Services, run_id: str) -> bool:
    """Return True if missing documents prevent the `finally` steps from ever beginning."""
    found = load_steps(services, run_id, [MAIN_END_ID])
    below = [name for one in found for name in one.step.dependents]
    return not found or len(load_steps(services, run_id, below)) < len(below)


def _begin(outbox: Outbox, stored: StoredRun, ends: dict[str, StoredStep]) -> bool:
    """Commit the result of the main part.

    Returns False if something has changed since it was read.
    """
    run, main_end, now = stored.run, ends[MAIN_END_ID], outbox.services.clock.now()
    state = next_run_state(run.state, main_event(run, main_end.step))
    deadline = now + (run.finally_timeout or timedelta())
    failures, count = load_failures(outbox.services, run)
    # The messages of failed steps are added when the run is closed.
    errors = [] if run.stop is None else [{"step": None, "message": run.stop.reason}]
    fields = {**main_result_fields(state, errors, failures, count), "stop": None, "deadline": deadline}
    writes = [Update(path=run_path(run.id), fields=fields, guard=stored.version)]
    if END_ID in ends:
        # The checker audits the run at this time at the latest.
        writes.append(Update(path=step_path(run.id, END_ID), fields={"due_at": first_audit(now, deadline)}))
    change = end_main(main_end.step, now=now, nothing_started=not _has_anything_happened(outbox.services, run.id))
    saved = save(outbox, [Decision(stored=main_end, change=change, companions=writes)])
    if saved.refused:
        return False
    log.info(
        "run.finally",
        f"the main part of run {run.id} is {state}; the steps under `finally` are starting",
        run_id=run.id,
    )
    outbox.add_ready(run.id, [ReadyStep(step_id=step_id) for step_id in saved.released])
    return True


def _has_anything_happened(services: Services, run_id: str) -> bool:
    """Return False if every step was skipped, or cancelled before it started.

    A barrier may have succeeded without an attempt, and a step whose condition cannot be evaluated has failed without
    one.
    """
    steps = steps_path(run_id)
    attempted = Query(collection=steps, where=[("attempt", ">=", 1)], limit=1, fields=("attempt",))
    if services.store.query(attempted):
        return True
    ended: list[Condition] = [("kind", "in", _KINDS_OF_STEPS), ("state", "in", _STATES_OF_WORK)]
    return bool(services.store.query(Query(collection=steps, where=ended, limit=1, fields=("state",))))
