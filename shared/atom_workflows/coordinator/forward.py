"""Publishing again on redelivery: an earlier invocation may have died after its commit and before it published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.loading import load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.core.records import StepRecord
from atom_workflows.messages.internal import ReadyStep

MAX_LOOK: Final = 200
"""Steps that are looked at on the way down; what lies deeper is found by the checker's audit of the run."""


def forward(outbox: Outbox, run_id: str, ended: Sequence[StepRecord]) -> None:
    """Publish every released step that nobody took below steps that have ended.

    An invocation goes on from step to step without an event, so the step to wake may stand several levels below the
    one that the event named: the way leads through those that have ended.
    """
    seen: set[str] = set()
    frontier = list(ended)
    while frontier and len(seen) < MAX_LOOK:
        wanted = [d for step in frontier for d in step.dependents if d not in seen]
        below = list(dict.fromkeys(wanted))[: MAX_LOOK - len(seen)]
        seen.update(below)
        steps = [held.step for held in load_steps(outbox.services, run_id, below)]
        _publish(outbox, run_id, [step for step in steps if step.is_released])
        frontier = [step for step in steps if step.state.is_terminal]


def _publish(outbox: Outbox, run_id: str, released: Sequence[StepRecord]) -> None:
    for step in released:
        log.decided("step.ready.again", f"step {step.id} is published again", run_id=run_id, step_id=step.id)
    outbox.ready(run_id, [ReadyStep(step_id=step.id) for step in released])
