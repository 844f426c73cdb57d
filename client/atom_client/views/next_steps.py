"""Find the steps of an open run that begin next, nearest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from atom_client.text import listing
from atom_client.views.reasons import clock_time
from atom_client.views.seen import Seen
from atom_workflows.core.graph import MAIN_END_ID, is_internal
from atom_workflows.core.kinds import Phase
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState, StepState

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_NAMED: Final = 3
MOST_NEXT: Final = 100
"""The maximum number of steps to describe in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """A step yet to begin or be retried, and its wait.

    The words for the wait follow the step's name. `waits_for` has the steps that must end first; it is empty if the
    step waits only for its turn.
    """

    step: StepRecord
    text: str
    waits_for: Sequence[str] = ()

    def as_fields(self) -> dict[str, Any]:
        """Return the step's id and the words for its wait, for JSON output."""
        return {"id": self.step.id, "text": self.text}


def find_next(seen: Seen, *, most: int = MOST_NEXT) -> list[NextStep]:
    """Return the steps that begin next.

    First come those that wait only for a back-off, the Task Runner or a dispatcher, by time. The others are
    sorted by how many steps must end in sequence before them, and then by how many dependencies are open.
    """
    if seen.run.state is not RunState.RUNNING or seen.run.stop is not None:
        return []
    steps = {step.id: step for step in seen.steps if not step.state.is_terminal}
    due = [(step, text) for step in steps.values() if (text := _turn_text(step, seen.now))]
    due.sort(key=lambda one: (one[0].due_at or seen.now, one[0].id))
    found = [NextStep(step=step, text=text) for step, text in due[:most]]
    open_nodes = {node.id: node for node in seen.nodes.values() if not node.state.is_terminal and is_internal(node.id)}
    needs = _Needs(open_nodes | steps)
    waiting = [step for step in steps.values() if step.state is StepState.PENDING and not step.is_released]
    depths = needs.depths(step.id for step in waiting)
    by_depth = {step.id: (step.phase is Phase.FINALLY, depths[step.id]) for step in waiting}
    # Of thousands, only those that may be among the first ones are looked at further.
    last = sorted(by_depth.values())[:most][-1:]
    waiting = [step for step in waiting if by_depth[step.id] <= last[0]]
    waiting.sort(key=lambda step: (by_depth[step.id], len(needs.of(step.id)), step.id))
    for step in waiting[: most - len(found)]:
        names = needs.of(step.id)
        text = "waits for the main part to end" if MAIN_END_ID in step.depends_on else f"waits for {_named(names)}"
        found.append(NextStep(step=step, text=text, waits_for=names))
    return found


def next_sentence(found: Sequence[NextStep]) -> str:
    """Say which steps begin next, or return "" if there are none."""
    if not found:
        return ""
    said = "; ".join(f"`{one.step.id}` {one.text}" for one in found[:_MOST_NAMED])
    more = f"; and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    # There may be more than were looked for.
    return f"Next: {said}{more if len(found) < MOST_NEXT else '; and more'}."


def _turn_text(step: StepRecord, now: datetime) -> str:
    """Say what a step waits for besides its dependencies, or return ""."""
    at = f"next try at {clock_time(step.due_at, now)}" if step.due_at else "it will be tried again"
    if step.state is StepState.RETRYING:
        return f"waits for its back-off: {at}"
    if step.state is StepState.DISPATCHING and step.deferrals:
        return f"waits for the Task Runner to accept its job: {at}"
    if step.state is StepState.PENDING and step.is_released:
        return "waits for a dispatcher"
    return ""


def _named(names: Sequence[str]) -> str:
    return listing(list(names), most=_MOST_NAMED) if names else "its turn"


class _Needs:
    """The open steps that open nodes wait for.

    They wait directly or through nodes that users do not see.
    """

    def __init__(self, nodes: Mapping[str, StepRecord]) -> None:
        self._nodes = nodes
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, node_id: str) -> tuple[str, ...]:
        """Return the open steps that a node waits for, each once."""
        for name in self._in_order([node_id], self._found, through=is_internal):
            direct = [need for need in self._nodes[name].depends_on if need in self._nodes]
            found = (self._found[need] if is_internal(need) else (need,) for need in direct)
            self._found[name] = tuple(dict.fromkeys(need for needs in found for need in needs))
        return self._found[node_id]

    def depths(self, node_ids: Iterable[str]) -> dict[str, int]:
        """Return how many steps must end in sequence before each node begins.

        The number is 0 once a node has begun.
        """
        depths: dict[str, int] = {}
        for name in self._in_order(node_ids, depths, through=lambda _: True):
            node = self._nodes[name]
            before = (depths[need] + (not is_internal(need)) for need in node.depends_on if need in self._nodes)
            depths[name] = max(before, default=0) if node.state is StepState.PENDING else 0
        return depths

    def _in_order(self, node_ids: Iterable[str], known: Mapping[str, Any], *, through: Any) -> Iterator[str]:
        """Yield the nodes not yet known, each after its dependencies.

        The search continues through those that `through` accepts. The caller adds each to `known` before the next one.
        """
        for node_id in node_ids:
            pending = [] if node_id in known else [node_id]
            while pending:
                name = pending[-1]
                missing = [
                    need
                    for need in self._nodes[name].depends_on
                    if need in self._nodes and need not in known and through(need)
                ]
                if missing and name not in known:
                    pending += missing
                    continue
                pending.pop()
                if name not in known:
                    yield name
