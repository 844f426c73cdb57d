"""Clock and workers of an instance, as handlers see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from atom_workflows.ports import Answer, Item
from simulation.scheduler import Died, Invocation, Scheduler
from support.world import START


def true_time(scheduler: Scheduler) -> datetime:
    """The time that no instance knows for sure."""
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

    def waves(
        self,
        call: Callable[[Item], Answer],
        items: Sequence[Item],
        *,
        lane: Callable[[Item], str] | None = None,  # noqa: ARG002 (nobody waits for a thread here)
    ) -> Iterator[list[tuple[Item, Answer]]]:
        """See `ports.Workers.waves`."""
        if len(items) == 1:
            yield [(items[0], call(items[0]))]
            return
        waiting, running = list(items), dict[Invocation, Item]()
        failure: BaseException | None = None
        while waiting or running:
            while waiting and len(running) < self.at_a_time:
                item = waiting.pop(0)
                running[self._start(call, item)] = item
            self.scheduler.wait_until(lambda: any(one.has_ended for one in running))
            finished = [(one, running.pop(one)) for one in list(running) if one.has_ended]
            failure = failure or next((one.error for one, _ in finished if one.error is not None), None)
            if isinstance(failure, Died):
                raise failure
            if wave := [(item, one.result) for one, item in finished if one.error is None]:
                yield wave
        if failure is not None:
            raise failure

    def _start(self, call: Callable[[Any], Any], item: Any) -> Invocation:
        parent = self.scheduler.current
        return self.scheduler.start(f"{parent.name}.", lambda: call(item), parent.instance, parent=parent)
