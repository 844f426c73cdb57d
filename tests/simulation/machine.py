"""Clock and workers of an instance, as handlers see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Generic

from atom_emulator.testing.world import START
from atom_workflows.ports import Answer, Item
from simulation.scheduler import Died, Invocation, Scheduler


def true_time(scheduler: Scheduler) -> datetime:
    """Return the time that no instance knows exactly."""
    return START + timedelta(seconds=scheduler.now)


@dataclass(frozen=True, slots=True)
class SkewedClock:
    """Implements `ports.Clock` with the clock of whichever instance asks."""

    scheduler: Scheduler

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return true_time(self.scheduler) + timedelta(seconds=self.scheduler.current.instance.skew_s)

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        self.scheduler.sleep(seconds)


@dataclass(frozen=True, slots=True)
class InterleavedWorkers:
    """Implements `ports.Workers`: calls interleave like everything else, some at a time."""

    scheduler: Scheduler
    at_a_time: int

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> InterleavedCalls[Item, Answer]:
        """See `ports.Workers.calls`."""
        return InterleavedCalls(self.scheduler, self.at_a_time, call, lane or (lambda _: ""))


@dataclass(slots=True)
class InterleavedCalls(Generic[Item, Answer]):
    """Implements `ports.Calls`: so many of each lane at a time.

    Those that wait for their turn begin when one that ended is heard of.
    """

    scheduler: Scheduler
    at_a_time: int
    call: Callable[[Item], Answer]
    lane: Callable[[Item], str]
    _waiting: list[Item] = field(default_factory=list)
    _running: dict[Invocation, Item] = field(default_factory=dict)
    _failure: BaseException | None = None

    @property
    def pending(self) -> list[Item]:
        """See `ports.Calls.pending`."""
        return [*self._waiting, *self._running.values()]

    def begin(self, items: Sequence[Item]) -> None:
        """See `ports.Calls.begin`."""
        self._waiting += items
        self._start()

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """See `ports.Calls.wave`."""
        if not self._running:
            if self._failure is not None:
                raise self._failure
            return []
        self.scheduler.wait_until(lambda: any(one.has_ended for one in self._running), within_s)
        ended = [(one, self._running.pop(one)) for one in list(self._running) if one.has_ended]
        self._failure = self._failure or next((one.error for one, _ in ended if one.error is not None), None)
        if isinstance(self._failure, Died):
            raise self._failure
        self._start()
        return [(item, one.result) for one, item in ended if one.error is None]

    def _start(self) -> None:
        parent = self.scheduler.current
        busy = Counter(map(self.lane, self._running.values()))
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            lane = self.lane(item)
            if busy[lane] == self.at_a_time:
                self._waiting.append(item)
                continue
            busy[lane] += 1
            work = partial(self.call, item)
            self._running[self.scheduler.start(f"{parent.name}.", work, parent.instance, parent=parent)] = item
