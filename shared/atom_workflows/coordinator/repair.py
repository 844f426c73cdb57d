"""Repair one run: fix contradictory documents, and publish unclaimed released steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from atom_workflows import log
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.close import close_run, fail_run
from atom_workflows.coordinator.groups import find_stall
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep, iter_steps, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import publish_placed, recount
from atom_workflows.coordinator.retention import needs_renewal, renew_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import UNDER_WAY, Finding, Flaw, check_counters, find_flaws
from atom_workflows.core.expansion import current_nodes
from atom_workflows.core.graph import END_ID
from atom_workflows.core.oddities import Oddity, oddities
from atom_workflows.core.polling import NEXT_AUDIT
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import changes_fields, run_path, step_path, steps_path
from atom_workflows.errors import Conflict, RunNotFound
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Query, Update

_TOGETHER: Final = 20
"""The number of steps with suspect counters that are checked at a time; each may have 32 dependencies."""

_CALLS_TOGETHER: Final = 26
"""The maximum number of calls needed to confirm and fix `_TOGETHER` steps."""


def is_anything_under_way(services: Services, run_id: str) -> bool:
    """Return True if a step of the run is under way.

    Such a step is being dispatched, is running, or is waiting for its next attempt.
    """
    states = [state.value for state in UNDER_WAY]
    query = Query(collection=steps_path(run_id), where=[("state", "in", states)], limit=1, fields=("state",))
    return bool(services.store.query(query))


def load_steps_by_id(services: Services, run_id: str) -> dict[str, StepRecord]:
    """Return all nodes of the run's graph by id, without their tasks."""
    return current_nodes({stored.step.id: stored.step for stored in iter_steps(services, run_id)})


def find_contradictions(
    services: Services, steps: Mapping[str, StepRecord], run_id: str, budget: Budget | None = None
) -> list[Finding]:
    """Return the contradictions among the steps of a RUNNING run.

    Counters that only seemed wrong because steps changed while being read are left out. Once the budget is spent,
    further steps with wrong counters are left to a later check.
    """
    found = list(find_flaws(steps, now=services.clock.now()))
    # Items may have been created while the steps were read.
    missing = [finding.step_id for finding in found if finding.flaw is Flaw.MISSING]
    there = {one.step.id for one in load_steps(services, run_id, missing)}
    found = [finding for finding in found if finding.flaw is not Flaw.MISSING or finding.step_id not in there]
    suspects = [finding.step_id for finding in found if finding.flaw is Flaw.MISCOUNTED]
    confirmed = [finding for _, finding in _confirm_miscounts(services, run_id, suspects, budget)]
    return [*(finding for finding in found if finding.flaw is not Flaw.MISCOUNTED), *confirmed]


def fix(services: Services, run_id: str, found: Sequence[Finding], budget: Budget | None = None) -> list[Finding]:
    """Correct the documents according to the findings.

    Returns the findings that were fixed. Once the budget is spent, the others are left to a later check.
    """
    by_id = {finding.step_id: finding for finding in found if finding.flaw is Flaw.UNWATCHED}
    # Read these steps again, since a step may have ended or been given a due time in the meantime.
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
    """Confirm that the counters of the suspected steps are wrong.

    Returns the steps with wrong counters, each with the version that guards its fix. The order of the reads matters:
    first the step, then its run, then its dependencies. Any commit that changes a dependency's state also changes the
    step's counters, and a retry resets a step before its dependencies. So as long as the step's version stays the same,
    its counters should agree with whatever was read after the step.
    """
    budget = budget or Budget(services.clock)
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
        pairs = [
            (one, check_counters(one.step, needs) if one.step.places is None else recount(services, one.step))
            for one in steps
        ]
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
        log.warning(f"step.{finding.flaw}.fixed", finding.what, run_id=run_id, step_id=finding.step_id)
        fixed.append(finding)
    return fixed


LATE: Final = timedelta(minutes=3)
"""A step that has been due for longer than this has been missed: the checker is not being woken, or is failing."""

_MOST_NAMED: Final = 3
_RECORD_TRIES: Final = 5


class Examination(NamedTuple):
    """The findings about a run. `run` and `steps` are as they were read before anything was fixed.

    `open_work` is a clause describing work that the checker will continue on its own, or "". `published` is the number
    of released steps that were published again. `overdue_since` is the earliest due time that a working checker would
    not have missed. The oddities in `odd` can be resolved only by the Task Runner.
    """

    run: RunRecord
    steps: Mapping[str, StepRecord]
    found: Sequence[Finding] = ()
    fixed: Sequence[Finding] = ()
    open_work: str = ""
    published: int = 0
    overdue_since: datetime | None = None
    odd: Sequence[Oddity] = ()


