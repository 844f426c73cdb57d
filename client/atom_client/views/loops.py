"""A step with `forEach` as users see it.

Its node ends once all items have ended, and another node creates them (see core/item_ids.py). Users see neither that
node nor thousands of items, but one step with item counts, which is RUNNING while its items are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import counted, listing
from atom_workflows.core.gathering import count_items, is_counted
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

MOST_FAILED_SHOWN: Final = 5
"""The number of failed items whose messages are shown by default."""

_FIRST: Final = "; first: "
"""The text that precedes the first failed item in its step's message."""

_WORDS: Final = {
    StepState.FAILED: "failed",
    StepState.CANCELLED: "cancelled",
    StepState.SKIPPED: "skipped",
    StepState.RUNNING: "running",
    StepState.DISPATCHING: "being submitted",
    StepState.RETRYING: "waiting for a retry",
}
"""Words for the counts of items in each state. Items that succeeded or have not begun are not mentioned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCounts:
    """The number of a step's items, in total and in each state.

    Items whose state is not known count as PENDING. `total` is None if it is not known. `unstarted` is the number of
    SKIPPED items that were not started because too many others had failed.
    """

    total: int | None
    states: Mapping[StepState, int]
    unstarted: int = 0

    @property
    def ended(self) -> int:
        """The number of items that have ended."""
        return sum(count for state, count in self.states.items() if state.is_terminal)

    @property
    def failed(self) -> int:
        """The number of items that failed or were cancelled."""
        return self.states.get(StepState.FAILED, 0) + self.states.get(StepState.CANCELLED, 0)

    def describe(self) -> str:
        """Return the numbers in words.

        For example `273 of 300 ended, 2 failed, 20 running`, or `300 items, 2 failed` once all have ended.
        """
        if self.total == 0:
            return "no items"
        if self.total is None:
            first = f"{self.ended:,} ended"
        else:
            all_ended = self.ended >= self.total
            first = counted(self.total, "item") if all_ended else f"{self.ended:,} of {self.total:,} ended"
        states = {**self.states, StepState.SKIPPED: self.states.get(StepState.SKIPPED, 0) - self.unstarted}
        said = [f"{count:,} {words}" for state, words in _WORDS.items() if (count := states.get(state))]
        not_started = [f"{self.unstarted:,} not started"] if self.unstarted else []
        return ", ".join([first, *said, *not_started])

    def as_fields(self) -> dict[str, Any]:
        """Return the numbers as fields for JSON output."""
        states = {state.value: self.states[state] for state in StepState if self.states.get(state)}
        return {"total": self.total, "ended": self.ended, "states": states, "not_started": self.unstarted}


def count_states(total: int | None, states: Mapping[StepState, int]) -> ItemCounts:
    """Return the counts of items, given the states of some of them."""
    known: dict[StepState, int] = {
        state: count for state, count in states.items() if count and state is not StepState.PENDING
    }
    waiting = max(0, (total or 0) - sum(known.values()))
    return ItemCounts(total=total, states=known | ({StepState.PENDING: waiting} if waiting else {}))


def separate_unstarted(step: StepRecord, counts: ItemCounts) -> ItemCounts:
    """Return an ended step's counts, with unstarted items counted separately.

    Unstarted items are SKIPPED. The other SKIPPED items were skipped by choice, and the step has counted them.
    """
    if not step.unstarted or not is_counted({"state": step.state, "last_kind": step.last_kind}):
        return counts
    return replace(counts, unstarted=max(0, counts.states.get(StepState.SKIPPED, 0) - count_items(step)["skipped"]))


def counts_of_ended(step: StepRecord) -> ItemCounts | None:
    """Return the counts of an ended step's items from its own counters.

    Returns None if these are incomplete, as after a stop, or after a retry that left some items as a stop ended them.
    """
    if step.state not in {StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED}:
        return None
    if not step.items:
        return ItemCounts(total=0, states={})
    if not is_counted({"state": step.state, "last_kind": step.last_kind}) or (step.retries and step.unstarted):
        return None
    counts = count_items(step)
    ended = {
        StepState.SUCCEEDED: counts["succeeded"],
        StepState.FAILED: counts["failed"],
        StepState.SKIPPED: counts["skipped"] + step.unstarted,
    }
    if sum(ended.values()) != step.items:
        return None
    return replace(count_states(step.items, ended), unstarted=step.unstarted)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopView:
    """What was read about a step's items.

    This is their counts, and the first ones that failed, in order. `step` is the step as users see it, and `expander`
    the node that creates its items.
    """

    step: StepRecord
    expander: StepRecord
    counts: ItemCounts
    failed: Sequence[StepRecord] = field(default=())

    @property
    def is_expanded(self) -> bool:
        """True if the items have been created."""
        return self.expander.state is StepState.SUCCEEDED and not self.expander.problem

    @property
    def more_failed(self) -> int:
        """The number of items that failed besides those that are shown.

        A stop also cancels items. Cancelled items are counted only if the shown items include one that was
        cancelled on the Task Runner.
        """
        states = {item.state for item in self.failed}
        total = sum(self.counts.states.get(state, 0) for state in states | {StepState.FAILED})
        return max(0, total - len(self.failed)) if self.failed else 0

    def describe(self) -> str:
        """Describe the items briefly; return "" if there is nothing to say."""
        if self.is_expanded:
            return self.counts.describe()
        if self.step.state is StepState.DISPATCHING:
            size = self.expander.counted
            return f"its {counted(size, 'item')} are being created" if size else "its list is being computed"
        return ""

    def as_fields(self) -> dict[str, Any]:
        """Return the items as fields for JSON output."""
        return {
            **self.counts.as_fields(),
            "tolerate": self.step.tolerate,
            "first_failed": [
                {
                    "id": shown_id(item.id),
                    "index": item.index,
                    "state": item.state.value,
                    "attempts": item.attempt,
                    "failure_kind": item.last_kind,
                    "reason": item.last_reason or item.reason,
                    "message": item.message,
                }
                for item in self.failed
            ],
        }


def is_shown(node: StepRecord) -> bool:
    """Return True if the node is a step of the user's file."""
    return not is_internal(node.id) and node.kind is not NodeKind.ITEM


