"""One sweep: a page of due steps is polled, handed on or repaired; what ended is published, batched per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.audit import audit_run
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import poll
from atom_workflows.coordinator.saving import Decision, save_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import Outcome, OutcomeKind, StepChange, overdue
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost
from atom_workflows.documents import SCHEMA, STEPS, step_path
from atom_workflows.errors import AtomWorkflowsError, BusUnavailable, StoreUnavailable
from atom_workflows.events import ReadyStep, SweepPage, completed_messages, page_message
from atom_workflows.ports import Condition, Document, Query

PAGE: Final = 500
"""Due steps that one pass takes on; those behind them go to another instance."""


@dataclass(slots=True)
class Swept:
    """What a sweep found and did. `next_due` is the earliest look that was not due yet."""

    in_flight: int = 0
    published: int = 0
    next_due: datetime | None = None


@dataclass(slots=True)
class _Work:
    """What is to be done about the steps that are due."""

    polls: list[Held] = field(default_factory=list)
    audits: list[Held] = field(default_factory=list)
    ready: list[tuple[str, ReadyStep]] = field(default_factory=list)
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)


def due_query(
    until: datetime,
    *,
    since: datetime | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = PAGE,
) -> Query:
    """Every step of every run that needs a look by then (and, with `since`, not before that), the oldest first.

    The condition on `schema` keeps away documents of other versions, and makes this a query for a composite index:
    gcloud cannot create the single-field one that a collection group would need otherwise.
    """
    where: list[Condition] = [("schema", "==", SCHEMA), ("due_at", "<=", until)]
    if since is not None:
        where.append(("due_at", ">", since))
    return Query(
        collection=STEPS,
        group=True,
        where=where,
        order_by=[("due_at", "ascending")],
        after=after,
        limit=limit,
    )


def sweep(
    services: Services,
    *,
    until: datetime,
    since: datetime | None = None,
    after: tuple[datetime, str] | None = None,
) -> Swept:
    """Look at a page of steps. Those due later than now but before `until` are only counted as in flight.

    What goes wrong with one run or step keeps nothing from the others; an outage is raised at the end.
    """
    outbox = Outbox(services)
    held = _held(services.store.query(due_query(until, since=since, after=after)))
    now = services.clock.now()
    due = [one for one in held if one.step.due_at is not None and one.step.due_at <= now]
    if len(due) == PAGE:
        outbox.add([page_message(_page_behind(services, due[-1].step, until))])
        outbox.flush()
    work = _sort(due, now)
    swept = Swept(in_flight=len(held), next_due=held[len(due)].step.due_at if len(due) < len(held) else None)
    swept.published = _publish(outbox, work.ready, work.outcomes)
    for wave in services.workers.waves(lambda one: poll(services, one.step), work.polls):
        swept.published += _publish(outbox, [], _save_polls(outbox, wave))
    swept.published += _audit(outbox, work.audits)
    outbox.flush()
    return swept


def _held(documents: Sequence[Document]) -> list[Held]:
    """The steps in the documents, without those that somebody else must have written."""
    held: list[Held] = []
    for document in documents:
        try:
            held.append(Held.of(document))
        except (LookupError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            decision_log.warned("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return held


def _page_behind(services: Services, last: StepRecord, until: datetime) -> SweepPage:
    now = services.clock.now()
    return SweepPage(
        after=(last.due_at or now, step_path(last.run_id, last.id)),
        until=until,
        valid_until=now + services.settings.check_interval,
    )


def _audit(outbox: Outbox, ends: Sequence[Held]) -> int:
    """Look after the runs whose ends are due; how many events that took."""
    published = 0
    outage: AtomWorkflowsError | None = None
    for end in ends:
        try:
            published += audit_run(outbox, end)
        except (StoreUnavailable, BusUnavailable) as error:
            outage = outage or error
        except AtomWorkflowsError as error:
            run_id = end.step.run_id
            decision_log.warned("run.audit.failed", f"run {run_id} could not be looked after: {error}", run_id=run_id)
    if outage is not None:
        raise outage
    return published


def _sort(due: Sequence[Held], now: datetime) -> _Work:
    work = _Work()
    for one in due:
        step = one.step
        outcome = overdue(step, now=now) or _lost_in_dispatch(step)
        if step.id == END_ID:
            work.audits.append(one)
        elif outcome is not None:
            work.outcomes.append((step.run_id, outcome))
        elif step.state is StepState.RUNNING:
            work.polls.append(one)
        elif step.state in {StepState.DISPATCHING, StepState.RETRYING}:
            work.ready.append((step.run_id, _again(step)))
    return work


def _again(step: StepRecord) -> ReadyStep:
    """A step to dispatch: the same attempt if a dispatcher left it, the next one if its back-off is over."""
    if step.state is StepState.RETRYING:
        return ReadyStep(step_id=step.id, attempt=step.attempt + 1)
    decision_log.warned(
        "step.ready.again",
        f"step {step.id} is handed to another dispatcher",
        run_id=step.run_id,
        step_id=step.id,
        attempt=step.attempt,
    )
    return ReadyStep(step_id=step.id, attempt=step.attempt)


def _lost_in_dispatch(step: StepRecord) -> Outcome | None:
    """A dispatcher died and nobody knows whether it submitted; None if the step may be submitted again."""
    if step.state is not StepState.DISPATCHING or step.answered or step.policies.on_lost is OnLost.RETRY:
        return None
    return Outcome(
        step_id=step.id,
        attempt=step.attempt,
        kind=OutcomeKind.LOST,
        message="its dispatcher died before it recorded whether the job was submitted, and onLost is fail",
    )


def _save_polls(outbox: Outbox, wave: Sequence[tuple[Held, StepChange | Outcome | None]]) -> list[tuple[str, Outcome]]:
    """Save what changed of jobs that go on; answer how others ended."""
    changes = [Decision(held=one, change=found) for one, found in wave if isinstance(found, StepChange)]
    by_run: dict[str, list[Decision]] = {}
    for decision in changes:
        by_run.setdefault(decision.step.run_id, []).append(decision)
    for decisions in by_run.values():
        save_alone(outbox, decisions)
    return [(one.step.run_id, found) for one, found in wave if isinstance(found, Outcome)]


def _publish(outbox: Outbox, ready: Sequence[tuple[str, ReadyStep]], outcomes: Sequence[tuple[str, Outcome]]) -> int:
    by_run: dict[str, list[Outcome]] = {}
    for run_id, outcome in outcomes:
        by_run.setdefault(run_id, []).append(outcome)
    for run_id, ended in by_run.items():
        outbox.add(completed_messages(run_id, ended))
    for run_id, step in ready:
        outbox.ready(run_id, [step])
    if ready or outcomes:
        outbox.flush()
    return len(ready) + len(outcomes)
