"""Simplifications of a simulation, each named by a word that the command takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

from atom_workflows.core.workflow import OnLost, Trigger
from simulation.drawn import Drawn
from simulation.limits import Limits
from simulation.scenario import Ending, Scenario, StepPlan, Stops

OfStep: TypeAlias = Callable[[StepPlan], StepPlan]
OfAll: TypeAlias = Callable[[Drawn], Drawn]


def _of_scenarios(change: Callable[[Scenario], Scenario]) -> OfAll:
    return lambda drawn: replace(drawn, scenarios=tuple(change(one) for one in drawn.scenarios))


OF_ALL: Final[Mapping[str, OfAll]] = {
    "outputs": _of_scenarios(lambda one: replace(one, outputs=())),
    "cancels": _of_scenarios(lambda one: replace(one, cancels=0)),
    "retries": _of_scenarios(lambda one: replace(one, retries=0)),
    "selections": _of_scenarios(lambda one: replace(one, selections=0)),
    "marks": _of_scenarios(lambda one: replace(one, marks=0)),
    "doctors": _of_scenarios(lambda one: replace(one, doctors=0)),
    "timeout": _of_scenarios(lambda one: replace(one, timeout_s=None)),
    "files": _of_scenarios(lambda one: replace(one, is_file=False)),
    "stops": _of_scenarios(lambda one: replace(one, stops=Stops.AT_ONCE, stop_after_s=0.0)),
    "lookups": _of_scenarios(lambda one: replace(one, looks_up=True, listed_after_s=0.0, takes_keys=False)),
    "notices": _of_scenarios(lambda one: replace(one, notifies=False)),
    "limit": _of_scenarios(lambda one: replace(one, limit=0)),
    "clocks": lambda drawn: replace(drawn, weather=replace(drawn.weather, skew_s=0)),
    "limits": lambda drawn: replace(drawn, limits=Limits()),
}
"""No outputs of the run, no cancels, no retries, none of named steps, no marks, no doctor, no timeout of the workflow,
no limit on its runs, no files, jobs that stop at once, are found by their keys at once and whose ends no one reports,
right clocks, and sizes as deployed.
"""

OF_STEP: Final[Mapping[str, OfStep]] = {
    "duration": lambda step: replace(step, duration_s=0),
    "endings": lambda step: replace(step, endings=(Ending.SUCCEEDS,)),
    "attempts": lambda step: replace(step, max_attempts=1),
    "lost": lambda step: replace(step, on_lost=OnLost.RETRY),
    "when": lambda step: replace(step, when=None),
    "trigger": lambda step: replace(step, trigger=Trigger.NO_FAILURE),
    "args": lambda step: replace(step, args=()),
    "retried": lambda step: replace(step, retried=None),
    "items": lambda step: replace(step, items_end=()),
    "tolerance": lambda step: replace(step, allows_failure=False),
}
"""A job that ends at once; that succeeds; that is not tried again; that may be submitted again. A step without a
condition, a trigger, arguments, a rule for what is tried again; that must not fail.
"""


def simplify(drawn: Drawn, words: Collection[str]) -> Drawn:
    """Return the simulation simplified by these words.

    A word is one for all steps, or `step.word` for one.
    """
    for word in words:
        if word in OF_ALL:
            drawn = OF_ALL[word](drawn)
    return _of_scenarios(partial(_simplify_steps, words=words))(drawn) if words else drawn


def _simplify_steps(scenario: Scenario, words: Collection[str]) -> Scenario:
    return replace(
        scenario,
        steps=tuple(_step(scenario, step, words) for step in scenario.steps),
        finally_steps=tuple(_step(scenario, step, words) for step in scenario.finally_steps),
    )


def _step(scenario: Scenario, step: StepPlan, words: Collection[str]) -> StepPlan:
    for word, change in OF_STEP.items():
        if f"{scenario.mark}{step.id}.{word}" in words:
            step = change(step)
    return step


def simplifications(drawn: Drawn) -> Iterator[str]:
    """Yield the words that would make it simpler."""
    for word, of_all in OF_ALL.items():
        if of_all(drawn) != drawn:
            yield word
    for one in drawn.scenarios:
        for step in one.all_steps:
            yield from (f"{one.mark}{step.id}.{word}" for word, of in OF_STEP.items() if of(step) != step)