def examine(services: Services, run_id: str, *, fixing: bool, actor: str = "") -> Examination:
    """Examine a run and, if `fixing`, repair it.

    The repair restarts stalled work that is holding up the run. If it changed something, the run records who asked for
    it.

    Raises `RunNotFound`.
    """
    outbox, now = Outbox(services), services.clock.now()
    stored = load_run(services, run_id)
    if stored is None:
        raise RunNotFound(run_id)
    run, steps = stored.run, load_steps_by_id(services, run_id)
    # The due time of a running job remains that of its first poll, since polls that find nothing new write nothing.
    waiting = [step.due_at for step in steps.values() if step.due_at and step.state is not StepState.RUNNING]
    open_work = ""
    if run.stop is not None and not all(step.state.is_terminal for step in steps.values()):
        open_work = f"it is being closed ({run.stop.reason}), and some of its steps are still open"
    elif run.state is RunState.SEEDING and now - (run.admitted_at or run.reopened_at or run.created_at) > NEXT_AUDIT:
        open_work = "not all of its steps were written"
    elif run.state is RunState.QUEUED:
        open_work = find_stall(services, stored, has_end=END_ID in steps)
    found = find_contradictions(services, steps, run_id) if run.state is RunState.RUNNING and run.stop is None else []
    fixed, published = _repair_fully(outbox, run, found, open_work) if fixing else ([], 0)
    if actor and (fixed or (fixing and open_work)):
        _record_repair(services, run_id, actor)
    outbox.flush()
    return Examination(
        run=run,
        steps=steps,
        found=found,
        fixed=fixed,
        open_work=open_work,
        published=published,
        overdue_since=min((due_at for due_at in waiting if now - due_at > LATE), default=None),
        odd=oddities(steps.values(), now=services.clock.now()),
    )


def _record_repair(services: Services, run_id: str, actor: str) -> None:
    """Record who requested the repair of a run.

    Records nothing if the run keeps changing or is gone.
    """
    # Imported here because no function has a person's command to record.
    from atom_workflows.core.user_changes import UserChange  # noqa: PLC0415 - see above

    change = UserChange(at=services.clock.now(), actor=actor, what="doctor")
    for _ in range(_RECORD_TRIES):
        if (stored := load_run(services, run_id)) is None:
            return
        fields = changes_fields(stored.run.changes, change)
        with suppress(Conflict):
            services.store.commit([Update(path=run_path(run_id), fields=fields, guard=stored.version)])
            return


def request_repair(outbox: Outbox, run_id: str) -> int:
    """Hand a stalled run to the start function.

    Returns the number of events. If no step of a RUNNING run is released or under way, its documents contradict each
    other. Finding the contradictions requires reading all documents, for which the checker has neither the time nor the
    memory.
    """
    if is_anything_under_way(outbox.services, run_id):
        return 0
    outbox.add([seed_message(run_id)])
    return 1


def continue_run(outbox: Outbox, run_id: str, *, after: str = "") -> None:
    """Continue a run that was handed off, within one invocation's budget.

    Closes, seeds, resets, repairs or renews the run, whichever it needs. With `after`, only publishes the released
    steps that follow that path. Raises `RunNotFound`.
    """
    budget = Budget.of_invocation(outbox.services.clock, outbox.services.settings.inline_budget)
    stored = load_run(outbox.services, run_id)
    if stored is None:
        raise RunNotFound(run_id)
    if stored.run.state is not RunState.RUNNING or stored.run.stop is not None:
        seed.resume(outbox, run_id, budget)
        if stored.run.state is RunState.QUEUED and needs_renewal(outbox.services, stored.run):
            renew_run(outbox, stored, budget)
        return
    published = seed.publish_released(outbox, run_id, after=after, budget=budget)
    if after:
        return
    published += publish_placed(outbox, stored.run, budget)
    if not published and not is_anything_under_way(outbox.services, run_id):
        found = stop_if_broken(outbox, run_id, budget)
        if fix(outbox.services, run_id, found, budget):
            seed.publish_released(outbox, run_id, budget=budget)
            publish_placed(outbox, stored.run, budget)
    if needs_renewal(outbox.services, stored.run):
        renew_run(outbox, stored, budget)


def stop_if_broken(outbox: Outbox, run_id: str, budget: Budget) -> list[Finding]:
    """End a run whose documents are incomplete.

    Nothing else could end such a run. If the documents are complete, returns the contradictions among them.
    """
    found = find_contradictions(outbox.services, load_steps_by_id(outbox.services, run_id), run_id, budget)
    missing = [finding for finding in found if finding.flaw is Flaw.MISSING]
    if not missing:
        return found
    what = "; ".join(finding.what for finding in missing[:_MOST_NAMED])
    log.error("run.broken", f"run {run_id} cannot continue: {what}", run_id=run_id)
    fail_run(outbox, run_id, f"its documents are incomplete: {what}", budget, action="run.broken")
    return []


def _repair_fully(
    outbox: Outbox, run: RunRecord, found: Sequence[Finding], open_work: str
) -> tuple[Sequence[Finding], int]:
    """Repair a run without limiting the work by a budget.

    Returns the findings that were fixed, and the number of steps that were published.
    """
    fixed = fix(outbox.services, run.id, found) if found else []
    if run.stop is not None:
        close_run(outbox, run.id)
    elif run.state in {RunState.QUEUED, RunState.SEEDING} and open_work:
        seed.resume(outbox, run.id)
    elif run.state is RunState.RUNNING:
        budget = Budget(outbox.services.clock)
        return fixed, seed.publish_released(outbox, run.id) + publish_placed(outbox, run, budget)
    return fixed, 0
