"""Keeping the documents of a run that is open, or was retried, for longer than was planned when it began.

The run's own document comes last: at any time, whatever died, the others are kept for at least as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.loading import AT_ONCE, Held, HeldRun, all_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.retention import is_renewal_due, kept_while_open
from atom_workflows.core.states import StepState
from atom_workflows.documents import definition_path, run_path, step_path
from atom_workflows.errors import Conflict
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Update


def needs_renewal(services: Services, run: RunRecord) -> bool:
    """Return whether an open run is to be kept for longer."""
    return is_renewal_due(run.expire_at, now=services.clock.now(), keep=services.settings.keep_runs)


def renew_run(outbox: Outbox, held: HeldRun, budget: Budget) -> None:
    """Keep an open run and all of its documents for longer.

    With the budget spent the rest is handed on. What could not be renewed just now is left to the next audit.
    """
    run, services = held.run, outbox.services
    if run.expire_at is None:
        return
    until = kept_while_open(run.expire_at, now=services.clock.now(), keep=services.settings.keep_runs)
    if not keep_all(services, run, all_steps(services, run.id), until, budget):
        if budget.is_spent:
            outbox.add([seed_message(run.id)])
        return
    try:
        services.store.commit([Update(path=run_path(run.id), fields={"expire_at": until}, guard=held.version)])
    except Conflict:
        return
    log.decided("run.renewed", f"run {run.id} is open, and kept until {until:%Y-%m-%d}", run_id=run.id)


def keep_all(services: Services, run: RunRecord, steps: Iterable[Held], until: datetime, budget: Budget) -> bool:
    """Keep these steps and the run's definition until then.

    Return True if done. False if the budget is spent, or some cannot be renewed just now. Each is guarded, and a
    step that is being submitted is left alone: what its dispatcher records would be refused.
    """
    if until != run.expire_at:
        _keep_definition(services, run.id, until)
    is_complete = True
    for number, batch in enumerate(_batches(held for held in steps if _is_kept_for_less(held, until))):
        if number and budget.is_spent:
            return False
        free = [held for held in batch if not _is_being_submitted(held.step)]
        is_complete = _keep(services, free, until) and is_complete and len(free) == len(batch)
        budget.spend(written=len(free))
    return is_complete


def _is_kept_for_less(held: Held, until: datetime) -> bool:
    return held.step.expire_at is not None and held.step.expire_at < until


def _is_being_submitted(step: StepRecord) -> bool:
    return step.state is StepState.DISPATCHING and not step.answered


def _keep(services: Services, batch: Sequence[Held], until: datetime) -> bool:
    if not batch:
        return True
    writes = [
        Update(path=step_path(held.step.run_id, held.step.id), fields={"expire_at": until}, guard=held.version)
        for held in batch
    ]
    try:
        services.store.commit(writes)
    except Conflict:
        kept = [_keep(services, [held], until) for held in batch if len(batch) > 1]
        return bool(kept) and all(kept)
    return True


def _keep_definition(services: Services, run_id: str, until: datetime) -> None:
    try:
        services.store.commit([Update(path=definition_path(run_id), fields={"expire_at": until})])
    except Conflict:
        return  # A small run has none.


def _batches(steps: Iterable[Held]) -> Iterator[list[Held]]:
    batch: list[Held] = []
    for held in steps:
        batch.append(held)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
