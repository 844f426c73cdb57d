"""Retry a run: keep the steps that succeeded, and rerun those that did not, along with all steps after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, Final

from atom_workflows import log
from atom_workflows.coordinator.commits import Decision, save_while
from atom_workflows.coordinator.groups import Entry, enter_again, first_look, pause
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredRun, StoredStep, iter_steps, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retention import keep_all
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import change
from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.endings import require_retries, reset
from atom_workflows.core.expansion import current_nodes, deal_again, fields_of_reset
from atom_workflows.core.graph import END_ID
from atom_workflows.core.groups import Admission
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.polling import first_audit
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import needs_reset, require_retriable, steps_to_rerun
from atom_workflows.core.retention import expiry_after_retry
from atom_workflows.core.states import RunEvent, StepEvent, next_run_state
from atom_workflows.documents import changes_fields, run_path, step_path
from atom_workflows.errors import AlreadyExists, Conflict, RunContended, RunNotFound
from atom_workflows.ports import Update
from atom_workflows.run_documents import NO_MAIN_RESULT, run_state_fields

if TYPE_CHECKING:
    from atom_workflows.core.user_changes import UserChange

_TRIES: Final = 5


def reopen_run(outbox: Outbox, run_id: str, change: UserChange, *, retries: int | None = None) -> None:
    """Set a FAILED or CANCELLED run back to SEEDING.

    If it has to wait for a place in its group, it is QUEUED instead. `seed.resume` then continues the run. The change
    that a person asked for is recorded. If `retries` is given, only a run that has been retried as often is reopened.

    Raises `RunNotFound`, or `RunStateError` if the run is in any other state, will soon be deleted, belongs to a group
    that is full and in which it may not wait, or (`RunContended`) keeps changing.
    """
    for tries in range(1, _TRIES + 1):
        stored = load_run(outbox.services, run_id)
        if stored is None:
            raise RunNotFound(run_id)
        require_retries(stored.run, retries)
        require_retriable(stored.run, now=outbox.services.clock.now())
        entry = enter_again(outbox.services, stored.run)
        if _reopen(outbox, stored, entry, change):
            return
        if not entry.writes:
            break
        # Someone else may have given the place away, rather than changed the run.
        outbox.services.clock.sleep(pause(run_id, tries))
    raise RunContended(f"run {run_id} is being changed by someone else; check its state and try again")


def _reopen(outbox: Outbox, stored: StoredRun, entry: Entry, change: UserChange) -> bool:
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
        "stop": None,
        "errors": [],
        "finished_at": None,
        **(NO_MAIN_RESULT if run.main_state is not None else {}),
        "deadline": deadline,
        **({"queued_at": now, "admitted_at": None} if waits else {}),
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
    kept = "the steps that succeeded are kept"
    log.info("run.retry", f"run {run.id}: {what}; {kept}", run_id=run.id, actor=change.actor, why=change.why)
    outbox.report_run(reopened)
    return True


def reset_unsuccessful(outbox: Outbox, run: RunRecord, budget: Budget) -> bool:
    """Reset the steps that will run again to PENDING (see rerun.py).

    The other steps' expiry dates are extended. Returns False if something changed in the meantime or the budget is
    spent. The caller then reads the run again and repeats the reset if it is still needed; steps that have already been
    reset are left as they are.

    A late event may dispatch a step as soon as it is reset. So steps are reset before their dependencies: if a step
    runs early, its dependents are already waiting for it. Every commit also changes the run's end node, so that a stop,
    which closes the run under a guard on that node's version, takes effect either before or after the whole reset (see
    `close.close_run`).
    """
    stored = {one.step.id: one for one in iter_steps(outbox.services, run.id)}
    by_id = current_nodes({step_id: one.step for step_id, one in stored.items()})
    order = TopologicalSorter({step_id: step.dependents for step_id, step in by_id.items()}).static_order()
    steps = [stored[step_id] for step_id in order if step_id in by_id]
    # Read the run after its end node: either a stop is already visible here, or the guard on the end node refuses one
    # of the two changes.
    now = load_run(outbox.services, run.id)
    if now is None or now.run.state is not run.state or now.run.stop is not None or now.run.retries != run.retries:
        return False
    until = expiry_once_running(outbox.services, run)
    again = steps_to_rerun(by_id, retries=run.retries)
    to_reset = [one for one in steps if one.step.id in again and needs_reset(one.step, retries=run.retries)]
    dealt = deal_again(by_id, again, retries=run.retries)
    refills = [one for one in steps if one.step.id in dealt and one.step.places and one.step.retries < run.retries]
    chosen = {one.step.id for one in (*to_reset, *refills)}
    left = [one for one in stored.values() if one.step.id not in chosen]
    if until is not None and not keep_all(outbox.services, run, left, until, budget):
        return False
    kept = {step_id: step for step_id, step in by_id.items() if step_id not in again}
    renewed = replace(run, expire_at=until)
    # Places are dealt out before the items are reset that they belong to.
    resets = [
        Decision(stored=one, change=change(one.step, StepEvent.REFILL, **dealt[one.step.id], expire_at=until))
        for one in refills
    ]
    resets += [_reset(outbox, one, kept, renewed, dealt.get(one.step.id, {})) for one in to_reset]
    ends = [one for one in steps if one.step.kind is NodeKind.END]
    return not ends or save_while(outbox, ends[0], resets, budget)


def expiry_once_running(services: Services, run: RunRecord) -> datetime | None:
    """Return the expiry date that a run has once it is RUNNING.

    After a retry, this may be later than the date in the run's own document, which is renewed last.
    """
    if run.reopened_at is None:
        return run.expire_at
    return expiry_after_retry(run.expire_at, reopened_at=run.reopened_at, keep=services.settings.keep_runs)


def _reset(
    outbox: Outbox, stored: StoredStep, kept: Mapping[str, StepRecord], run: RunRecord, place: Mapping[str, Any]
) -> Decision:
    step = stored.step
    of_loop = fields_of_reset(step, expands_anew=bool(step.each) and expander_id(step.each) not in kept)
    depends_on = of_loop.get("depends_on", step.depends_on)
    needs = [kept[need] for need in depends_on if need in kept]
    # A missing dependency has not succeeded: the step waits for it until the run is found to be broken.
    remaining = len(depends_on) - len(needs)
    counts = sum((count_end(need) for need in needs), Counts())
    remaining += 1 if place.get("waits_at") else 0
    again = reset(step, remaining=remaining, kept=counts, retries=run.retries, expire_at=run.expire_at)
    again = replace(again, fields={**again.fields, **of_loop, **place})
    if stored.step.kind is NodeKind.END:
        due_at = first_audit(outbox.services.clock.now(), run.deadline)
        again = replace(again, fields={**again.fields, "due_at": due_at})
    return Decision(stored=stored, change=again)
