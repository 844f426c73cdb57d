"""Draw which steps of a workflow are loops, over what, and how their items end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from simulation import language
from simulation.dice import dice
from simulation.language import Condition, Source, Value
from simulation.loops import Loop
from simulation.scenario import Ending, StepPlan

_WITH_LOOPS: Final = 0.5
"""The share of workflows with loops among those that are not plain."""

_IS_LOOP: Final = (0.15, 0.3, 0.6)
_MOST_LOOPS: Final = 4
_WRITTEN: Final = ((), (1,), (2, 0), (0, 1, 3), (3, None, 1), (5, 1, 2, 3), (1, 2, 3, 4, 5, 6, 7))
_WRITTEN_OF_SEVERAL: Final = ((), (1,), (0, 3), (1, None), (2, 3, 4))
_PLACES: Final = (None, None, 1, 1, 2, 2, 3, 4)
_ENDS: Final = (
    (Ending.SUCCEEDS,),
    (Ending.SUCCEEDS,),
    (Ending.FAILS,),
    (Ending.FAILS, Ending.SUCCEEDS),
    (Ending.IS_REFUSED,),
    (Ending.IS_CANCELLED,),
    (Ending.VANISHES, Ending.SUCCEEDS),
    (Ending.NEVER_ENDS, Ending.SUCCEEDS),
)


class Loops:
    """Makes loops of some steps of a workflow, with a chance of its own: all other steps stay as they are drawn."""

    def __init__(self, *seed: object) -> None:
        self._chance = dice(*seed)
        has_any = self._chance.random() < _WITH_LOOPS
        self._odds = self._chance.choice(_IS_LOOP) if has_any else 0.0
        self._left = _MOST_LOOPS
        self._places = dice(*seed, "places")

    def add(self, step: StepPlan, read: Sequence[StepPlan]) -> StepPlan:
        """Return the step, perhaps as a loop, perhaps with arguments and a condition that read loops before it."""
        if not self._odds:
            return step
        chance = self._chance
        loops = [one for one in read if one.loop is not None]
        if step.has_task and self._left and chance.random() < self._odds:
            self._left -= 1
            step = self._loop(step, read)
        if loops and chance.random() < 0.5:
            step = _with_condition(step, language.MoreFailed(chance.choice(loops).id, chance.choice([0, 1])), chance)
        if step.has_task and loops and chance.random() < 0.7:
            step = replace(step, args=(*step.args, *_args(loops, chance)))
        return step

    def _loop(self, step: StepPlan, read: Sequence[StepPlan]) -> StepPlan:
        chance = self._chance
        names = [""] if chance.random() < 0.8 else ["a", "b"]
        loop = Loop(
            lists=tuple((name, _source(read, chance, is_single=len(names) == 1)) for name in names),
            tolerate=chance.choice([0, 0, 0, 1, 2]),
            max_parallel=self._places.choice(_PLACES),
            as_list=chance.random() < 0.7,
        )
        ends = tuple(chance.choice(_ENDS) for _ in range(chance.choice([0, 0, 1, 3])))
        if Ending.BREAKS_ITS_WORD in step.endings and not step.numbers:
            step = replace(step, endings=(Ending.SUCCEEDS,))
        step = replace(step, loop=loop, items_end=ends, args=(*step.args, *_item_args(loop.names, chance)))
        if not step.numbers and chance.random() < 0.5:
            step = replace(step, numbers=chance.choice([(1,), (2, 5)]))
        if chance.random() < 0.3:
            step = _with_condition(step, _item_condition(loop.names, chance), chance)
        return step


def _source(read: Sequence[StepPlan], chance: Random, *, is_single: bool) -> Source:
    with_numbers = [one.id for one in read if one.numbers and one.loop is None]
    gathering = [one.id for one in read if one.numbers and one.loop is not None]
    sources: list[Source] = [language.Written(chance.choice(_WRITTEN if is_single else _WRITTEN_OF_SEVERAL))]
    if with_numbers:
        name = chance.choice(with_numbers)
        sources += [language.UpTo(name), language.UpToQuotient(name)]
    if gathering:
        sources += [language.Gathered(chance.choice(gathering))] * 2
    return chance.choice(sources)


def _with_condition(step: StepPlan, condition: Condition, chance: Random) -> StepPlan:
    if step.when is None:
        return replace(step, when=condition)
    kinds: list[type[language.Both | language.Either]] = [language.Both, language.Either]
    both = chance.choice(kinds)
    return replace(step, when=both(step.when, condition))


def _item_condition(names: Sequence[str], chance: Random) -> Condition:
    name = chance.choice(names)
    conditions: list[Condition] = [
        language.ItemIsMore(name, chance.choice([0, 1, 9])),
        language.Not(language.IndexIs(chance.choice([0, 1]))),
        language.ItemDivides(name),
    ]
    return chance.choice(conditions)


def _item_args(names: Sequence[str], chance: Random) -> Iterator[tuple[str, Value]]:
    yield "index", language.Index()
    yield from ((f"item-{name}", language.Item(name)) for name in names)
    if chance.random() < 0.1:
        yield "six-by-item", language.ItemQuotient(chance.choice(names))


def _args(loops: Sequence[StepPlan], chance: Random) -> Iterator[tuple[str, Value]]:
    loop = chance.choice(loops)
    yield f"ended-of-{loop.id}", language.Ended(loop.id)
    if loop.numbers:
        yield f"numbers-of-{loop.id}", language.Numbers(loop.id)
        if chance.random() < 0.5:
            yield f"jobs-of-{loop.id}", language.Jobs(loop.id)
