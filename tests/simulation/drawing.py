"""From a number to a simulation: what a seed means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from atom_workflows.core.workflow import OnLost
from simulation.dice import dice
from simulation.faults import Fault, Weather, drawn_weather
from simulation.limits import Limits, drawn_limits
from simulation.scenario import Ending, Scenario, StepPlan
from simulation.shapes import SHAPES, Shape

MAX_STEPS: Final = 60
_MOSTLY: Final = (3, 6, 6, 12, 12, 25, MAX_STEPS)
_BAD: Final = (
    (Ending.FAILS,),
    (Ending.FAILS, Ending.SUCCEEDS),
    (Ending.FAILS, Ending.FAILS, Ending.SUCCEEDS),
    (Ending.IS_REFUSED,),
    (Ending.IS_CANCELLED,),
    (Ending.VANISHES, Ending.SUCCEEDS),
    (Ending.VANISHES, Ending.FAILS, Ending.SUCCEEDS),
    (Ending.VANISHES,),
    (Ending.NEVER_ENDS, Ending.SUCCEEDS),
    (Ending.NEVER_ENDS,),
)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One simulation to play. The same one plays the same every time; `schedule` is chance's part while it plays.

    `only` and `without` are what a shrunk one keeps of the steps and leaves out of the faults.
    """

    seed: int
    schedule: int = 0
    only: frozenset[str] | None = None
    without: frozenset[Fault] = field(default_factory=frozenset)
    scenario: Scenario
    weather: Weather
    limits: Limits


def draw(
    seed: int, *, schedule: int = 0, only: frozenset[str] | None = None, without: frozenset[Fault] = frozenset()
) -> Drawn:
    """What a seed means, or a shrunk part of it."""
    scenario = _scenario(dice(seed, "scenario"))
    return Drawn(
        seed=seed,
        schedule=schedule,
        only=only,
        without=without,
        scenario=scenario if only is None else scenario.only(only),
        weather=drawn_weather(dice(seed, "weather")).without(without),
        limits=drawn_limits(dice(seed, "limits")),
    )


def _scenario(chance: Random) -> Scenario:
    count = chance.randint(1, chance.choice(_MOSTLY))
    shape = SHAPES[chance.choice(list(SHAPES))]
    return Scenario(
        steps=tuple(_steps(chance, shape, count)),
        timeout_s=chance.choice([None, None, None, None, 40, 100, 600]),
        honours_keys=chance.random() < 0.7,
        cancels=chance.choice([0, 0, 0, 1, 2]),
        retries=chance.choice([0, 1, 1, 2, 3]),
    )


def _steps(chance: Random, shape: Shape, count: int) -> Iterator[StepPlan]:
    at_once = chance.choice([0, 0.5, 1])
    badly = chance.choice([0, 0.1, 0.3, 0.5])
    timeout_s = chance.choice([60, 300, 1800])
    for i in range(count):
        plan = StepPlan(
            id=f"s{i}",
            depends_on=tuple(f"s{need}" for need in sorted(shape(i, count, chance))),
            has_task=chance.random() > 0.15,
            timeout_s=timeout_s,
            duration_s=0 if chance.random() < at_once else chance.choice([1, 5, 25, 120]),
        )
        yield _with_policies(chance, plan, badly) if plan.has_task else plan


def _with_policies(chance: Random, plan: StepPlan, badly: float) -> StepPlan:
    return replace(
        plan,
        max_attempts=chance.choice([1, 1, 2, 3]),
        on_lost=chance.choice([OnLost.RETRY, OnLost.RETRY, OnLost.FAIL]),
        endings=chance.choice(_BAD) if chance.random() < badly else (Ending.SUCCEEDS,),
    )
