"""Retry a run: rerun its unsuccessful steps and all steps after them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any

from atom_workflows.coordinator.commits import Decision, save_while
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep, iter_steps, load_run
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retention import keep_all
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import change
from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.endings import reset
from atom_workflows.core.expansion import current_nodes, deal_again, fields_of_reset
from atom_workflows.core.gathering import count_unstarted
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import NodeKind, Release
from atom_workflows.core.polling import first_audit
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import dependents_of, needs_reset, steps_to_rerun
from atom_workflows.core.retention import expiry_after_retry
from atom_workflows.core.states import StepEvent
from atom_workflows.core.workflow import Trigger


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
    below = dependents_of(by_id)
    order = TopologicalSorter(below).static_order()
    steps = [stored[step_id] for step_id in order if step_id in by_id]
    # Read the run after its end node: either a stop is already visible here, or the guard on the end node refuses one
    # of the two changes.
    now = load_run(outbox.services, run.id)
    if now is None or now.run.state is not run.state or now.run.stop is not None or now.run.retries != run.retries:
        return False
    until = expiry_once_running(outbox.services, run)
    again = steps_to_rerun(by_id, retries=run.retries, selection=run.selection)
    edges: Mapping[str, str] = {}
    if run.selection is not None:
        # Imported here because most retries need no selection.
        from atom_workflows.core.selection import open_before_kept  # noqa: PLC0415 - see above

        edges = open_before_kept(by_id, below, again)
    to_reset = [one for one in steps if one.step.id in again and needs_reset(one.step, retries=run.retries)]
    dealt = deal_again(by_id, again, retries=run.retries)
    refills = [one for one in steps if one.step.id in dealt and one.step.places and one.step.retries < run.retries]
    chosen = {one.step.id for one in (*to_reset, *refills)}
    left = [one for one in stored.values() if one.step.id not in chosen]
    if until is not None and not keep_all(outbox.services, run, left, until, budget):
        return False
    kept = {step_id: step for step_id, step in by_id.items() if step_id not in again}
    unstarted = count_unstarted(one for one in kept.values() if expander_id(one.each) in kept)
    renewed = replace(run, expire_at=until)
    # Places are dealt out before the items are reset that they belong to.
    resets = [
        Decision(stored=one, change=change(one.step, StepEvent.REFILL, **dealt[one.step.id], expire_at=until))
        for one in refills
    ]
    resets += [
        _reset(
            outbox,
            one,
            kept,
            renewed,
            dealt.get(one.step.id, {})
            | _edges(one.step, by_id, below, again, edges)
            | ({"unstarted": unstarted[one.step.id]} if one.step.id in unstarted else {}),
        )
        for one in to_reset
    ]
    ends = [one for one in steps if one.step.kind is NodeKind.END]
    return not ends or save_while(outbox, ends[0], resets, budget)


def expiry_once_running(services: Services, run: RunRecord) -> datetime | None:
    """Return the expiry date that a run has once it is RUNNING.

    After a retry, this may be later than the date in the run's own document, which is renewed last.
    """
    if run.reopened_at is None:
        return run.expire_at
    return expiry_after_retry(run.expire_at, reopened_at=run.reopened_at, keep=services.settings.keep_runs)


def _edges(
    step: StepRecord,
    steps: Mapping[str, StepRecord],
    below: Mapping[str, Sequence[str]],
    again: Collection[str],
    edges: Mapping[str, str],
) -> dict[str, Any]:
    """Return the fields of a node's edges that a reset changes.

    A node that is left as it is must not be counted down again, so the nodes before it do not list it as a dependent
    in this round. `edges` are the edges to add (see selection.py). In most retries, nothing changes.
    """
    if step.kind is NodeKind.EXPAND:
        return {}
    fields: dict[str, Any] = {}
    if added := [name for name, end in edges.items() if end == step.id and name not in step.depends_on]:
        fields["depends_on"] = (*step.depends_on, *added)
    known = dict.fromkeys((*step.dependents, *below[step.id], *filter(None, [edges.get(step.id)])))
    dependents = tuple(name for name in known if name not in steps or name in again)
    if dependents != step.dependents:
        found = [steps[name] for name in dependents if name in steps]
        deciding = [
            one for one in found if one.when or one.trigger is not Trigger.NO_FAILURE or one.kind is NodeKind.GATHER
        ]
        fields["dependents"] = dependents
        fields["barriers"] = tuple(one.id for one in found if one.rules.released is not Release.CLAIM)
        fields["conditional"] = tuple(one.id for one in deciding)
    return fields


def _reset(
    outbox: Outbox, stored: StoredStep, kept: Mapping[str, StepRecord], run: RunRecord, own: Mapping[str, Any]
) -> Decision:
    """Reset a step, and set the fields in `own`.

    They describe its place, its edges and the items that it keeps, as far as the reset changes them.
    """
    step = stored.step
    of_loop = {**own, **fields_of_reset(step, expands_anew=bool(step.each) and expander_id(step.each) not in kept)}
    depends_on = of_loop.get("depends_on", step.depends_on)
    needs = [kept[need] for need in depends_on if need in kept]
    # A missing dependency has not succeeded: the step waits for it until the run is found to be broken.
    remaining = len(depends_on) - len(needs)
    counts = sum((count_end(need) for need in needs), Counts())
    remaining += 1 if own.get("waits_at") else 0
    again = reset(
        step,
        remaining=remaining,
        kept=counts,
        retries=run.retries,
        expire_at=run.expire_at,
        is_named=run.selection is not None and run.selection.names(step.id),
    )
    again = replace(again, fields={**again.fields, **of_loop})
    if stored.step.kind is NodeKind.END:
        due_at = first_audit(outbox.services.clock.now(), run.deadline)
        again = replace(again, fields={**again.fields, "due_at": due_at})
    return Decision(stored=stored, change=again)
