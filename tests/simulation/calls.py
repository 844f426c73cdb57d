"""A port call as a handler makes it: others run before and after it, and the caller may die at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from simulation.faults import Fault, Faults
from simulation.scheduler import Scheduler
from simulation.trace import Trace

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The gate that every port call passes."""

    scheduler: Scheduler
    faults: Faults
    trace: Trace

    def make(self, name: str, call: Callable[[], T]) -> T:
        """Make the call, unless the caller dies before it."""
        self.scheduler.hand_over()
        self._may_die(Fault.KILLED_BEFORE_CALL, name)
        answer = call()
        self._may_die(Fault.KILLED_AFTER_CALL, name)
        self._may_die(Fault.INSTANCE_KILLED, name)
        self.scheduler.hand_over()
        return answer

    def strikes(self, kind: Fault) -> bool:
        """Return True if this fault happens now, and trace it."""
        if not self.faults.strikes(kind):
            return False
        self.trace.note("FAULT", kind.value)
        return True

    def _may_die(self, kind: Fault, name: str) -> None:
        if not self.strikes(kind):
            return
        self.trace.note("dies", name)
        if kind is Fault.INSTANCE_KILLED:
            self.scheduler.kill_instance(self.scheduler.current.instance)
        self.scheduler.die()
