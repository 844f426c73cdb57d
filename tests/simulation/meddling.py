"""Changes documents behind the coordinator's back: a counter that is too high, a document or due time that is gone.

A counter that is too low would start a step too early, and nothing could distinguish it from a correct one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.core.graph import END_ID
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from simulation.calls import Calls
from simulation.faults import MEDDLING, Fault
from simulation.flow import Flow

_TOO_MANY: Final = (1, 2)
_UNSUCCESSFUL: Final = (-1, 0, 0, 1)


class Meddler:
    """Changes steps that wait or run, of runs that are RUNNING."""

    def __init__(self, *, flows: Sequence[Flow], memory: MemoryStore, calls: Calls) -> None:
        self._flows = flows
        self._memory = memory
        self._calls = calls
        self._meddles = bool(MEDDLING & calls.faults.weather.odds.keys())

    def act(self) -> None:
        """Change or delete a document now and then."""
        if not self._meddles or self._calls.faults.is_calm:
            return
        for flow in self._flows:
            run = flow.watch.run
            if run is not None and run.state is RunState.RUNNING and run.stop is None:
                self._act(flow)

    def _act(self, flow: Flow) -> None:
        # Most of thousands of turns change nothing, so names are listed only when a fault strikes.
        choose = self._calls.faults.chance.choice
        if any(_counted(flow)) and self._calls.strikes(Fault.COUNTER_WRONG):
            self._miscount(flow, choose(list(_counted(flow))))
        elif any(_deletable(flow)) and self._calls.strikes(Fault.DOCUMENT_GONE):
            self._delete(flow, choose(list(_deletable(flow))))
        elif any(_due(flow)) and self._calls.strikes(Fault.DUE_TIME_GONE):
            self._forget(flow, choose(list(_due(flow))))

    def _miscount(self, flow: Flow, name: str) -> None:
        chance = self._calls.faults.chance
        more, wrong = chance.choice(_TOO_MANY), chance.choice(_UNSUCCESSFUL)
        by = {"remaining": more, "unsuccessful": wrong}
        if flow.watch.steps[name].schema > 1:
            by |= {"skipped": wrong, "total": more, "stained": -wrong}
        update = Update(path=step_path(flow.run_id, name), increments=by)
        self._memory.commit([update])
        self._calls.trace.note("meddles", [update])
        flow.watch.was_miscounted(name)

    def _delete(self, flow: Flow, name: str) -> None:
        self._memory.delete(step_path(flow.run_id, name))
        self._calls.trace.note("deletes", f"{flow.scenario.mark}{name}")
        flow.watch.was_deleted(name)

    def _forget(self, flow: Flow, name: str) -> None:
        update = Update(path=step_path(flow.run_id, name), fields={"due_at": None})
        self._memory.commit([update])
        self._calls.trace.note("meddles", [update])
        flow.watch.was_forgotten(name)


def _counted(flow: Flow) -> Iterator[str]:
    """Yield steps whose counters are still read."""
    watch = flow.watch
    for name, step in watch.steps.items():
        if step.state is StepState.PENDING and name not in watch.gone and watch.is_current(step):
            yield name


def _deletable(flow: Flow) -> Iterator[str]:
    """Yield those of them whose loss the checker repairs: without its end, it would not find the run."""
    return (name for name in _counted(flow) if name != END_ID)


def _due(flow: Flow) -> Iterator[str]:
    """Yield steps whose due time is only when to look.

    A due time that is a lease or a back-off holds more than that, and is left alone.
    """
    for name, step in flow.watch.steps.items():
        is_due = step.state is StepState.RUNNING or (name == END_ID and step.state is StepState.PENDING)
        if is_due and step.due_at is not None and name not in flow.watch.gone:
            yield name
