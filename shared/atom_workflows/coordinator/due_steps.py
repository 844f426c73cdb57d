"""Read the steps that are due, of all runs, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, TypeAlias

from atom_workflows import log as decision_log
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.documents import SCHEMA, STEPS
from atom_workflows.ports import Document, Query

PAGE: Final = 1_000
"""Due steps that are read, and looked after, at a time."""

Cursor: TypeAlias = tuple[datetime, str]
"""A place in the order of the due query: a step's due time and its document's path."""

_NEVER_READ: Final = {"run_id", "id", "request", "depends_on", "dependents", "barriers", "heirs", "message", "cause"}

DUE_FIELDS: Final = (*(field.name for field in fields(StepRecord) if field.name not in _NEVER_READ), "schema")
"""All that a look at a step needs: not its task, its edges and its message, which may take 100 KB each."""

_TEXTS: Final = ("task_runner_url", "job_id", "job_state")
_NUMBERS: Final = ("attempt", "unanswered")
_TIMES: Final = ("claimed_at", "unanswered_since", "missing_since", "unheard_since")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Due steps in order, without those that cannot be read; `last` is where to read on, None if that was all."""

    steps: list[Held]
    last: Cursor | None


def is_anything_due(services: Services, by: datetime) -> bool:
    """Return whether any step is due by then: one document read."""
    return bool(services.store.query(due_query(by, limit=1, fields=("due_at",))))


def place_of(due_at: datetime) -> Cursor:
    """Return the place before the steps that are due at that time."""
    return due_at, "runs/0/steps/0"


def read_due(services: Services, *, until: datetime, after: Cursor | None = None) -> Due:
    """Return a page of the steps behind that place that are due by `until`. They hold `DUE_FIELDS` alone."""
    documents = services.store.query(due_query(until, after=after, limit=PAGE))
    last = documents[-1] if len(documents) == PAGE else None
    return Due(
        steps=[held for document in documents if (held := _held(document)) is not None],
        last=None if last is None else (last.fields["due_at"], last.path),
    )


def due_query(
    until: datetime, *, limit: int, after: Cursor | None = None, fields: tuple[str, ...] = DUE_FIELDS
) -> Query:
    """Build the query for due steps.

    The condition on `schema` leaves documents of newer versions to these, and makes this a query for a composite index:
    gcloud cannot create the single-field one that a collection group would need otherwise.
    """
    return Query(
        collection=STEPS,
        group=True,
        where=[("schema", "==", SCHEMA), ("due_at", "<=", until)],
        order_by=[("due_at", "ascending")],
        after=after,
        limit=limit,
        fields=fields,
    )


def _held(document: Document) -> Held | None:
    """Return the step, None if it cannot be read: it must not keep the others waiting."""
    try:
        held = Held.of(document)
        # Looks calculate with these; everything else matters to the step's own run alone.
        kinds = ((str, _TEXTS), (int, _NUMBERS), (datetime | None, _TIMES))
        odd = (name for kind, names in kinds for name in names if not isinstance(getattr(held.step, name), kind))
        reason = " and ".join(f"{name} is a {type(getattr(held.step, name)).__name__}" for name in odd)
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        decision_log.warned("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return None if reason else held
