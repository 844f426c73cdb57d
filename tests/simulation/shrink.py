"""Making a failing simulation small: fewer steps, fewer kinds of faults, as long as the same rule is broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulation.drawing import Drawn, draw
from simulation.faults import Fault
from simulation.findings import Rule
from simulation.play import play

_SCHEDULES: Final = 20
"""What is left out changes what chance does, so each try has some schedules to break the rule again."""


def shrink(drawn: Drawn, rule: Rule) -> Drawn:
    """The smallest simulation found that breaks the rule too."""
    smaller: Drawn | None = drawn
    while smaller is not None:
        drawn = smaller
        smaller = next((found for one in _smaller(drawn) if (found := _breaking(one, rule))), None)
    return drawn


def _smaller(drawn: Drawn) -> Iterator[Drawn]:
    """Simulations with a part left out, large parts first."""
    names = [step.id for step in drawn.scenario.steps]
    size = len(names) // 2
    while size:
        for start in range(0, len(names), size):
            kept = frozenset(names[:start] + names[start + size :])
            if kept:
                yield draw(drawn.seed, only=kept, without=drawn.without)
        size //= 2
    for kind in Fault:
        if kind in drawn.weather.odds:
            yield draw(drawn.seed, only=drawn.only, without=drawn.without | {kind})


def _breaking(drawn: Drawn, rule: Rule) -> Drawn | None:
    for schedule in range(_SCHEDULES):
        one = draw(drawn.seed, schedule=schedule, only=drawn.only, without=drawn.without)
        if any(finding.rule is rule for finding in play(one).watch.findings):
            return one
    return None


def command(drawn: Drawn) -> str:
    """The command that plays exactly this simulation, with its trace."""
    parts = [f"make simulate SEED={drawn.seed}"]
    if drawn.schedule:
        parts.append(f"SCHEDULE={drawn.schedule}")
    if drawn.only is not None:
        parts.append(f"ONLY={','.join(step.id for step in drawn.scenario.steps)}")
    if drawn.without:
        parts.append(f"WITHOUT={','.join(kind.name for kind in Fault if kind in drawn.without)}")
    return " ".join(parts)
