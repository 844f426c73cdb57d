"""A close look at one run: what contradicts itself is mended, what nobody was told of is published again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator import seed
from atom_workflows.coordinator.budget import Budget
from atom_workflows.coordinator.close import close_run, request_stop
from atom_workflows.coordinator.loading import Held, all_steps, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.retention import needs_renewal, renew_run
from atom_workflows.coordinator.retry import NEXT_AUDIT
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import UNDER_WAY, Finding, Flaw, findings, miscount
from atom_workflows.core.oddities import Oddity, oddities
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import step_path, steps_path
from atom_workflows.errors import Conflict, RunNotFound, RunStateError
from atom_workflows.messages.internal import seed_message
from atom_workflows.ports import Query, Update

LATE: Final = timedelta(minutes=3)
"""A step that has been due for so long was not looked at: the checker is not woken, or fails."""

_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found of a run. `run` and `steps` are as they were read before anything was mended.

    `open_work` is what the checker will go on with by itself, in a sentence, or empty; `published` counts released
    steps that were published again; `overdue_since` is when a checker that runs would have looked. What is in `odd` is
    the Task Runner's to change.
    """

    run: RunRecord
    steps: Mapping[str, StepRecord]
    found: Sequence[Finding] = ()
    mended: Sequence[Finding] = ()
    open_work: str = ""
    published: int = 0
    overdue_since: datetime | None = None
    odd: Sequence[Oddity] = ()


def examine(services: Services, run_id: str, *, mending: bool) -> Examination:
    """Look at the run and, with `mending`, set going whatever it is that holds it up. Raises `RunNotFound`."""
    outbox = Outbox(services)
    held = load_run(services, run_id)
    if held is None:
        raise RunNotFound(run_id)
    run, steps = held.run, steps_of(services, run_id)
    # A job's due time stays that of its first poll, as polls that report nothing new write nothing.
    waiting = [step.due_at for step in steps.values() if step.due_at and step.state is not StepState.RUNNING]
    late = [due_at for due_at in waiting if services.clock.now() - due_at > LATE]
    open_work = _open_work(run, steps, services.clock.now())
    found = contradictions(services, steps, run_id) if run.state is RunState.RUNNING and run.stop is None else []
    mended, published = _mended(outbox, run, found, open_work) if mending else ([], 0)
    outbox.flush()
    return Examination(
        run=run,
        steps=steps,
        found=found,
        mended=mended,
        open_work=open_work,
        published=published,
        overdue_since=min(late, default=None),
        odd=oddities(steps.values(), now=services.clock.now()),
    )


def revive(outbox: Outbox, run_id: str) -> int:
    """Have a run repaired that stands still. Return the number of events.

    Of a RUNNING run something is released or under way; else its documents contradict each other. All of them are to
    be read then, which the checker has neither the time nor the memory for.
    """
    if is_anything_under_way(outbox.services, run_id):
        return 0
    outbox.add([seed_message(run_id)])
    return 1


def continue_run(outbox: Outbox, run_id: str, *, after: str = "") -> None:
    """Go on with a run that was handed on.

    Close, seed, reset, repair or renew it, as far as one invocation's budget goes. With `after`, publish what is
    released behind that path. Raises `RunNotFound`.
    """
    budget = Budget.of_invocation(outbox.services)
    held = load_run(outbox.services, run_id)
    if held is None:
        raise RunNotFound(run_id)
    if held.run.state is not RunState.RUNNING or held.run.stop is not None:
        seed.resume(outbox, run_id, budget)
        return
    published = seed.publish_released(outbox, run_id, after=after, budget=budget)
    if not published and not after and not is_anything_under_way(outbox.services, run_id):
        _repair(outbox, run_id, budget)
    if not after and needs_renewal(outbox.services, held.run):
        renew_run(outbox, held, budget)


def give_up_if_broken(outbox: Outbox, run_id: str, budget: Budget) -> list[Finding]:
    """End a run some of whose documents are gone, as nothing else could end it; else what is wrong with the others."""
    found = contradictions(outbox.services, steps_of(outbox.services, run_id), run_id, budget)
    missing = [finding for finding in found if finding.flaw is Flaw.MISSING]
    if not missing:
        return found
    _give_up(outbox, run_id, missing, budget)
    return []


def _repair(outbox: Outbox, run_id: str, budget: Budget) -> None:
    found = give_up_if_broken(outbox, run_id, budget)
    if mend(outbox.services, run_id, found, budget):
        seed.publish_released(outbox, run_id, budget=budget)


def _mended(outbox: Outbox, run: RunRecord, found: Sequence[Finding], open_work: str) -> tuple[Sequence[Finding], int]:
    mended = mend(outbox.services, run.id, found) if found else []
    if run.stop is not None:
        close_run(outbox, run.id)
    elif run.state is RunState.SEEDING and open_work:
        seed.resume(outbox, run.id)
    elif run.state is RunState.RUNNING:
        return mended, seed.publish_released(outbox, run.id)
    return mended, 0


def _open_work(run: RunRecord, steps: Mapping[str, StepRecord], now: datetime) -> str:
    if run.stop is not None and not all(step.state.is_terminal for step in steps.values()):
        return f"it was to be closed ({run.stop.reason}), and some of its steps are still open"
    if run.state is RunState.SEEDING and now - (run.reopened_at or run.created_at) > NEXT_AUDIT:
        return "its steps were not all written"
    return ""


def _give_up(outbox: Outbox, run_id: str, missing: Sequence[Finding], budget: Budget) -> None:
    what = "; ".join(finding.what for finding in missing[:_MOST_NAMED])
    log.failed("run.broken", f"run {run_id} cannot go on: {what}", run_id=run_id)
    reason = f"its documents are incomplete: {what}"
    stop = Stop(kind=StopKind.FAIL, reason=reason, requested_at=outbox.services.clock.now())
    try:
        request_stop(outbox, run_id, stop, budget)
    except RunStateError as error:
        log.dropped("run.broken.late", str(error), run_id=run_id)


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
    found = list(findings(steps, now=services.clock.now()))
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
        pairs = [(one, miscount(one.step, needs)) for one in held]
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
