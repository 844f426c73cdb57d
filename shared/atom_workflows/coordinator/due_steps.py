"""Read the steps that are due, of all runs, oldest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, TypeAlias

from atom_workflows import decision_log
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.documents import SCHEMA, STEPS
from atom_workflows.ports import Condition, Document, Query

PAGE: Final = 1_000
"""Due steps that are read, and looked after, at a time."""

Cursor: TypeAlias = tuple[datetime, str]
"""A place in the order of the due query: a step's due time and its document's path."""

_NEVER_READ: Final = [
    "run_id",
    "id",
    "request",
    "depends_on",
    "dependents",
    "barriers",
    "hands_over_to",
    "heirs",
    "message",
    "cause",
]

DUE_FIELDS: Final = (*(field.name for field in fields(StepRecord) if field.name not in _NEVER_READ), "schema")
"""All that a look at a step needs: not its task, its edges and its message, which may take 100 KB each."""

_LOOKED_AT: Final[Mapping[str, Any]] = {
    "task_runner_url": str,
    "attempt": int,
    "unanswered": int,
    "job_id": str,
    "job_state": str,
    "claimed_at": datetime | None,
    "unanswered_since": datetime | None,
    "missing_since": datetime | None,
    "unheard_since": datetime | None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Due steps in order, without those that cannot be read; `last` is where to read on, None if that was all."""

    steps: list[Held]
    last: Cursor | None


def is_anything_due(services: Services, by: datetime) -> bool:
    """Return whether any step is due by then: one document read."""
    return bool(services.store.query(due_query(by, limit=1, fields=("due_at",))))


def read_due(services: Services, *, until: datetime, since: datetime | None = None, after: Cursor | None = None) -> Due:
    """Return a page of the steps that are due by `until`.

    With `since`, only those due later than that; with `after`, only those behind that place.
    The steps hold `DUE_FIELDS` alone.
    """
    documents = services.store.query(due_query(until, since=since, after=after, limit=PAGE))
    last = documents[-1] if len(documents) == PAGE else None
    return Due(
        steps=[held for document in documents if (held := _held(document)) is not None],
        last=None if last is None else (last.fields["due_at"], last.path),
    )


def due_query(
    until: datetime,
    *,
    since: datetime | None = None,
    after: Cursor | None = None,
    limit: int,
    fields: tuple[str, ...] = DUE_FIELDS,
) -> Query:
    """Build the query for due steps.

    The condition on `schema` leaves documents of newer versions to these, and makes this a query for a composite index:
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
        fields=fields,
    )


def _held(document: Document) -> Held | None:
    """Return the step, None if someone wrote what no step holds.

    Such a document must not keep the others waiting.
    """
    try:
        held = Held.of(document)
        # Looks use these; everything else matters to the step's own run alone.
        odd = (name for name, kind in _LOOKED_AT.items() if not isinstance(getattr(held.step, name), kind))
        reason = next((f"{name} is a {type(getattr(held.step, name)).__name__}" for name in odd), "")
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        decision_log.warned("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return None if reason else held
