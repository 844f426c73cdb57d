"""Whether the documents of a run's steps agree: what counters and due times must say, worked out from the states.

Counters are kept by increments that travel with each change of state, so they agree unless somebody else wrote to the
store, or the code has a defect. Both would leave a run waiting for what never comes; so it is worth a look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from atom_workflows.core.graph import END_ID, is_internal
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState


class Flaw(StrEnum):
    """In what way documents contradict each other."""

    MISCOUNTED = "miscounted"
    UNWATCHED = "unwatched"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One contradiction. `fields` are what the step's document should say; empty if no writing mends it."""

    step_id: str
    flaw: Flaw
    what: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def findings(steps: Mapping[str, StepRecord], *, now: datetime) -> Iterator[Finding]:
    """What is wrong with the steps of a RUNNING run; `steps` are all its nodes by id."""
    named_by: dict[str, list[str]] = {}
    for step in steps.values():
        for name in (*step.depends_on, *step.dependents):
            named_by.setdefault(name, []).append(step.id)
    for name in sorted(named_by.keys() - steps.keys()):
        what = f"{label(name)} is missing, though {_connected(named_by[name])} with it"
        yield Finding(step_id=name, flaw=Flaw.MISSING, what=what)
    for step in steps.values():
        yield from filter(None, (miscount(step, steps), unwatched(step, now=now)))


def miscount(step: StepRecord, steps: Mapping[str, StepRecord]) -> Finding | None:
    """What is wrong with the counters of a step that waits; `steps` holds at least those that it depends on."""
    needs = [steps[name] for name in step.depends_on if name in steps]
    if step.state is not StepState.PENDING or len(needs) < len(step.depends_on):
        return None
    bad = [need for need in needs if need.state.is_terminal and need.state is not StepState.SUCCEEDED]
    remaining = sum(not need.state.is_terminal for need in needs)
    if (step.remaining, step.unsuccessful) == (remaining, len(bad)):
        return None
    what = (
        f"{label(step.id)} counts {step.remaining} dependencies that have not ended and {step.unsuccessful} that did "
        f"not succeed; their states say {remaining} and {len(bad)}"
    )
    cause = next((need.cause or need.id for need in bad), None)
    fields = {"remaining": remaining, "unsuccessful": len(bad), "cause": step.cause or cause}
    return Finding(step_id=step.id, flaw=Flaw.MISCOUNTED, what=what, fields=fields)


def unwatched(step: StepRecord, *, now: datetime) -> Finding | None:
    """A step under way, or the end of a run, that the checker would never look at."""
    is_end = step.id == END_ID and step.state is StepState.PENDING
    if step.due_at is not None or not (is_end or is_under_way(step)):
        return None
    what = f"{label(step.id)} is {step.state}, and nobody would ever look at it"
    return Finding(step_id=step.id, flaw=Flaw.UNWATCHED, what=what, fields={"due_at": now})


def is_under_way(step: StepRecord) -> bool:
    """Whether somebody is at it, or its back-off runs."""
    return step.state in UNDER_WAY


UNDER_WAY = (StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING)


def _connected(step_ids: Sequence[str]) -> str:
    """The first of them as its user knows it, the rest by their number: a step may have thousands of dependents."""
    first, *others = sorted(step_ids, key=lambda step_id: (is_internal(step_id), step_id == END_ID, step_id))
    if not others:
        return f"{label(first)} is connected"
    return f"{label(first)} and {len(others)} more are connected"


def label(step_id: str) -> str:
    """A node by the name that its user knows."""
    if step_id == END_ID:
        return "the run's end"
    return f"barrier {step_id}, which joins steps," if is_internal(step_id) else f"step {step_id}"
