"""The simulation that a seed stands for, or a part of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simulation.faults import Fault, Strike, Weather
from simulation.limits import Limits
from simulation.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The part that is kept of a seed's simulation when it is shrunk. `schedule` seeds chance while it plays.

    `only` are the steps that are kept, `without` the kinds of faults that are left out, `strikes` the only faults that
    happen; None means all. `plain` is what is made simpler: see plain.py.
    """

    schedule: int = 0
    only: frozenset[str] | None = None
    without: frozenset[Fault] = frozenset()
    strikes: frozenset[Strike] | None = None
    plain: frozenset[str] = frozenset()


TICK_S: Final = 60.0
DAY_S: Final = 86_400.0

NONE: Final = "none"
"""The command's word for no faults at all."""

WHOLE: Final = Cut()
"""Nothing is left out."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One simulation to play, of one run or several at the same time. The same one plays the same every time.

    `pace` is how many minutes lie between two ticks, and how many times as long everything that waits for ticks may
    take. `keep_s` is how long runs are kept.
    """

    seed: int
    cut: Cut
    scenarios: tuple[Scenario, ...]
    weather: Weather
    limits: Limits
    pace: float = 1.0
    keep_s: float = 90 * DAY_S

    @property
    def crowd_s(self) -> float:
        """Seconds that polling everything in flight once takes beyond a burst, at the least."""
        jobs, limits = max(len(one.steps) for one in self.scenarios), self.limits
        reading_s = jobs / limits.sweep_page * limits.query_s
        asking_s = jobs * limits.status_s / limits.workers
        return TICK_S * (reading_s + asking_s) / limits.burst_s

    @property
    def names(self) -> list[str]:
        """The steps of all runs, each as the trace and `only` call it."""
        return [f"{one.mark}{step.id}" for one in self.scenarios for step in one.all_steps]

    @property
    def command(self) -> str:
        """The command that plays exactly this, with its trace."""
        return " ".join([f"make simulate SEED={self.seed}", *(f"{word}={value}" for word, value in self._options())])

    def _options(self) -> Iterator[tuple[str, str]]:
        cut = self.cut
        if cut.schedule:
            yield "SCHEDULE", str(cut.schedule)
        if cut.only is not None:
            yield "ONLY", ",".join(self.names)
        if cut.without and cut.strikes is None:
            yield "WITHOUT", ",".join(kind.name for kind in Fault if kind in cut.without)
        if cut.strikes is not None:
            yield "STRIKES", ",".join(map(str, sorted(cut.strikes))) or NONE
        if cut.plain:
            yield "PLAIN", ",".join(sorted(cut.plain))
