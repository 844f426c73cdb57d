"""Shrink a failing simulation: fewer faults, fewer steps, a simpler script, as long as the same rule is broken.

What is found is always a list of single faults, so it can be played again. First it finds out which of those that
struck matter. What is left out of the workflow changes what chance does and when, so the same faults strike elsewhere:
a smaller workflow gets some more orders of things, in which faults of the same kinds strike by chance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from simulation.ddmin import ddmin
from simulation.drawing import draw
from simulation.drawn import Cut, Drawn
from simulation.findings import Rule
from simulation.plain import simplifications
from simulation.play import Play, play

PLAYS: Final = 3000
SECONDS: Final = 20.0
_SCHEDULES: Final = 24
_ODDS: Final = (0.02, 0.1, 0.4)
"""How likely faults are in a smaller workflow, by turns: those of the seed are for many steps."""


_LONGER: Final = 1.2
_LONGER_S: Final = 30.0
"""A smaller simulation may take that much longer to break the rule."""


def shrink(drawn: Drawn, rule: Rule, *, plays: int = PLAYS, seconds: float = SECONDS) -> Play:
    """Return the smallest simulation found that breaks the rule.

    It has been played. `drawn` must break the rule.
    """
    search = _Search(best=play(drawn), rule=rule, plays=plays, ends_at=time.monotonic() + seconds)
    search.list_strikes()
    before = None
    while search.goes_on and before is not search.best:
        before = search.best
        search.strikes()
        search.runs()
        search.steps()
        search.script()
    return search.best


@dataclass(slots=True, kw_only=True)
class _Search:
    """The smallest found so far, and how much longer to look."""

    best: Play
    rule: Rule
    plays: int
    ends_at: float
    _failed: set[Cut] = field(default_factory=set)

    @property
    def goes_on(self) -> bool:
        """True while there is time for more."""
        return self.plays > 0 and time.monotonic() < self.ends_at

    @property
    def _cut(self) -> Cut:
        return self.best.drawn.cut

    def list_strikes(self) -> None:
        """Play the same simulation from a list of its faults.

        From now on, no other fault happens.
        """
        self._breaks(self._with_its_strikes(self.best))

    def strikes(self) -> None:
        """Leave out single faults."""
        ddmin(self.best.faults.log, lambda kept: self._breaks(replace(self._cut, strikes=frozenset(kept))))

    def runs(self) -> None:
        """Leave out whole runs."""
        marks = {one.mark: [f"{one.mark}{step.id}" for step in one.steps] for one in self.best.drawn.scenarios}
        if len(marks) > 1:
            ddmin(list(marks), lambda kept: self._still_breaks_with([name for mark in kept for name in marks[mark]]))

    def steps(self) -> None:
        """Leave out steps."""
        ddmin(self.best.drawn.names, self._still_breaks_with)

    def script(self) -> None:
        """Make the script simpler, a word at a time."""
        for word in list(simplifications(self.best.drawn)):
            self._still_breaks(replace(self._cut, plain=self._cut.plain | {word}))

    def _still_breaks_with(self, names: Sequence[str]) -> bool:
        return bool(names) and self._still_breaks(replace(self._cut, only=frozenset(names)))

    def _still_breaks(self, cut: Cut) -> bool:
        """Return True if this part breaks the rule, too.

        It is tried as it is, then in other orders of things.
        """
        key = replace(cut, schedule=0, strikes=None)
        if key in self._failed:
            return False
        if self._breaks(cut) or any(self._breaks_by_chance(cut, schedule) for schedule in range(_SCHEDULES)):
            return True
        self._failed.add(key)
        return False

    def _breaks_by_chance(self, cut: Cut, schedule: int) -> bool:
        kinds = {strike.kind for strike in cut.strikes or ()}
        odds = dict.fromkeys(sorted(kinds), _ODDS[schedule % len(_ODDS)])
        drawn = draw(self.best.drawn.seed, replace(cut, schedule=schedule, strikes=None))
        one = self._play(replace(drawn, weather=replace(drawn.weather, odds=odds)))
        return one is not None and self._breaks(self._with_its_strikes(one))

    def _breaks(self, cut: Cut) -> bool:
        one = self._play(draw(self.best.drawn.seed, cut))
        if one is None:
            return False
        if len(one.faults.log) < len(cut.strikes or ()):
            # Some of the listed ones never come to pass.
            return self._breaks(self._with_its_strikes(one))
        self.best = one
        return True

    def _play(self, drawn: Drawn) -> Play | None:
        """Play a simulation and return it if it breaks the rule."""
        if not self.goes_on:
            return None
        self.plays -= 1
        one = play(drawn, until=_LONGER * self.best.scheduler.now + _LONGER_S)
        return one if any(finding.rule is self.rule for finding in one.findings) else None

    @staticmethod
    def _with_its_strikes(one: Play) -> Cut:
        return replace(one.drawn.cut, strikes=frozenset(one.faults.log), without=frozenset())
