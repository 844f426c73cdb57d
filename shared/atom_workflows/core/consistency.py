"""Check that the documents of a run's steps agree.

Counters and due times are recomputed from the steps' states. Counters are incremented in the same commit that changes a
step's state, so they disagree only if someone else wrote to the store or the code has a defect. Either could leave a
run waiting forever, so this is worth checking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.expansion import current_nodes
from atom_workflows.core.graph import END_ID, MAIN_END_ID, is_internal
from atom_workflows.core.item_ids import EXPANDER_PREFIX, PLACES_PREFIX, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind, WhenDue
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

UNDER_WAY: Final = (StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING)
"""States in which the step is with a dispatcher or a Task Runner, or is backing off."""


class Flaw(StrEnum):
    """A kind of contradiction between documents."""

    MISCOUNTED = "miscounted"
    UNWATCHED = "unwatched"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A contradiction between documents.

    `fields` holds the values that the step's document should have; it is empty if no write can fix the contradiction.
    """

    step_id: str
    flaw: Flaw
    what: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def find_flaws(steps: Mapping[str, StepRecord], *, now: datetime) -> Iterator[Finding]:
    """Yield the contradictions among the steps of a RUNNING run.

    `steps` holds all nodes of the run by id. Those of an unfinished or earlier expansion are ignored.
    """
    steps = current_nodes(steps)
    named_by: dict[str, list[str]] = {}
    for step in steps.values():
        for name in filter(None, (*step.depends_on, *step.dependents, step.shard)):
            named_by.setdefault(name, []).append(step.id)
    for name in sorted(named_by.keys() - steps.keys()):
        # A step may have thousands of dependents: name one, preferably a user's own step, and count the rest.
        first, *others = sorted(named_by[name], key=lambda named: (is_internal(named), named == END_ID, named))
        connected = f"{label(first)} and {len(others)} more are" if others else f"{label(first)} is"
        what = f"{label(name)} is missing, though {connected} connected to it"
        yield Finding(step_id=name, flaw=Flaw.MISSING, what=what)
    for step in steps.values():
        yield from filter(None, (check_counters(step, steps), check_due_time(step, now=now)))
    yield from _find_miscounted_places(steps)


def check_counters(step: StepRecord, steps: Mapping[str, StepRecord]) -> Finding | None:
    """Check the counters of a waiting step.

    `steps` should include all dependencies of the step; if one is missing, the counters cannot be checked.
    """
    needs = [steps[name] for name in step.depends_on if name in steps]
    if step.state is not StepState.PENDING or len(needs) < len(step.depends_on):
        return None
    ended = [count_end(need) for need in needs if need.state.is_terminal]
    counts = sum(ended, Counts())
    # A place is a dependency that no node stands for.
    remaining = len(needs) - counts.ended + (1 if step.waits_at else 0)
    fields: dict[str, Any] = {"remaining": remaining, **counts.counters(step.schema)}
    if all(getattr(step, name) == value for name, value in fields.items()):
        return None
    what = (
        f"{label(step.id)} counts {step.remaining} of its dependencies as unfinished and {step.unsuccessful} as "
        f"unsuccessful, but their states show {remaining} and {counts.unsuccessful}"
    )
    fields["cause"] = step.cause or next((one.cause for one in ended if one.cause), None)
    return Finding(step_id=step.id, flaw=Flaw.MISCOUNTED, what=what, fields=fields)


def _find_miscounted_places(steps: Mapping[str, StepRecord]) -> Iterator[Finding]:
    ended: dict[str, list[StepRecord]] = {}
    over = {step.id for step in steps.values() if step.kind is NodeKind.GATHER and step.state.is_terminal}
    for step in steps.values():
        if step.shard in steps and step.state.is_terminal and step.retries == steps[step.shard].retries:
            ended.setdefault(step.shard, []).append(step)
    for step in steps.values():
        # A stop ends items without counting them, and their step with them.
        if step.places is not None and step.each not in over:
            own = ended.get(step.id, [])
            failed = sum(count_end(one).unsuccessful for one in own)
            yield from filter(None, [check_places(step, ended=len(own), failed=failed)])


def check_places(step: StepRecord, *, ended: int, failed: int) -> Finding | None:
    """Check that a shard passed on only the places of ended items.

    Once too many items have failed, places are no longer passed on, so there is nothing to count.
    """
    shard = step.places
    if shard is None or shard.is_stopped or (shard.next, shard.failed) == (shard.places + ended, failed):
        return None
    what = (
        f"{label(step.id)} counts {shard.next - shard.places} items as ended and {shard.failed} as failed, but their "
        f"states show {ended} and {failed}"
    )
    fields = {"next": shard.places + ended, "failed": failed}
    return Finding(step_id=step.id, flaw=Flaw.MISCOUNTED, what=what, fields=fields)


def check_due_time(step: StepRecord, *, now: datetime) -> Finding | None:
    """Check that the step has a due time if it needs one.

    Every step under way and the end node of every run need one; otherwise, the checker would miss them.
    """
    is_end = step.rules.due is WhenDue.AUDIT_RUN and step.state is StepState.PENDING
    if step.due_at is not None or not (is_end or is_under_way(step)):
        return None
    what = f"{label(step.id)} is {step.state} but has no due time, so the checker would never look at it"
    return Finding(step_id=step.id, flaw=Flaw.UNWATCHED, what=what, fields={"due_at": now})


def is_under_way(step: StepRecord) -> bool:
    """Return True if the step is being dispatched, running or backing off."""
    return step.state in UNDER_WAY


def label(step_id: str) -> str:
    """Return a node's name as shown in messages to users."""
    if step_id == END_ID:
        return "the run's end"
    if step_id == MAIN_END_ID:
        return "the end of the main steps"
    if step_id.startswith(EXPANDER_PREFIX):
        return f"the node that creates the items of step {step_id.removeprefix(EXPANDER_PREFIX)}"
    if step_id.startswith(PLACES_PREFIX):
        return f"the node that hands out the places of step {step_id.removeprefix(PLACES_PREFIX).partition('~')[0]}"
    if parse_item_id(step_id):
        return f"item {shown_id(step_id)}"
    return f"barrier {step_id}, which joins steps," if is_internal(step_id) else f"step {step_id}"
