"""What was read about a run or step, to explain its state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from atom_client.views.lines import Line
from atom_client.views.loops import LoopView
from atom_client.views.queries import in_order
from atom_client.views.reasons import Fate, fate_of, stop_reasons
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The data read about a run.

    This is its document, its nodes by id, and when the checker last queried jobs. Nodes that SUCCEEDED may be left out,
    unless the run has never been RUNNING. `nodes` does not include items: `loops` holds the item counts of each step
    with `forEach`, by step id, and `items` a few items that are under way.
    """

    run: RunRecord
    nodes: Mapping[str, StepRecord]
    now: datetime
    looked_at: datetime | None = None
    # Where the run stands in line, if it waits for a place in its group.
    line: Line | None = None
    loops: Mapping[str, LoopView] = field(default_factory=dict)
    items: Sequence[StepRecord] = ()

    @cached_property
    def steps(self) -> Sequence[StepRecord]:
        """The user's steps, sorted once: there may be 10,000 of them."""
        return in_order(self.nodes.values())

    @property
    def is_incomplete(self) -> bool:
        """True if the run should have begun but lacks some steps."""
        is_expected = self.run.state is RunState.SKIPPED or (
            self.run.queued_at is not None and self.run.admitted_at is None
        )
        return self.run.started_at is None and not is_expected and len(self.steps) < self.run.step_count

    def count_states(self) -> dict[str, int]:
        """Return how many steps are in each state."""
        counts = Counter(step.state.value for step in self.steps)
        # Of a run that SUCCEEDED, all nodes may have been left out.
        if not self.is_incomplete and (self.nodes or self.run.state is RunState.SUCCEEDED):
            counts[StepState.SUCCEEDED] += max(0, self.run.step_count - counts.total())
        return {state.value: counts[state] for state in StepState if counts[state]}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeen:
    """The data read about a step.

    `dependencies` are the user's steps on which it depends, directly or through the compiler's barriers; `awaits_main`
    is True if it also waits for the main part. `chain` leads from a dependency to the failure that blocks the step.
    `fronts` are the active steps that an open step is waiting for, directly or not. `outputs` are the step's own
    outputs, as JSON values. `is_released` is True if all direct dependencies have ended, and `released_at` is when the
    last of them did. For a step with `forEach`, and for each of its items, `loop` is that step. For the step
    itself, `items` holds a few items that show what the step waits for, or why items were skipped.
    """

    run: RunRecord
    step: StepRecord
    now: datetime
    loop: LoopView | None = None
    items: Sequence[StepRecord] = ()
    dependencies: Sequence[StepRecord] = ()
    awaits_main: bool = False
    is_released: bool = False
    released_at: datetime | None = None
    chain: Sequence[StepRecord] = ()
    fronts: Sequence[StepRecord] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_item(self) -> bool:
        """True if this is an item of a step with `forEach`."""
        return self.step.kind is NodeKind.ITEM

    @property
    def fate(self) -> Fate:
        """The step's fate."""
        return fate_of(self.step, stop_reasons(self.run))
