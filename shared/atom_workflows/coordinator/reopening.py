"""Reopen an ended run so that some of its steps run again.

`seed.resume` resets these steps and continues the run. A run is reopened only by a person's command. The commit that
reopens the run records everything that the reset needs to know, so that any instance can continue it; see retry.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.groups import Entry, enter_again, first_look, pause
from atom_workflows.coordinator.loading import StoredRun, iter_steps, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.endings import require_retries
from atom_workflows.core.expansion import current_nodes
from atom_workflows.core.graph import END_ID
from atom_workflows.core.groups import Admission
from atom_workflows.core.polling import first_audit
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import require_retriable
from atom_workflows.core.selection import Selection
from atom_workflows.core.states import RunEvent, RunState, next_run_state
from atom_workflows.core.user_changes import UserChange
from atom_workflows.documents import changes_fields, run_path, step_path
from atom_workflows.errors import AlreadyExists, Conflict, RunContended, RunNotFound, SelectionError
from atom_workflows.ports import Update
from atom_workflows.run_documents import NO_MAIN_RESULT, run_state_fields, selection_fields

Select: TypeAlias = Callable[[Mapping[str, StepRecord]], Selection | None]
"""Chooses which of all the nodes of a run are to run again."""

_TRIES: Final = 5


def reopen_run(  # noqa: PLR0913 (what runs again, in which round, and what else is written)
    outbox: Outbox,
    run_id: str,
    change: UserChange,
    select: Select | None = None,
    *,
    retries: int | None = None,
    writes: Sequence[Update] = (),
) -> None:
    """Set an ended run back to SEEDING, and record the requested change.

    If it has to wait for a place in its group, it is QUEUED instead. `seed.resume` then continues the run. If `retries`
    is given, only a run that has been retried exactly that many times is reopened. `writes` are part of the commit.

    Raises `RunNotFound`, `SelectionError`, or `RunStateError` if the run is in another state, will soon be deleted,
    belongs to a full group in which it may not wait, has an open relative (see `require_alone`), or
    (`RunContended`) keeps changing.
    A run that SUCCEEDED needs a selection.
    """
    for tries in range(1, _TRIES + 1):
        stored = load_run(outbox.services, run_id)
        if stored is None:
            raise RunNotFound(run_id)
        require_retries(stored.run, retries)
        require_retriable(stored.run, now=outbox.services.clock.now(), is_selective=select is not None)
        require_alone(outbox.services, stored.run)
        selection: Selection | None = None
        if select is not None:
            if stored.run.started_at is None:
                raise SelectionError(f"run {run_id} has never begun, so a retry runs all of its steps")
            # The nodes of a run that has ended change only with the run, whose version guards the choice.
            nodes = current_nodes({one.step.id: one.step for one in iter_steps(outbox.services, run_id)})
            selection = select(nodes)
        entry = enter_again(outbox.services, stored.run)
        if _reopen(outbox, stored, entry._replace(writes=[*entry.writes, *writes]), change, selection):
            return
        # Someone else may have given the place away, rather than changed the run.
        if entry.writes:
            outbox.services.clock.sleep(pause(run_id, tries))
        elif select is None:
            break
    raise RunContended(f"run {run_id} is being changed by someone else; check its state and try again")


def require_alone(services: Services, run: RunRecord) -> None:
    """Raise `RunStateError` if a relative of the run is open.

    `require_no_other` says what a relative is. If two commands are given at the same moment, each may miss the
    other.
    """
    if run.repairs or run.repaired_by:
        # Imported here because only a few runs repair others.
        from atom_workflows.coordinator.reuse import relatives_of  # noqa: PLC0415 - see above
        from atom_workflows.core.reuse import require_no_other  # noqa: PLC0415 - see above

        require_no_other(run, relatives_of(services, run))


def _reopen(outbox: Outbox, stored: StoredRun, entry: Entry, change: UserChange, selection: Selection | None) -> bool:
    """Commit the retry.

    Returns False if something has changed since it was read.
    """
    run, now = stored.run, outbox.services.clock.now()
    waits = entry.admission is Admission.WAIT
    deadline = None if run.timeout is None or waits else now + run.timeout
    state = next_run_state(run.state, RunEvent.WAIT if waits else RunEvent.RETRY)
    reopened = replace(run, state=state, queued_at=now if waits else run.queued_at, deadline=deadline)
    fields: dict[str, Any] = {
        **run_state_fields(reopened),
        "retries": run.retries + 1,
        "reopened_at": now,
        "selection": None,
        **selection_fields(selection),
        "stop": None,
        "errors": [],
        "finished_at": None,
        **(NO_MAIN_RESULT if run.main_state is not None else {}),
        "deadline": deadline,
        **({"queued_at": now, "admitted_at": None} if waits else {}),
        **({"outputs": None} if run.outputs else {}),
        # It ended once, in time or not, so nothing is late any more.
        **({"late_at": None} if run.state is RunState.SUCCEEDED and run.late_at else {}),
        **changes_fields(run.changes, change),
    }
    # If this instance dies, the due time of the end node makes the checker audit the run.
    due_at = first_look(run.group, now) if waits and run.group else first_audit(now, deadline)
    writes = [
        Update(path=run_path(run.id), fields=fields, guard=stored.version),
        Update(path=step_path(run.id, END_ID), fields={"due_at": due_at}),
        *entry.writes,
    ]
    try:
        outbox.services.store.commit(writes)
    except (AlreadyExists, Conflict):
        return False
    what = "its retry is waiting for a place in its group" if waits else "it is being retried"
    kept = "the steps that succeeded are kept" if selection is None else "a person chose the steps to run again"
    log.info("run.retry", f"run {run.id}: {what}; {kept}", run_id=run.id, actor=change.actor, why=change.why)
    outbox.report_run(reopened)
    return True
