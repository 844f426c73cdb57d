"""Due steps a page at a time: with more of them than one pass takes, each pass publishes where the next begins.

Other instances take those pages. All pages from the oldest due step to the youngest are a *round*.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.care import Care, age_of
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import Polls
from atom_workflows.coordinator.services import Services
from atom_workflows.core.polling import is_poll_due
from atom_workflows.core.records import StepRecord
from atom_workflows.documents import ROUND_PATH, SCHEMA, STEPS, step_path
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.events import SweepPage, page_message
from atom_workflows.ports import Condition, Create, Document, Fields, Query, Update

PAGE: Final = 500
"""Due steps that one pass takes on; those behind them go to another instance."""

PAGE_TIME: Final = timedelta(seconds=10)
"""How long a page asks for its jobs. Those that a slow Task Runner was not asked for by then wait for another round."""


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
            held.append(_held(document))
        except (LookupError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            decision_log.warned("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return held, len(documents) == query.limit


def _held(document: Document) -> Held:
    held = Held.of(document)
    # What a look at it counts with; everything else is of use to nobody but the step's own run.
    if not isinstance(held.step.claimed_at, datetime | None) or not isinstance(held.step.attempt, int):
        raise TypeError("claimed_at is no time, or attempt no number")
    return held


def sweep_page(services: Services, page: SweepPage) -> None:
    """Look after the page of due steps behind the one that the event names."""
    held, is_full = read_due(services, due_query(page.until, after=page.after))
    if is_full and held:
        hand_on(services, page, held[-1].step)
    ends_at = min(page.valid_until, services.clock.now() + PAGE_TIME)
    care = Care(services, Polls(services=services, until=ends_at))
    due = due_in_round(services, held, page.since)
    care.begin(sorted(due, key=lambda one: _turn(page.until, one.step)))
    care.hear_all(ends_at)
    if not is_full:
        _note_end_of_round(services, page)
    care.hear_all()


def _turn(round_began: datetime, step: StepRecord) -> bytes:
    """Another order in each round, as a Task Runner too slow for all its jobs is asked for the first ones only."""
    return hashlib.sha256(f"{round_began}/{step.run_id}/{step.id}".encode()).digest()


def hand_on(services: Services, page: SweepPage, last: StepRecord) -> None:
    """Publish the page behind this step."""
    outbox = Outbox(services)
    behind = (last.due_at or page.until, step_path(last.run_id, last.id))
    outbox.add([page_message(replace(page, after=behind))])
    outbox.flush()


def due_in_round(services: Services, held: Sequence[Held], since: datetime | None) -> list[Held]:
    """Those of a page that are to be looked at in a round, given when the burst's round before it began, if any did."""
    if since is None:
        return list(held)
    now, interval = services.clock.now(), services.settings.check_interval
    return [one for one in held if is_poll_due(age_of(one.step, now), gap=now - since, check_interval=interval)]


def is_round_over(services: Services, began: datetime) -> bool:
    """Whether the last page of the round that began then, or of a later one, was looked after."""
    document = services.store.get([ROUND_PATH])[0]
    return document is not None and _is_over(document, began)


def _is_over(document: Document, began: datetime) -> bool:
    over = document.fields.get("over")
    return over is not None and over >= began


def _note_end_of_round(services: Services, page: SweepPage) -> None:
    """Say that the round is over, unless a later one is: a page may come twice, or take its time."""
    fields = {"schema": SCHEMA, "over": page.until}
    while True:
        document = services.store.get([ROUND_PATH])[0]
        if document is not None and _is_over(document, page.until):
            return
        try:
            services.store.commit([_noted(document, fields)])
        except (AlreadyExists, Conflict):
            continue  # with another's round, which ended at the same time
        return


def _noted(document: Document | None, fields: Fields) -> Create | Update:
    if document is None:
        return Create(path=ROUND_PATH, fields=fields)
    return Update(path=ROUND_PATH, fields=fields, guard=document.version)