def as_seen(step: StepRecord, nodes: Mapping[str, StepRecord]) -> StepRecord:
    """Return a step of the user's file as users see it.

    A step with `forEach` is shown with the dependencies, trigger and condition of its expander, and is under way as
    soon as its expander is. `nodes` holds the expander, if there is one.
    """
    expander = nodes.get(expander_id(step.id)) if step.kind is NodeKind.GATHER else None
    if expander is None:
        return step
    seen = replace(
        step,
        attempt=0,
        depends_on=expander.depends_on,
        trigger=expander.trigger,
        when=expander.when,
        because=step.because or expander.because,
        # Until it ends, that node has the mark.
        mark=step.mark if step.is_marked or not expander.is_marked else expander.mark,
        started_at=expander.started_at,
        claimed_at=expander.claimed_at,
    )
    if step.state.is_terminal:
        return seen
    if expander.state is StepState.SUCCEEDED:
        return replace(seen, state=StepState.RUNNING, answered=True)
    if expander.state.is_terminal:
        return seen
    return replace(
        seen,
        state=expander.state,
        message=expander.message,
        due_at=expander.due_at,
        answered=expander.answered,
        deferrals=expander.deferrals,
        **{name: getattr(expander, name) for name in ("remaining", "unsuccessful", "cause", "skipped", "total")},
    )


def without_first(step: StepRecord) -> str:
    """Return a step's message without the part about its first failed item."""
    return step.message.partition(_FIRST)[0] if step.kind is NodeKind.GATHER else step.message


def origin_text(step: StepRecord) -> str:
    """Say which run has a kept step's items, or return ""."""
    if not step.kept_from:
        return ""
    shows = with_place(f"runs show {step.kept_from} --items {step.id}")
    return f"{listing([step.id])} was kept from run {step.kept_from}: `{shows}` shows its items"


def items_text(nodes: Mapping[str, StepRecord], item: str) -> str:
    """Say which items a named item's step has.

    Returns "" if there is no such step.
    """
    parsed = parse_item_id(item)
    if parsed is None or parsed.each not in nodes:
        return ""
    of, each = nodes[parsed.each], parsed.each
    if of.kind is not NodeKind.GATHER:
        return f"step {listing([each])} has no items"
    indices = sorted(one.index for one in nodes.values() if one.index is not None and one.each == each)
    if not indices:
        return origin_text(of) or f"step {listing([each])} has no items yet"
    first, last = f"{each}[{indices[0]}]", f"{each}[{indices[-1]}]"
    return f"its items are {first} to {last}" if first != last else f"its only item is {first}"


def count_nodes(nodes: Sequence[StepRecord]) -> str:
    """Return the number of steps and items among the nodes, in words."""
    steps, items = sum(map(is_shown, nodes)), sum(node.kind is NodeKind.ITEM for node in nodes)
    both = [counted(steps, "step") if steps or not items else "", counted(items, "item") if items else ""]
    return " and ".join(filter(None, both))
