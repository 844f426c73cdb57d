"""Read the steps that are due, of all runs, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final, TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.loading import AT_ONCE, Held
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord
from atom_workflows.documents import SCHEMA, STEPS, step_path
from atom_workflows.ports import Document, Query

PAGE: Final = 1_000
"""Due steps that are read, and looked after, at a time."""

Cursor: TypeAlias = tuple[datetime, str]
"""A place in the order of the due query: a step's due time and its document's path."""

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any due time."""

_NEVER_READ: Final = {"run_id", "id", "request", "depends_on", "dependents", "barriers", "heirs", "message", "cause"}

DUE_FIELDS: Final = (*(field.name for field in fields(StepRecord) if field.name not in _NEVER_READ), "schema")
"""All that a look at a step needs: not its task, its edges and its message, which may take 100 KB each."""

_TIME: Final = (datetime, type(None))
_KINDS: Final = {
    **dict.fromkeys(("task_runner_url", "job_id", "job_state"), (str,)),
    **dict.fromkeys(("attempt", "unanswered"), (int,)),
    **dict.fromkeys(("claimed_at", "unanswered_since", "missing_since", "unheard_since"), _TIME),
}
"""What looks calculate with; everything else matters to the step's own run alone."""


def is_anything_due(services: Services, by: datetime) -> bool:
    """Return whether any step is due by then: one document read."""
    return bool(services.store.query(due_query(by, limit=1, fields=("due_at",))))


def is_little_due(services: Services, by: datetime) -> bool:
    """Return whether no more than half a page is due by then: one read."""
    return services.store.count(due_query(by, limit=PAGE)) <= PAGE // 2


def place_of(due_at: datetime) -> Cursor:
    """Return the place before the steps that are due at that time."""
    return due_at, "runs/0/steps/0"


def read_due(services: Services, *, until: datetime, after: Cursor) -> tuple[list[Held], Cursor | None]:
    """Return a page of the steps behind that place that are due by `until`, and where the next page begins.

    That is None if this was all. They hold `DUE_FIELDS` alone; those that cannot be read are left out.
    """
    documents = services.store.query(due_query(until, after=after, limit=PAGE))
    last = documents[-1] if len(documents) == PAGE else None
    due = [held for document in documents if (held := _held(document)) is not None]
    return due, None if last is None else (last.fields["due_at"], last.path)


def read_again(services: Services, held: Sequence[Held]) -> list[Held | None]:
    """Return these steps as they stand now; None for what is gone or cannot be read."""
    paths = [step_path(one.step.run_id, one.step.id) for one in held]
    parts = (services.store.get(paths[start : start + AT_ONCE]) for start in range(0, len(paths), AT_ONCE))
    return [None if document is None else _held(document) for part in parts for document in part]


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
        held = Held.without_task(document)
        odd = [name for name, kinds in _KINDS.items() if not isinstance(getattr(held.step, name), kinds)]
        reason = " and ".join(f"{name} is a {type(getattr(held.step, name)).__name__}" for name in odd)
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        log.warned("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return None if reason else held
