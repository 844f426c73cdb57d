"""End the open steps of a closing run, or first stop jobs."""

from __future__ import annotations

from collections.abc import Sequence

from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import apply_change
from atom_workflows.core.endings import stop_step
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord, Stop
from atom_workflows.core.stopping import RUN_WAIT, stop_with_run, waits_for_stop
from atom_workflows.documents import step_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Update


def stop_steps(services: Services, open_steps: Sequence[StoredStep], stop: Stop) -> list[Decision]:
    """Decide which steps end now and which jobs to stop first.

    Steps that are already waiting for their jobs stay as they are.
    """
    now, decisions = services.clock.now(), list[Decision]()
    for one in open_steps:
        cannot = services.unstoppable.has(one.step.task_runner_url, now)
        if cannot or not waits_for_stop(one.step, now=now):
            change = None if cannot else stop_with_run(one.step, stop, now=now)
            decisions.append(Decision(stored=one, change=change or stop_step(one.step, stop, now=now)))
    return decisions


def still_open(open_steps: Sequence[StoredStep], decisions: Sequence[Decision]) -> list[StepRecord]:
    """Return the steps that wait for their jobs."""
    decided = {decision.step.id: decision.change for decision in decisions}
    changed = [
        one.step if (change := decided.get(one.step.id)) is None else apply_change(one.step, change)
        for one in open_steps
    ]
    return [step for step in changed if not step.state.is_terminal]


def wait_for_jobs(outbox: Outbox, ends: Sequence[StoredStep], waiting: Sequence[StepRecord]) -> bool:
    """Schedule an audit for when the run's jobs should have stopped.

    Returns False if the end node has changed since it was read.
    """
    now = outbox.services.clock.now()
    audit_at = max(step.stop_since or now for step in waiting) + RUN_WAIT
    for end in ends:
        if end.step.due_at is None or not now < end.step.due_at <= audit_at:
            update = Update(path=step_path(end.step.run_id, END_ID), fields={"due_at": audit_at}, guard=end.version)
            try:
                outbox.services.store.commit([update])
            except Conflict:
                return False
    return True
