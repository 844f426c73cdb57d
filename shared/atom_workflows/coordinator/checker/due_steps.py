"""Read all runs' due steps, oldest first, and remember them per burst.

What a burst remembers (`InFlight`) is read once per burst, not once per check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Final, TypeAlias

from atom_workflows import log
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import StepRecord, StopFor
from atom_workflows.core.states import StepState
from atom_workflows.documents import SCHEMAS, STEPS, step_path
from atom_workflows.errors import NewerVersion
from atom_workflows.ports import Document, Query

PAGE: Final = 1_000
"""The number of due steps that are read and handled at a time."""

CAPACITY: Final = 1_000
"""The number of steps that a burst remembers; if more are in flight, the rest are left to rounds (see rounds.py)."""

WHOLE: Final = 20
"""The number of steps read at a time with all their fields; each may take up a quarter of a megabyte."""

Cursor: TypeAlias = tuple[datetime, str]
"""A position in the order of the due query: a step's due time and the path of its document."""

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""A time earlier than any due time."""

_NEVER_READ: Final = (
    {"run_id", "id", "request", "depends_on", "dependents", "barriers", "heirs", "message"}
    | {"cause", "skipped", "total", "stained", "templates", "constants", "outputs", "conditional", "trigger", "when"}
    | {"phase", "allow_failure", "by_choice", "tolerated", "because", "reason", "sent", "last_kind", "last_reason"}
    | {"attempts", "submitted_at", "mark"}
    | {"loop", "each", "expansion", "index", "item", "item_type", "items", "written", "counted", "problem", "tolerate"}
)  # fmt: skip

DUE_FIELDS: Final = tuple(one.name for one in fields(StepRecord) if one.name not in _NEVER_READ)
"""The fields needed to check a step. Its task, edges and message are omitted: each may take up 100 KB."""

_TIME: Final = (datetime, type(None))
_KINDS: Final = {
    **dict.fromkeys(("task_runner_url", "job_id", "job_state", "stop_for", "stop_stage"), (str,)),
    **dict.fromkeys(("attempt", "unanswered", "stop_attempt"), (int,)),
    **dict.fromkeys(("claimed_at", "unanswered_since", "missing_since", "unheard_since"), _TIME),
    **dict.fromkeys(("stop_since", "hinted_at"), _TIME),
}
"""The types of fields used in calculations. A wrong type in any other field affects only the step's own run."""


def is_anything_due(services: Services, by: datetime) -> bool:
    """Return True if any step is due by the given time.

    This costs one document read.
    """
    return bool(services.store.query(due_query(by, limit=1, fields=("due_at",))))


def is_little_due(services: Services, by: datetime) -> bool:
    """Return True if at most half a page of steps is due.

    This counts the steps that are due by `by`, and costs one document read.
    """
    return services.store.count(due_query(by, limit=PAGE, fields=None)) <= PAGE // 2


def place_of(due_at: datetime) -> Cursor:
    """Return the position before all steps due at the given time."""
    return due_at, "runs/0/steps/0"


def read_due(services: Services, *, until: datetime, after: Cursor) -> tuple[list[StoredStep], Cursor | None]:
    """Read a page of due steps.

    Returns the steps, and the position at which the next page begins. The position is None if this was the last page.
    The page begins after the position `after` and contains only steps that are due by `until`. The steps have only
    `DUE_FIELDS`; steps that cannot be read are left out.
    """
    documents = services.store.query(due_query(until, after=after, limit=PAGE))
    last = documents[-1] if len(documents) == PAGE else None
    due = [stored for document in documents if (stored := _read_step(document)) is not None]
    return due, None if last is None else (last.fields["due_at"], last.path)


def read_again(services: Services, stored: Sequence[StoredStep]) -> list[StoredStep | None]:
    """Read the given steps again, in the same order.

    The result contains None for each step that no longer exists or cannot be read.
    """
    paths = [step_path(one.step.run_id, one.step.id) for one in stored]
    parts = (services.store.get(paths[start : start + WHOLE]) for start in range(0, len(paths), WHOLE))
    return [None if document is None else _read_step(document) for part in parts for document in part]


