"""Check a run's documents against the states of its steps, and fix those that contradict them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.loading import StoredStep, iter_steps, load_run, load_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import UNDER_WAY, Finding, Flaw, check_counters, find_flaws
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import step_path, steps_path
from atom_workflows.errors import Conflict
from atom_workflows.ports import Query, Update

_TOGETHER: Final = 20
"""Miscounted steps that are confirmed at a time; each may have 32 dependencies."""

_CALLS_TOGETHER: Final = 26
"""The most calls that it takes to confirm and fix so many."""


def is_anything_under_way(services: Services, run_id: str) -> bool:
    """Return True if a step of the run is under way.

    It is being dispatched, runs, or waits for its next attempt.
    """
    states = [state.value for state in UNDER_WAY]
    query = Query(collection=steps_path(run_id), where=[("state", "in", states)], limit=1, fields=("state",))
    return bool(services.store.query(query))


def load_steps_by_id(services: Services, run_id: str) -> dict[str, StepRecord]:
    """Return all nodes of the run by id, without their tasks."""
    return {stored.step.id: stored.step for stored in iter_steps(services, run_id)}


def find_contradictions(
    services: Services, steps: Mapping[str, StepRecord], run_id: str, budget: Budget | None = None
) -> list[Finding]:
    """Return the contradictions among the steps of a RUNNING run.

    Counters that only seemed wrong because steps changed while they were read are left out. Once the budget is spent,
    further miscounted steps are left to a later check.
    """
    found = list(find_flaws(steps, now=services.clock.now()))
    suspects = [finding.step_id for finding in found if finding.flaw is Flaw.MISCOUNTED]
    confirmed = [finding for _, finding in _confirm_miscounts(services, run_id, suspects, budget)]
    return [*(finding for finding in found if finding.flaw is not Flaw.MISCOUNTED), *confirmed]


def fix(services: Services, run_id: str, found: Sequence[Finding], budget: Budget | None = None) -> list[Finding]:
    """Write what the documents should say.

    Returns the findings that were fixed. Once the budget is spent, the others are left to a later check.
    """
    by_id = {finding.step_id: finding for finding in found if finding.flaw is Flaw.UNWATCHED}
    # Read again, as a step may have got a due time, or ended, meanwhile.
    fixed = _write_fixes(
        services,
        run_id,
        [
            (stored, by_id[stored.step.id])
            for stored in load_steps(services, run_id, by_id)
            if stored.step.due_at is None and not stored.step.state.is_terminal
        ],
    )
    for start in range(0, len(found), _TOGETHER):
        part = [finding.step_id for finding in found[start : start + _TOGETHER] if finding.flaw is Flaw.MISCOUNTED]
        fixed += _write_fixes(services, run_id, _confirm_miscounts(services, run_id, part, budget))
    return fixed


def _confirm_miscounts(
    services: Services, run_id: str, suspects: Sequence[str], budget: Budget | None
) -> list[tuple[StoredStep, Finding]]:
    """Confirm that the counters of these steps are wrong.

    Returns those that are, each with the version that guards a fix. The order of the reads matters: a step, its run,
    then what the step depends on. Whatever changes the state of a dependency changes the step's counters in the same
    commit, and a retry resets a step before what it depends on. So as long as the step's version holds, its counters
    should agree with what was read after it.
    """
    budget = budget or Budget(services=services)
    found: list[tuple[StoredStep, Finding]] = []
    for start in range(0, len(suspects), _TOGETHER):
        if start and budget.is_spent:
            break
        budget.spend(calls=_CALLS_TOGETHER)
        steps = load_steps(services, run_id, suspects[start : start + _TOGETHER])
        stored = load_run(services, run_id)
        if stored is None or stored.run.state is not RunState.RUNNING or stored.run.stop is not None:
            return found
        names = dict.fromkeys(name for one in steps for name in one.step.depends_on)
        needs = {one.step.id: one.step for one in load_steps(services, run_id, names)}
        pairs = [(one, check_counters(one.step, needs)) for one in steps]
        found += [(one, finding) for one, finding in pairs if finding is not None]
    return found


def _write_fixes(services: Services, run_id: str, wrong: Sequence[tuple[StoredStep, Finding]]) -> list[Finding]:
    fixed: list[Finding] = []
    for stored, finding in wrong:
        update = Update(path=step_path(run_id, finding.step_id), fields=finding.fields, guard=stored.version)
        try:
            services.store.commit([update])
        except Conflict:
            continue
        log.warned(f"step.{finding.flaw}.fixed", finding.what, run_id=run_id, step_id=finding.step_id)
        fixed.append(finding)
    return fixed
