"""Looking after due steps: they are polled, handed on or repaired; what ended is published, batched per run.

With more steps due than one pass takes, each pass publishes where the next begins, for other instances to take.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.audit import audit_run
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import Polls
from atom_workflows.coordinator.saving import Decision, save_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.decide import Outcome, OutcomeKind, StepChange, after, overdue
from atom_workflows.core.graph import END_ID
from atom_workflows.core.polling import is_poll_due, poll_interval
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import OnLost
from atom_workflows.documents import ROUND_PATH, SCHEMA, STEPS, step_path
from atom_workflows.errors import AlreadyExists, AtomWorkflowsError, BusUnavailable, Conflict, StoreUnavailable
from atom_workflows.events import ReadyStep, SweepPage, completed_messages, page_message
from atom_workflows.ports import Condition, Create, Query, Update

PAGE: Final = 500
"""Due steps that one pass takes on; those behind them go to another instance."""


@dataclass(slots=True)
class Looked:
    """What a look did. `kept` are the jobs that go on, each with when to look at it again."""

    published: int = 0
    kept: list[tuple[Held, datetime]] = field(default_factory=list)


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
    limit: int | None = None,
) -> Query:
    """A page of the steps of all runs that need a look by then (and, with `since`, not before that), oldest first.

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
        limit=PAGE if limit is None else limit,
    )


def read_due(services: Services, query: Query) -> tuple[list[Held], bool]:
    """The steps of a query, without those that somebody else must have written; and whether there may be more."""
    held: list[Held] = []
    documents = services.store.query(query)
    for document in documents:
        try:
            held.append(Held.of(document))
        except (LookupError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            decision_log.warned("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return held, len(documents) == query.limit


def sweep_page(services: Services, page: SweepPage) -> None:
    """Look after the page of due steps behind the one that the event names."""
    held, is_full = read_due(services, due_query(page.until, after=page.after))
    sweep_full(services, held, page, is_full=is_full)


def sweep_full(services: Services, held: Sequence[Held], page: SweepPage, *, is_full: bool) -> None:
    """Look after a page of due steps, once whoever takes the page behind it has been told."""
    if is_full and held:
        outbox = Outbox(services)
        outbox.add([page_message(_page_behind(page, held[-1].step))])
        outbox.flush()
    due = [one for one in held if page.since is None or _is_due_in_round(services, one.step, page.since)]
    look_after(services, due, Polls(services=services, until=page.valid_until))
    if not is_full:
        _note_end_of_round(services, page)


def is_round_over(services: Services, began: datetime) -> bool:
    """Whether the last page of the round that began then was looked after."""
    document = services.store.get([ROUND_PATH])[0]
    return document is not None and document.fields.get("over") == began


def _note_end_of_round(services: Services, page: SweepPage) -> None:
    fields = {"schema": SCHEMA, "over": page.until}
    try:
        services.store.commit([Update(path=ROUND_PATH, fields=fields)])
    except Conflict:
        with suppress(AlreadyExists):  # by another's round, which ends at the same time
            services.store.commit([Create(path=ROUND_PATH, fields=fields)])


def _is_due_in_round(services: Services, step: StepRecord, since: datetime) -> bool:
    now, interval = services.clock.now(), services.settings.check_interval
    return is_poll_due(_age(step, now), gap=now - since, check_interval=interval)


def look_after(services: Services, due: Sequence[Held], polls: Polls) -> Looked:
    """Do what is to be done about steps that are due.

    What goes wrong with one run or step keeps nothing from the others; an outage is raised at the end.
    """
    outbox, looked = Outbox(services), Looked()
    work = _sort(due, services.clock.now())
    looked.published = _publish(outbox, work.ready, work.outcomes)
    waves = services.workers.waves(lambda one: polls(one.step), work.polls, lane=_task_runner)
    for wave in waves:
        looked.published += _publish(outbox, [], [(one.step.run_id, o) for one, o in wave if isinstance(o, Outcome)])
        looked.kept += _kept(outbox, [(one, found) for one, found in wave if not isinstance(found, Outcome)])
    looked.published += _audit(outbox, work.audits)
    outbox.flush()
    return looked


def _task_runner(held: Held) -> str:
    return held.step.task_runner_url


def _age(step: StepRecord, now: datetime) -> timedelta:
    return now - (step.claimed_at or now)


def _page_behind(page: SweepPage, last: StepRecord) -> SweepPage:
    return replace(page, after=(last.due_at or page.until, step_path(last.run_id, last.id)))


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


def _kept(outbox: Outbox, wave: Sequence[tuple[Held, StepChange | None]]) -> list[tuple[Held, datetime]]:
    """Save what changed of jobs that go on; answer these jobs as they stand then, without those that others changed."""
    changes: dict[str, list[Decision]] = {}
    for held, change in wave:
        if change is not None:
            changes.setdefault(held.step.run_id, []).append(Decision(held=held, change=change))
    kept = [held for held, change in wave if change is None]
    for decisions in changes.values():
        versions = save_alone(outbox, decisions).versions
        kept += [
            Held(step=after(one.step, one.change), version=versions[one.step.id])
            for one in decisions
            if one.step.id in versions
        ]
    return [(held, _next_look(outbox.services, held.step)) for held in kept]


def _next_look(services: Services, step: StepRecord) -> datetime:
    """When a job that goes on is to be looked at again: later if nobody answered, sooner if its time is up."""
    now = services.clock.now()
    look_at = now + poll_interval(_age(step, now), services.settings.check_interval)
    if step.unanswered and step.due_at is not None:
        look_at = step.due_at
    return look_at if step.attempt_deadline is None else min(look_at, step.attempt_deadline)


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
