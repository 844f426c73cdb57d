"""Count how dependencies ended, in the same commits that end them.

A node waits until `remaining` is 0. Its counters then decide what happens to it (see kinds.py):

- `unsuccessful` counts dependencies that failed, were cancelled or were blocked; `cause` is the step where the
  trouble began.
- `skipped` counts dependencies that were skipped by choice: their condition was false, or their trigger did not match
  although nothing failed. Its dependents ignore what such a step depends on.
- `total` counts all dependencies that have ended.
- `stained` counts dependencies that make the run fail, whether through their own failure or through that of an
  earlier step. A step that reacts to a failure may succeed, but it carries the stain on to the run's end.

A failure that its step allows (`tolerated`) counts as a success.

An internal barrier represents the nodes above it, so it passes on its own counters instead of counting as one node:
even below a tree of barriers, a step's counters show how many of a thousand steps failed. In runs with the first
schema, an internal barrier counts as one node like any other, and only `remaining` and `unsuccessful` are stored. In
those runs, a step is skipped by choice or reacts to a failure only if a person marks it (see marks.py); then `skipped`
is also stored, or `stained` for failures before marked steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atom_workflows.core.kinds import FORWARDING_SCHEMA, NodeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

if TYPE_CHECKING:
    from atom_workflows.core.changes import StepChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The amounts that ended dependencies add to a node's counters. `ended` is subtracted from `remaining`."""

    ended: int = 0
    unsuccessful: int = 0
    skipped: int = 0
    total: int = 0
    stained: int = 0
    cause: str | None = None

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            ended=self.ended + other.ended,
            unsuccessful=self.unsuccessful + other.unsuccessful,
            skipped=self.skipped + other.skipped,
            total=self.total + other.total,
            stained=self.stained + other.stained,
            cause=other.cause or self.cause,
        )

    def counters(self, schema: int) -> dict[str, int]:
        """Return the schema's counters, except `remaining`."""
        if schema < FORWARDING_SCHEMA:
            of_marks = {"skipped": self.skipped, "stained": max(self.stained - self.unsuccessful, 0)}
            return {"unsuccessful": self.unsuccessful, **{name: count for name, count in of_marks.items() if count}}
        return {name: getattr(self, name) for name in ("unsuccessful", "skipped", "total", "stained")}


def count_end(step: StepRecord, end: StepChange | None = None) -> Counts:
    """Return what a step's end adds to its dependents' counters.

    `end` is the change that ends the step, if it has not been applied to `step` yet.
    """
    fields: Mapping[str, Any] = {} if end is None else end.fields
    state = step.state if end is None else end.state
    by_choice, tolerated = fields.get("by_choice", step.by_choice), fields.get("tolerated", step.tolerated)
    if step.kind is NodeKind.MAIN_END:
        # The steps under `finally` run however the other steps ended, unless none was started, which the run remembers.
        return Counts(ended=1, skipped=int(by_choice), total=1)
    if step.forwards_counts:
        own = {name: getattr(step, name) for name in ("unsuccessful", "skipped", "total", "stained")}
        return Counts(ended=1, **own, cause=step.cause)
    is_skipped = state is StepState.SKIPPED and by_choice
    has_failed = state is not StepState.SUCCEEDED and not is_skipped and not tolerated
    # A step that was marked although one before it failed. In the first schema, nothing else counts as stained.
    is_marked = fields.get("mark", step.mark) is not None
    is_stained = step.stained > 0 or (is_marked and step.schema < FORWARDING_SCHEMA and step.unsuccessful > 0)
    # A blocked step passes on the failure that blocks it.
    cause = ((step.cause if state is StepState.SKIPPED else None) or step.id) if has_failed else None
    return Counts(
        ended=1,
        unsuccessful=int(has_failed),
        skipped=int(is_skipped),
        total=1,
        # The failures of a step's items fail the run only if they fail the step.
        stained=0 if step.kind is NodeKind.ITEM else int(has_failed or is_stained),
        cause=cause,
    )


def count_dependents(ends: Iterable[tuple[StepRecord, StepChange]], *, without: Collection[str]) -> dict[str, Counts]:
    """Return what the end of these steps adds to each dependent's counters."""
    dependents: dict[str, Counts] = {}
    for step, end in ends:
        counts = count_end(step, end)
        for dependent in step.dependents:
            if dependent not in without:
                dependents[dependent] = dependents[dependent] + counts if dependent in dependents else counts
    return dependents
