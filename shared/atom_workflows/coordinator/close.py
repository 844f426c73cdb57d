"""Close a run that was stopped or whose graph has ended.

A run's end node is released once every leaf of its graph is terminal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from atom_workflows import log
from atom_workflows.coordinator.commits import save_alone
from atom_workflows.coordinator.conditions import outputs_of_run
from atom_workflows.coordinator.failures import load_errors
from atom_workflows.coordinator.lateness import report_late
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.line import admit_waiting, find_successor, report_begun
from atom_workflows.coordinator.loading import (
    StoredRun,
    StoredStep,
    load_run,
    load_run_and_end,
    load_steps,
)
from atom_workflows.coordinator.main_part import begin_finally, is_broken
from atom_workflows.coordinator.open_steps import still_open, stop_steps, wait_for_jobs
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.endings import end_run, ends_with_steps, require_retries, require_stoppable
from atom_workflows.core.graph import END_ID, MAX_FINALLY_NODES
from atom_workflows.core.kinds import Phase
from atom_workflows.core.outcomes import clip
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import OPEN_STEP_STATES, RunEvent, RunState, next_run_state
from atom_workflows.core.workflow import JsonValue
from atom_workflows.documents import changes_fields, run_path, step_path, steps_path
from atom_workflows.errors import AlreadyExists, Conflict, ExpressionError, RunContended, RunNotFound, RunStateError
from atom_workflows.ports import Query, Update
from atom_workflows.run_documents import run_state_fields, stop_fields
from atom_workflows.step_documents import change_fields

if TYPE_CHECKING:
    from atom_workflows.core.user_changes import UserChange

_TRIES: Final = 5


def finish_run(outbox: Outbox, run_id: str) -> None:
    """Close the run if its end node is released.

    Safe to repeat. If the run keeps changing, it is left to the checker's audit, which finds the released end
    node.
    """
    for _ in range(_TRIES):
        stored, end = load_run_and_end(outbox.services, run_id)
        # A user may have retried the run since the event was published.
        if stored is None or stored.run.state is not RunState.RUNNING or end is None or not end.step.is_released:
            return
        if close(outbox, stored, end):
            return
    log.warning("run.finish.contended", f"run {run_id} could not be closed yet", run_id=run_id)


def close(outbox: Outbox, stored: StoredRun, end: StoredStep | None) -> bool:
    """Make the run and its end node terminal in one commit.

    The next run of its group begins in the same commit. Returns False if the run or the node has changed since it was
    read. Only a run that is being stopped may be closed without an end node; in that case, someone must have deleted
    the node.
    """
    run, now = stored.run, outbox.services.clock.now()
    event, change = end_run(run, None if end is None else end.step, now=now)
    errors = () if event is RunEvent.SUCCEED else load_errors(outbox.services, run)
    outputs: dict[str, JsonValue] = {}
    if event is RunEvent.SUCCEED and run.output_templates:
        try:
            outputs = outputs_of_run(outbox.services, run)
        except ExpressionError as error:
            event, errors = RunEvent.FAIL, ({"step": None, "message": f"the run's outputs: {error}"},)
    if event is RunEvent.FAIL and not errors:
        # A person chose what a retry ran again, and nothing of that failed.
        errors = ({"step": None, "message": "steps that the retry did not rerun had not succeeded"},)
    closed = replace(run, state=next_run_state(run.state, event), finished_at=now, errors=errors, outputs=outputs)
    fields: dict[str, Any] = {
        **run_state_fields(closed),
        "finished_at": now,
        "errors": [dict(error) for error in errors],
        **({"outputs": json.dumps(outputs, ensure_ascii=False)} if outputs else {}),
    }
    is_late = run.is_late(now)
    if is_late:
        fields["late"] = True
    writes = [Update(path=run_path(run.id), fields=fields, guard=stored.version)]
    if end is not None:
        # If a retried run is stopped before it is reset, its end node has been terminal since before the retry.
        end_fields = {"due_at": None} if change is None else change_fields(change)
        writes.append(Update(path=step_path(run.id, END_ID), fields=end_fields, guard=end.version))
    if not _commit_end(outbox, run, writes):
        return False
    outbox.report_run(closed)
    if is_late:
        report_late(outbox, run)
    # A failed run needs a person's attention, so it must be logged with a severity that raises an alert.
    write = log.error if closed.state is RunState.FAILED else log.info
    write(f"run.{event}", f"run {run.id} is {closed.state}", run_id=run.id)
    return True


def _commit_end(outbox: Outbox, run: RunRecord, writes: Sequence[Update]) -> bool:
    """Commit the end of a run, and give its place to another.

    Returns False if the run or its end node has changed since it was read.
    """
    if run.group is not None and (successor := find_successor(outbox.services, run, run.group)) is not None:
        try:
            outbox.services.store.commit([*writes, *successor.writes])
        except (AlreadyExists, Conflict):
            # The group may be what has changed; the run ends anyway.
            log.debug("group.changed", "the next run begins in a separate commit", run_id=run.id)
        else:
            report_begun(outbox, successor.run)
            if not successor.is_alone:
                admit_waiting(outbox, run.group, by=run.id)
            return True
    try:
        outbox.services.store.commit(writes)
    except Conflict:
        return False
    if run.group is not None:
        # A run may have joined the line since it was looked at, or this one may have held up those behind it.
        admit_waiting(outbox, run.group, by=run.id)
    return True


PAGE: Final = 200
_STOP_TRIES: Final = 20


class Closing(Enum):
    """The possible results of closing a run."""

    # There is nothing left to do.
    DONE = auto()
    # Jobs are being stopped. The checker continues once they have stopped, or when the run's end node is due.
    WAITS = auto()
    # The budget was spent, so the rest has to be handed on.
    UNFINISHED = auto()


def request_stop(  # noqa: PLR0913 (what is stopped and why, within which limits, and for whom)
    outbox: Outbox,
    run_id: str,
    stop: Stop,
    budget: Budget | None = None,
    change: UserChange | None = None,
    *,
    retries: int | None = None,
) -> Closing:
    """Record that a run should stop, then close it.

    If the instance dies in between, the checker's audit continues the work. A second request keeps the reason given by
    the first and continues closing the run. `change` is recorded with the stop, if a person asked for it. If `retries`
    is given, only a run that has been retried exactly that many times is stopped.

    Raises `RunNotFound`, or `RunStateError` if the run has ended, if a timeout comes too late because a retry gave the
    run more time, or (`RunContended`) if the run keeps changing.
    """
    # The reason is copied to each step that the stop ends, and to the errors of the run.
    stop = replace(stop, reason=clip(stop.reason))
    for _ in range(_STOP_TRIES):
        stored = load_run(outbox.services, run_id)
        if stored is None:
            raise RunNotFound(run_id)
        run = stored.run
        require_retries(run, retries)
        require_stoppable(run, kind=stop.kind, now=stop.now)
        if stop.kind is StopKind.TIMEOUT and not run.is_overdue(stop.requested_at):
            raise RunStateError(f"run {run_id} was given more time")
        is_known = run.stop is not None and (run.stop.now or not stop.now)
        if is_known or _record_stop(outbox, stored, stop, change):
            return close_run(outbox, run_id, budget)
    raise RunContended(f"run {run_id} could not be stopped: it keeps changing; try again")


def close_run(outbox: Outbox, run_id: str, budget: Budget | None = None) -> Closing:
    """End every open step of a stopped run, then the run.

    Safe to repeat. Once the budget is spent, the caller hands off the rest; without a budget, the work continues to the
    end. Running jobs are stopped first: their steps stay open for a while (see core/stopping.py).

    Steps that change in the meantime are found in the next pass of the loop, and a step that has ended stays ended. The
    order of the reads matters. The run is read after its steps: once a user has retried it, the steps must no longer be
    ended. Its end node is read before the steps: a retry resets it first, so if it is unchanged, no step was reopened.

    If there are steps under `finally`, only the main steps are ended, and the steps under `finally` then begin.
    """
    budget = budget or Budget(outbox.services.clock)
    # Steps that wait for their jobs stay open, so a pass over the steps leaves out those that it has seen.
    after: tuple[str] | None = None
    waiting: list[StepRecord] = []
    while True:
        ends = load_steps(outbox.services, run_id, [END_ID])
        page = budget.page(PAGE)
        query = Query(
            collection=steps_path(run_id),
            where=[("state", "in", [state.value for state in OPEN_STEP_STATES])],
            after=after,
            # The result includes nodes that this loop does not end: the run's end, and the steps under `finally`.
            limit=page + (MAX_FINALLY_NODES if ends and ends[0].step.phase is Phase.FINALLY else 1),
        )
        found = [StoredStep.without_task(document) for document in outbox.services.store.query(query)]
        stored = load_run(outbox.services, run_id)
        if stored is None or stored.run.stop is None:
            return Closing.DONE
        open_steps = [one for one in found if ends_with_steps(one.step, stored.run)][:page]
        if not open_steps and waiting and wait_for_jobs(outbox, ends, waiting):
            return Closing.WAITS
        if not open_steps and waiting:
            # Someone else has changed the end node, so read again what is left to do.
            budget.spend(calls=4)
            if budget.is_spent:
                return Closing.UNFINISHED
            continue
        if not open_steps and _end_stopped(outbox, stored, ends[0] if ends else None):
            return Closing.DONE
        decisions = stop_steps(outbox.services, open_steps, stored.run.stop)
        saved = save_alone(outbox, decisions)
        # If someone else has just changed a step, its page is read again.
        if open_steps and not saved.refused:
            waiting += still_open(open_steps, decisions)
            after = (step_path(run_id, open_steps[-1].step.id),) if waiting else None
        budget.spend(calls=3 + saved.commits, written=saved.written)
        if budget.is_spent and not (waiting and len(found) < page):
            return Closing.UNFINISHED


def _end_stopped(outbox: Outbox, stored: StoredRun, end: StoredStep | None) -> bool:
    """End a stopped run, or only its main part.

    All steps that had to be stopped have ended by now. Returns False if something has changed since it was read.
    """
    if stored.run.runs_finally:
        if begin_finally(outbox, stored.run.id, after_stop=True):
            return True
        if stored.run.stop is not None and is_broken(outbox.services, stored.run.id):
            # The run ends without running the steps under `finally`.
            _record_stop(outbox, stored, replace(stored.run.stop, now=True))
        return False
    return stored.run.state.is_terminal or close(outbox, stored, end)


def fail_run(outbox: Outbox, run_id: str, reason: str, budget: Budget, *, action: str) -> None:
    """Close a run that cannot continue, unless it has already ended.

    If the run has already ended, this is logged as the action `{action}.late`.
    """
    stop = Stop(kind=StopKind.FAIL, reason=reason, requested_at=outbox.services.clock.now())
    try:
        request_stop(outbox, run_id, stop, budget)
    except RunStateError as error:
        log.debug(f"{action}.late", str(error), run_id=run_id)


def _record_stop(outbox: Outbox, stored: StoredRun, stop: Stop, change: UserChange | None = None) -> bool:
    run_id = stored.run.id
    fields = {"stop": stop_fields(stop), **({} if change is None else changes_fields(stored.run.changes, change))}
    update = Update(path=run_path(run_id), fields=fields, guard=stored.version)
    try:
        outbox.services.store.commit([update])
    except Conflict:
        return False
    actor = "" if change is None else change.actor
    log.info(f"run.stop.{stop.kind}", f"run {run_id} is being stopped: {stop.reason}", run_id=run_id, actor=actor)
    return True
