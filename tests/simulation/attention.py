"""Checks that what is due is looked at (jobs polled, steps handed on, runs audited), however much else there is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from atom_emulator.testing.world import START
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.ports import Message
from simulation.findings import Rule
from simulation.flow import Flow
from simulation.scheduler import Scheduler

_SOON_S: Final = 300.0
"""The longest wait between two looks, a tick, the lease of a burst that died, and handlers that take their time."""


class Attention:
    """When each step was looked at last.

    `pace` is how many minutes lie between two ticks, `more_s` what steps of the first run may wait for, as there are so
    many.
    """

    def __init__(self, flows: Iterable[Flow], scheduler: Scheduler, *, pace: float, more_s: float) -> None:
        self._soon_s = _SOON_S * pace
        self._flows = list(flows)
        self._scheduler = scheduler
        self._more_s = more_s
        self._looked: dict[tuple[str, str], float] = {}

    def on_look(self, run_id: str, step_ids: Iterable[str]) -> None:
        """Note that someone looked at these steps.

        That is, changed them, polled their jobs, or published a message about them.
        """
        for step_id in step_ids:
            self._looked[run_id, step_id] = self._scheduler.now

    def on_accepted(self, message: Message) -> None:
        """Note the steps that a published message is about."""
        body = message.body
        names = [part.get("id") or part["step"] for part in (*body.get("steps", ()), *body.get("outcomes", ()))]
        self.on_look(body.get("run_id", ""), names)

    def check(self, calm_since: float) -> None:
        """Report what has been due for too long."""
        for index, flow in enumerate(self._flows):
            soon_s = self._soon_s if index else self._soon_s + self._more_s
            for step in _watched(flow):
                assert step.due_at is not None
                looked_at = self._looked.get((flow.run_id, step.id), 0.0)
                since = max(_seconds(step.due_at), looked_at, calm_since)
                if self._scheduler.now > since + soon_s:
                    state = f"{step.id} is {step.state} and due since {since:.0f} s"
                    flow.watch.report(Rule.LOOKED, f"{state}, and no one has looked at it")


def _watched(flow: Flow) -> list[StepRecord]:
    """Return the steps that the checker has to look at."""
    watch = flow.watch
    if watch.run is None or watch.run.state not in {RunState.QUEUED, RunState.RUNNING} or END_ID in watch.forgotten:
        return []
    apart = watch.gone | watch.forgotten
    return [step for name, step in watch.steps.items() if step.due_at is not None and name not in apart]


def _seconds(time: datetime) -> float:
    return (time - START).total_seconds()
