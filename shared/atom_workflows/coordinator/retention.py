"""Keep the documents of a long or retried run for longer.

Their expiry date was set when the run started.

The run's own document is renewed last, so the others are always kept at least as long as it is, even if an instance
dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from atom_workflows import log
from atom_workflows.coordinator.definitions import keep_definition
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import AT_ONCE, StoredRun, StoredStep, iter_expanders, iter_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.kinds import LOOPS_SCHEMA, NodeKind
from atom_workflows.core.records import RunRecord
from atom_workflows.core.retention import expiry_while_open, is_renewal_due
from atom_workflows.core.states import StepState
from atom_workflows.documents import outputs_path, run_path, step_path
from atom_workflows.errors import Conflict
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Update, Upsert


def needs_renewal(services: Services, run: RunRecord) -> bool:
    """Return True if an open run has to be kept for longer."""
    return is_renewal_due(run.expire_at, now=services.clock.now(), keep=services.settings.keep_runs)


def renew_run(outbox: Outbox, stored: StoredRun, budget: Budget) -> None:
    """Keep an open run and all of its documents for longer.

    Once the budget is spent, the rest is handed off. Documents that cannot be renewed at the moment are left to the
    next audit.
    """
    run, services = stored.run, outbox.services
    if run.expire_at is None:
        return
    until = expiry_while_open(run.expire_at, now=services.clock.now(), keep=services.settings.keep_runs)
    if not keep_all(services, run, _in_order(services, run), until, budget):
        if budget.is_spent:
            outbox.add([seed_message(run.id)])
        return
    try:
        services.store.commit([Update(path=run_path(run.id), fields={"expire_at": until}, guard=stored.version)])
    except Conflict:
        return
    log.info("run.renewed", f"run {run.id} is still open, so it is now kept until {until:%Y-%m-%d}", run_id=run.id)


def _in_order(services: Services, run: RunRecord) -> Iterator[StoredStep]:
    """Yield a run's nodes in the order in which to renew them.

    Items are created with the date of the node that creates them. If that node is renewed first, any items created
    later have the new date; if it changes in the meantime, it is not renewed, and the next audit renews the run.
    """
    if run.schema >= LOOPS_SCHEMA:
        yield from iter_expanders(services, run.id)
    yield from (one for one in iter_steps(services, run.id) if one.step.kind is not NodeKind.EXPAND)


def keep_all(services: Services, run: RunRecord, steps: Iterable[StoredStep], until: datetime, budget: Budget) -> bool:
    """Keep the given steps and the run's definition until a date.

    Returns False if the budget is spent, or if some documents cannot be renewed at the moment. Each write is guarded,
    and a step that is being submitted is left alone, since its dispatcher could not otherwise record the response.
    """
    is_complete = until == run.expire_at or keep_definition(services, run.id, until)
    for number, batch in enumerate(_batches_to_renew(steps, until)):
        if number and budget.is_spent:
            return False
        free = [one for one in batch if one.step.state is not StepState.DISPATCHING or one.step.answered]
        is_complete = _renew(services, free, until) and is_complete and len(free) == len(batch)
        budget.spend(written=len(free))
    return is_complete


def _renew(services: Services, batch: Sequence[StoredStep], until: datetime) -> bool:
    if not batch:
        return True
    writes = [
        Update(path=step_path(one.step.run_id, one.step.id), fields={"expire_at": until}, guard=one.version)
        for one in batch
    ]
    with_outputs = [one.step for one in batch if one.step.outputs and one.step.state is StepState.SUCCEEDED]
    outputs = [Upsert(path=outputs_path(step.run_id, step.id), fields={"expire_at": until}) for step in with_outputs]
    try:
        services.store.commit([*writes, *outputs])
    except Conflict:
        # At least one step has changed; renew the others one by one.
        renewed = [_renew(services, [one], until) for one in batch if len(batch) > 1]
        return bool(renewed) and all(renewed)
    return True


def _batches_to_renew(steps: Iterable[StoredStep], until: datetime) -> Iterator[list[StoredStep]]:
    batch: list[StoredStep] = []
    for stored in steps:
        if stored.step.expire_at is None or stored.step.expire_at >= until:
            continue
        batch.append(stored)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
