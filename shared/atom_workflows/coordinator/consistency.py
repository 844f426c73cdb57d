"""The consistency check of a run: recompute what its steps' documents should say, and mend those that say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.loading import Held, all_steps, load_run, load_steps
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
"""Calls that confirming and correcting these takes at the most."""


def is_anything_under_way(services: Services, run_id: str) -> bool:
    """Whether some step of the run is being dispatched, runs, or waits for its next attempt."""
    states = [state.value for state in UNDER_WAY]
    query = Query(collection=steps_path(run_id), where=[("state", "in", states)], limit=1, fields=("state",))
    return bool(services.store.query(query))


def contradictions(
    services: Services, steps: Mapping[str, StepRecord], run_id: str, budget: Budget | None = None
) -> list[Finding]:
    """What is wrong with the steps of a RUNNING run, without what only seemed so because they changed meanwhile.

    With the budget spent, further miscounted steps are left to another look.
    """
    found = list(find_flaws(steps, now=services.clock.now()))
    suspects = [finding.step_id for finding in found if finding.flaw is Flaw.MISCOUNTED]
    confirmed = [finding for _, finding in _confirmed(services, run_id, suspects, budget)]
    return [*(finding for finding in found if finding.flaw is not Flaw.MISCOUNTED), *confirmed]


def mend(services: Services, run_id: str, found: Sequence[Finding], budget: Budget | None = None) -> list[Finding]:
    """Write what the documents should say. Return the findings that were mended.

    With the budget spent, the others are left to another look.
    """
    mended = _mend(services, run_id, _unwatched(services, run_id, found))
    for start in range(0, len(found), _TOGETHER):
        part = [finding.step_id for finding in found[start : start + _TOGETHER] if finding.flaw is Flaw.MISCOUNTED]
        mended += _mend(services, run_id, _confirmed(services, run_id, part, budget))
    return mended


def steps_of(services: Services, run_id: str) -> dict[str, StepRecord]:
    """All nodes of the run by their ids."""
    return {held.step.id: held.step for held in all_steps(services, run_id)}


def _confirmed(
    services: Services, run_id: str, suspects: Sequence[str], budget: Budget | None
) -> list[tuple[Held, Finding]]:
    """Those steps whose counters are wrong indeed, each with the version that guards its mending.

    The order of the reads matters: a step, its run, then what the step depends on. Whatever changes the state of one of
    these changes the step's counters in the same commit, and a retry resets a step before what it depends on. So as
    long as the step's version holds, what was read after it is what its counters should agree with.
    """
    budget = budget or Budget(services=services)
    found: list[tuple[Held, Finding]] = []
    for start in range(0, len(suspects), _TOGETHER):
        if start and budget.is_spent:
            break
        budget.spend(calls=_CALLS_TOGETHER)
        held = load_steps(services, run_id, suspects[start : start + _TOGETHER])
        run = load_run(services, run_id)
        if run is None or run.run.state is not RunState.RUNNING or run.run.stop is not None:
            return found
        names = dict.fromkeys(name for one in held for name in one.step.depends_on)
        needs = {one.step.id: one.step for one in load_steps(services, run_id, names)}
        pairs = [(one, check_counters(one.step, needs)) for one in held]
        found += [(one, finding) for one, finding in pairs if finding is not None]
    return found


def _unwatched(services: Services, run_id: str, found: Sequence[Finding]) -> list[tuple[Held, Finding]]:
    by_id = {finding.step_id: finding for finding in found if finding.flaw is Flaw.UNWATCHED}
    held = [one for one in load_steps(services, run_id, by_id) if one.step.due_at is None]
    return [(one, by_id[one.step.id]) for one in held if not one.step.state.is_terminal]


def _mend(services: Services, run_id: str, wrong: Sequence[tuple[Held, Finding]]) -> list[Finding]:
    mended: list[Finding] = []
    for held, finding in wrong:
        update = Update(path=step_path(run_id, finding.step_id), fields=finding.fields, guard=held.version)
        try:
            services.store.commit([update])
        except Conflict:
            continue
        log.warned(f"step.{finding.flaw}.mended", finding.what, run_id=run_id, step_id=finding.step_id)
        mended.append(finding)
    return mended
