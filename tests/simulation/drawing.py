"""Draw a simulation from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from atom_workflows.core.workflow import OnLost, WhenFull
from simulation.dice import dice
from simulation.drawing_language import add_language
from simulation.drawing_loops import Loops
from simulation.drawn import DAY_S, WHOLE, Cut, Drawn
from simulation.faults import MEDDLING, draw_weather
from simulation.limits import crowd_limits, draw_limits
from simulation.plain import simplify
from simulation.scenario import FIRST, Ending, Scenario, StepPlan, Stops
from simulation.shapes import SHAPES, Shape

MAX_STEPS: Final = 60
_MOSTLY: Final = (3, 6, 6, 12, 12, 25, MAX_STEPS)
_MOSTLY_OF_SEVERAL: Final = (2, 3, 6, 12)
_RUNS: Final = (*[1] * 9, 2, 3, 4)
"""How many runs a simulation has: a quarter of them several, which share the checker and its instances."""
_LONG_ONES: Final = 0.01
_KEPT_DAYS: Final = 30
_HOURS_BETWEEN_TICKS: Final = (3, 6)
_CALM_IN_A_LONG_RUN_DAYS: Final = (0.1, 5, 40)
_THOUGHT_OVER_DAYS: Final = (1, 10, 25)
_IN_ONE_ROUND: Final = 0.5
_JOB_DAYS: Final = (0, 0, 1, 6, 6)
_IN_A_CHAIN: Final = 0.8
_ENDINGS_OF_LONG_JOBS: Final = (
    (Ending.SUCCEEDS,),
    (Ending.SUCCEEDS,),
    (Ending.FAILS, Ending.SUCCEEDS),
    (Ending.FAILS, Ending.FAILS, Ending.SUCCEEDS),
)
_CROWDS: Final = 0.01
_CROWD_OF_JOBS: Final = 30
_CALM_IN_A_CROWD_S: Final = 60
_NAMES: Final = (FIRST, "b", "c", "d")
_FILES: Final = 0.4
_GROUPED: Final = 0.4
_LIMITS: Final = (1, 1, 1, 2)
_WHEN_FULL: Final = (*[WhenFull.QUEUE] * 3, WhenFull.LATEST, WhenFull.LATEST, WhenFull.SKIP)
_MOST_QUEUED: Final = (100, 100, 1)
_LONGEST_WAITS_S: Final = (86_400, 86_400, 600, 120)
_WITH_LANGUAGE: Final = 0.45
"""The share of workflows that use what plain ones do not: conditions, outputs, steps under `finally`, …"""

_SELECTIONS: Final = (*[0] * 5, 1, 2, 3)
_MARKS: Final = (*[0] * 6, 1, 2, 3, 5)
"""How many retries of named steps a run gets once all is over."""

_STOPS: Final = (*[Stops.AT_ONCE] * 4, *[Stops.SLOWLY] * 3, Stops.NEVER, Stops.CANNOT, Stops.CANNOT)
_STOPS_AFTER_S: Final = (3, 20, 100, 400)
_NOTIFYING: Final = 0.5
_LOOKING_UP: Final = 0.7
_TAKING_KEYS: Final = 0.3
_LISTED_AFTER_S: Final = (0, 0, 20, 60)
_JUST_BEFORE_S: Final = (1, 3, 6, 9)
_CLOSE_CALLS_UP_TO_S: Final = 300
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


def draw(seed: int, cut: Cut = WHOLE) -> Drawn:
    """Draw the simulation of a seed, or a shrunk part of it."""
    whole = Drawn(
        seed=seed,
        cut=cut,
        scenarios=tuple(_draw_scenarios(seed)),
        weather=draw_weather(dice(seed, "weather")).without(cut.without),
        limits=draw_limits(dice(seed, "limits")),
    )
    if len(whole.scenarios) > 1 and dice(seed, "group").random() < _GROUPED:
        whole = replace(whole, scenarios=_limit_runs(whole.scenarios, dice(seed, "group", "how")))
    if dice(seed, "crowd").random() < _CROWDS:
        whole = _make_crowd(whole, dice(seed, "crowd", "how"))
    elif dice(seed, "long").random() < _LONG_ONES:
        whole = _make_long(whole, dice(seed, "long", "how"))
        (one,) = whole.scenarios
        whole = replace(
            whole,
            scenarios=(_perhaps_with_language(one, dice(seed, "long", "language"), Loops(seed, "long", "loops")),),
        )
    kept = whole if cut.only is None else replace(whole, scenarios=tuple(_keep_only(whole.scenarios, cut.only)))
    return simplify(kept, cut.plain)


def _limit_runs(scenarios: Sequence[Scenario], chance: Random) -> tuple[Scenario, ...]:
    """Make runs of one file of them, of which only so many may be at work."""
    limit, when_full = chance.choice(_LIMITS), chance.choice(_WHEN_FULL)
    max_queued, max_wait_s = chance.choice(_MOST_QUEUED), chance.choice(_LONGEST_WAITS_S)
    return tuple(
        replace(one, is_file=False, limit=limit, when_full=when_full, max_queued=max_queued, max_wait_s=max_wait_s)
        for one in scenarios
    )


def _make_crowd(drawn: Drawn, chance: Random) -> Drawn:
    """Return a crowd of long jobs beside a small run.

    Faults stop soon.
    """
    jobs = tuple(
        StepPlan(id=f"s{i}", timeout_s=1800, duration_s=chance.randint(500, 900)) for i in range(_CROWD_OF_JOBS)
    )
    steps = (
        StepPlan(id="s0", max_attempts=3, duration_s=chance.choice([0, 60]), endings=(Ending.FAILS, Ending.SUCCEEDS)),
        StepPlan(id="s1", depends_on=("s0",), duration_s=chance.choice([0, 60, 200])),
    )
    crowd = Scenario(steps=jobs, honors_keys=False)
    single = Scenario(name=_NAMES[1], steps=steps, starts_at=_CALM_IN_A_CROWD_S)
    return replace(
        drawn,
        scenarios=(crowd, single),
        weather=replace(drawn.weather, calm_at=_CALM_IN_A_CROWD_S),
        limits=crowd_limits(drawn.limits, chance),
    )


def _make_long(drawn: Drawn, chance: Random) -> Drawn:
    """Return a run that outlasts its retention, with few ticks a day.

    It is open, or retried, for longer than runs are kept.
    """
    weather = replace(drawn.weather, calm_at=chance.choice(_CALM_IN_A_LONG_RUN_DAYS) * DAY_S)
    one = Scenario(
        steps=tuple(_draw_long_steps(chance)),
        retries=3,
        retry_after_s=chance.choice(_THOUGHT_OVER_DAYS) * DAY_S,
        is_file=chance.random() < _FILES,
    )
    return replace(
        drawn,
        scenarios=(one,),
        weather=weather.without(MEDDLING),
        pace=chance.choice(_HOURS_BETWEEN_TICKS) * 60,
        keep_s=_KEPT_DAYS * DAY_S,
    )


def _draw_long_steps(chance: Random) -> Iterator[StepPlan]:
    is_one_round = chance.random() < _IN_ONE_ROUND
    for i in range(chance.randint(6, 8) if is_one_round else chance.randint(4, 8)):
        step = StepPlan(
            id=f"s{i}",
            depends_on=(f"s{i - 1}",) if i and (is_one_round or chance.random() < _IN_A_CHAIN) else (),
            timeout_s=7 * int(DAY_S),
            duration_s=int(max(_JOB_DAYS) * DAY_S),
        )
        if not is_one_round:
            days, endings = chance.choice(_JOB_DAYS), chance.choice(_ENDINGS_OF_LONG_JOBS)
            step = replace(step, duration_s=int(days * DAY_S), endings=endings)
        yield step


def _keep_only(scenarios: Iterable[Scenario], only: frozenset[str]) -> Iterator[Scenario]:
    for one in scenarios:
        kept = {step.id for step in one.all_steps if f"{one.mark}{step.id}" in only}
        # Without main steps, there is nothing for those under `finally` to follow.
        if kept and not kept - one.finally_ids:
            kept.add(one.steps[0].id)
        if kept:
            yield one.only(kept)


def _draw_scenarios(seed: int) -> Iterator[Scenario]:
    chance = dice(seed, "runs")
    count = chance.choice(_RUNS)
    for name in _NAMES[:count]:
        mostly = _MOSTLY if count == 1 else _MOSTLY_OF_SEVERAL
        of = ("scenario",) if name == FIRST else ("scenario", name)
        starts_at = 0.0 if name == FIRST else chance.choice([0.0, 0.0, chance.uniform(0, 50)])
        scenario = _add_close_calls(_draw_scenario(dice(seed, *of), mostly), dice(seed, "close calls", name))
        scenario = replace(scenario, name=name, starts_at=starts_at, is_file=chance.random() < _FILES)
        scenario = _with_task_runner(scenario, dice(seed, "task runner", scenario.task_runner_url))
        scenario = _with_lookups(scenario, dice(seed, "lookups", scenario.task_runner_url))
        scenario = replace(scenario, selections=dice(seed, "selections", name).choice(_SELECTIONS))
        scenario = replace(scenario, marks=dice(seed, "marks", name).choice(_MARKS))
        yield _perhaps_with_language(scenario, dice(seed, "language", name), Loops(seed, "loops", name))


def _with_task_runner(scenario: Scenario, chance: Random) -> Scenario:
    """Draw what the Task Runner can do; all runs at the same one have the same."""
    return replace(
        scenario,
        stops=chance.choice(_STOPS),
        stop_after_s=chance.choice(_STOPS_AFTER_S),
        notifies=chance.random() < _NOTIFYING,
    )


def _with_lookups(scenario: Scenario, chance: Random) -> Scenario:
    return replace(
        scenario,
        looks_up=chance.random() < _LOOKING_UP,
        listed_after_s=chance.choice(_LISTED_AFTER_S),
        takes_keys=chance.random() < _TAKING_KEYS and scenario.honors_keys,
    )


def _perhaps_with_language(scenario: Scenario, chance: Random, loops: Loops) -> Scenario:
    return add_language(scenario, chance, loops) if chance.random() < _WITH_LANGUAGE else scenario


def _draw_scenario(chance: Random, mostly: Sequence[int]) -> Scenario:
    count = chance.randint(1, chance.choice(mostly))
    shape = SHAPES[chance.choice(list(SHAPES))]
    return Scenario(
        steps=tuple(_draw_steps(chance, shape, count)),
        timeout_s=chance.choice([None, None, None, None, 40, 100, 600]),
        honors_keys=chance.random() < 0.7,
        cancels=chance.choice([0, 0, 0, 1, 2]),
        retries=chance.choice([0, 1, 1, 2, 3]),
        doctors=chance.choice([0, 0, 0, 1, 3]),
    )


def _add_close_calls(scenario: Scenario, chance: Random) -> Scenario:
    """Let some jobs of some workflows end just before their timeouts."""
    odds = chance.choice([0, 0, 0, 0.3])
    steps = tuple(
        replace(step, duration_s=step.timeout_s - chance.choice(_JUST_BEFORE_S))
        if step.has_task and step.timeout_s <= _CLOSE_CALLS_UP_TO_S and chance.random() < odds
        else step
        for step in scenario.steps
    )
    return replace(scenario, steps=steps)


def _draw_steps(chance: Random, shape: Shape, count: int) -> Iterator[StepPlan]:
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
        yield _draw_policies(chance, plan, badly) if plan.has_task else plan


def _draw_policies(chance: Random, plan: StepPlan, badly: float) -> StepPlan:
    return replace(
        plan,
        max_attempts=chance.choice([1, 1, 2, 3]),
        on_lost=chance.choice([OnLost.RETRY, OnLost.RETRY, OnLost.FAIL]),
        endings=chance.choice(_BAD) if chance.random() < badly else (Ending.SUCCEEDS,),
    )