def due_query(
    until: datetime, *, limit: int, after: Cursor | None = None, fields: tuple[str, ...] | None = DUE_FIELDS
) -> Query:
    """Build the query for due steps.

    The condition on `schema` excludes documents of newer versions, which only those versions can handle. It also lets a
    composite index serve the query: gcloud cannot create the single-field index that a collection-group query would
    otherwise need.
    """
    return Query(
        collection=STEPS,
        group=True,
        where=[("schema", "in", list(SCHEMAS)), ("due_at", "<=", until)],
        order_by=[("due_at", "ascending")],
        after=after,
        limit=limit,
        fields=fields,
    )


def _read_step(document: Document) -> StoredStep | None:
    """Read a step, or return None if that fails.

    One bad document must not keep the others from being read.
    """
    try:
        stored = StoredStep.without_task(document)
        odd = [name for name, kinds in _KINDS.items() if not isinstance(getattr(stored.step, name), kinds)]
        reason = " and ".join(f"{name} is a {type(getattr(stored.step, name)).__name__}" for name in odd)
    except (LookupError, NewerVersion, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        log.warning("step.unreadable", f"{document.path} cannot be read", reason=reason)
    return None if reason else stored


# -- remembering due steps -------------------------------------------------------------------------------------------

_Name: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class InFlight:
    """Steps under way, each with the time of its next check.

    A step that is being handled has no next check yet. If a step changes unnoticed, the remembered version is out of
    date, and decisions about the step are refused.
    """

    is_full: bool = False
    _steps: dict[_Name, StoredStep] = field(default_factory=dict)
    _looks: dict[_Name, datetime] = field(default_factory=dict)

    @property
    def next_look(self) -> datetime | None:
        """The time of the earliest scheduled check, or None if nothing is in flight."""
        return min(self._looks.values(), default=None)

    def looks(self) -> Iterator[tuple[datetime, StoredStep]]:
        """Yield each step with the time of its next check."""
        return ((at, self._steps[name]) for name, at in self._looks.items())

    def learn(
        self, found: Iterable[StoredStep], *, since: datetime, now: datetime, pending: Iterable[StoredStep] = ()
    ) -> None:
        """Remember steps that became due after `since`, as they were read.

        A known step that has not changed keeps the time of its next check. If there is no room, jobs to poll are left
        for the next round; everything else that is due now is remembered anyway, since it is handled immediately. Steps
        with a `pending` call take up room until the call returns, since the call keeps them in memory in any case.
        """
        kept = {*self._looks, *map(_name, pending)}
        # Other steps are forgotten once the queries no longer find them.
        self._steps = {
            name: stored
            for name, stored in self._steps.items()
            if name in kept or (stored.step.due_at or since) > since
        }
        for stored in found:
            due_at = stored.step.due_at
            if due_at is None or self.knows(stored):
                continue
            if len(self._steps) < CAPACITY or (stored.step.state is not StepState.RUNNING and due_at <= now):
                self._remember(stored, due_at)
            else:
                self.is_full = True

    def knows(self, stored: StoredStep) -> bool:
        """Return True if the step is remembered with the same version."""
        known = self._steps.get(_name(stored))
        return known is not None and known.version == stored.version

    def awaits_stop(self, run_id: str) -> bool:
        """Return True if a remembered job is being stopped with its run."""
        steps = (stored.step for stored in self._steps.values() if stored.step.run_id == run_id)
        return any(step.being_stopped_for == StopFor.RUN and not step.is_stop_over for step in steps)

    def take_due(self, now: datetime) -> list[StoredStep]:
        """Take the steps whose next check is due, earliest first.

        A step is not returned again until `look_again` has scheduled its next check.
        """
        due = sorted((at, name) for name, at in self._looks.items() if at <= now)
        for _, name in due:
            del self._looks[name]
        return [self._steps[name] for _, name in due]

    def look_again(self, taken: StoredStep, stored: StoredStep, at: datetime) -> None:
        """Schedule the next check of a step that was taken.

        `stored` is the step as it is stored now. Does nothing if `learn` has since found that the step has changed.
        """
        if self._steps.get(_name(taken)) is taken:
            self._remember(stored, at)

    def _remember(self, stored: StoredStep, look_at: datetime) -> None:
        self._steps[_name(stored)] = stored
        self._looks[_name(stored)] = look_at


def _name(stored: StoredStep) -> _Name:
    return stored.step.run_id, stored.step.id
