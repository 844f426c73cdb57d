"""Draw what a workflow says beyond steps and dependencies: conditions, outputs, steps under `finally`, and the like.

Whatever is drawn, the validator accepts: steps read only steps before them, and give a value where one may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Trigger
from simulation import language
from simulation.drawing_loops import Loops
from simulation.language import MODES, Condition, RetryRule, Value
from simulation.scenario import Ending, Scenario, StepPlan

_FINALLY_COUNTS: Final = (0, 0, 1, 2, 3, 5)
_FINALLY_TIMEOUTS_S: Final = (3600, 3600, 300, 40)
_NUMBERS: Final = ((0,), (1,), (3,), (5,), (1, 4), (5, 0), (0, 2, 6))
_REASONS: Final = (("OOM",), ("OOM", ""), ("", "PREEMPTED"), ("",))
_KINDS: Final = ("failed", "timeout", "refused", "cancelled", "outputs", "expression")
_ENDS: Final = (StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED)
_BROKEN_WORDS: Final = ((Ending.BREAKS_ITS_WORD, Ending.SUCCEEDS), (Ending.BREAKS_ITS_WORD,))
_BAD_ENDS: Final = ((Ending.FAILS,), (Ending.FAILS, Ending.SUCCEEDS), (Ending.NEVER_ENDS,), (Ending.IS_CANCELLED,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Odds:
    """How likely a step of one workflow has each of these."""

    when: float
    trigger: float
    tolerance: float
    outputs: float
    args: float
    retried: float
    bad: float

    @classmethod
    def draw(cls, chance: Random) -> _Odds:
        return cls(
            when=chance.choice([0, 0.2, 0.5]),
            trigger=chance.choice([0, 0.2, 0.6]),
            tolerance=chance.choice([0, 0.2, 0.5]),
            outputs=chance.choice([0, 0.4, 0.9]),
            args=chance.choice([0, 0.3, 0.8]),
            retried=chance.choice([0, 0, 0.5]),
            bad=chance.choice([0, 0.1, 0.3]),
        )


def add_language(scenario: Scenario, chance: Random, loops: Loops) -> Scenario:
    """Return the scenario with conditions, triggers, outputs, loops and more, as far as chance has it."""
    odds = _Odds.draw(chance)
    drawn: dict[str, StepPlan] = {}
    behind: dict[str, set[str]] = {}
    for step in scenario.steps:
        behind[step.id] = {*step.depends_on}.union(*(behind[need] for need in step.depends_on))
        read = [drawn[name] for name in drawn if name in behind[step.id]]
        drawn[step.id] = loops.add(_draw_step(step, read, odds, chance, is_last=False), read)
    main = tuple(drawn.values())
    finally_steps = tuple(_draw_finally(main, odds, chance, loops))
    whole = replace(
        scenario,
        steps=main,
        finally_steps=finally_steps,
        finally_timeout_s=chance.choice(_FINALLY_TIMEOUTS_S),
        outputs=tuple(_draw_outputs(main, chance)),
        cancels_at_once=chance.random() < 0.2,
    )
    return replace(whole, mode=chance.choice(MODES)) if _reads_mode(whole) else whole


def _draw_finally(main: Sequence[StepPlan], odds: _Odds, chance: Random, loops: Loops) -> Iterator[StepPlan]:
    drawn: list[StepPlan] = []
    for number in range(chance.choice(_FINALLY_COUNTS)):
        needs = chance.sample(drawn, chance.randint(0, min(2, len(drawn))))
        is_bad = chance.random() < odds.bad
        plan = StepPlan(
            id=f"f{number}",
            depends_on=tuple(sorted(need.id for need in needs)),
            has_task=chance.random() > 0.1,
            timeout_s=chance.choice([60, 300]),
            duration_s=chance.choice([0, 0, 1, 25]),
        )
        if plan.has_task:
            endings = chance.choice(_BAD_ENDS) if is_bad else plan.endings
            plan = replace(plan, endings=endings, max_attempts=chance.choice([1, 1, 2]))
        plan = loops.add(_draw_step(plan, [*main, *needs], odds, chance, is_last=True), [*main, *needs])
        drawn.append(plan)
        yield plan


def _draw_step(step: StepPlan, read: Sequence[StepPlan], odds: _Odds, chance: Random, *, is_last: bool) -> StepPlan:
    if step.depends_on and chance.random() < odds.trigger:
        step = replace(step, trigger=chance.choice(list(Trigger)))
    if chance.random() < odds.when:
        step = replace(step, when=_draw_condition(read, chance, is_last=is_last))
    if not step.has_task:
        return step
    if chance.random() < odds.outputs:
        step = replace(step, numbers=chance.choice(_NUMBERS))
        if chance.random() < odds.bad:
            step = replace(step, endings=chance.choice(_BROKEN_WORDS))
    if chance.random() < odds.args:
        step = replace(step, args=tuple(_draw_args(read, chance, is_last=is_last)))
    if set(step.endings) == {Ending.SUCCEEDS}:
        return step
    step = replace(step, reasons=chance.choice(_REASONS), allows_failure=chance.random() < odds.tolerance)
    if chance.random() < odds.retried:
        step = replace(step, retried=_draw_retry_rule(chance), max_attempts=chance.choice([2, 3]))
    return step


def _draw_retry_rule(chance: Random) -> RetryRule:
    if chance.random() < 0.1:
        return RetryRule(is_broken=True)
    kinds = chance.sample(_KINDS, chance.choice([1, 1, 2, 3]))
    return RetryRule(kinds=tuple(kinds), reasons=chance.choice([(), ("OOM",), ("OOM", "PREEMPTED")]))


def _draw_condition(read: Sequence[StepPlan], chance: Random, *, is_last: bool) -> Condition:
    first = _draw_leaf(read, chance, is_last=is_last)
    how = chance.random()
    if how < 0.15:
        return language.Not(first)
    if how < 0.25:
        return language.Both(first, _draw_leaf(read, chance, is_last=is_last))
    if how < 0.35:
        return language.Either(first, _draw_leaf(read, chance, is_last=is_last))
    return first


def _draw_leaf(read: Sequence[StepPlan], chance: Random, *, is_last: bool) -> Condition:
    with_outputs = [step.id for step in read if step.numbers and step.loop is None]
    leaves: list[Condition] = [language.ModeIs(chance.choice(MODES))]
    if read:
        leaves.append(language.HasEnded(chance.choice(read).id, chance.choice(_ENDS)))
    if with_outputs:
        name = chance.choice(with_outputs)
        leaves += [language.IsMore(name, chance.choice([0, 2, 4])), language.HasNumber(name)]
        leaves += [language.Divides(name)] if chance.random() < 0.5 else []
    if is_last:
        state = chance.choice(["SUCCEEDED", "FAILED", "CANCELLED"])
        leaves += [language.MainIs(state), language.MoreFailures(chance.choice([0, 1]))]
    return chance.choice(leaves)


def _draw_args(read: Sequence[StepPlan], chance: Random, *, is_last: bool) -> Iterator[tuple[str, Value]]:
    yield "attempt", language.Attempt()
    yield "last", language.Last()
    if chance.random() < 0.5:
        yield "mode", language.Mode()
    if is_last:
        yield "main", language.MainState()
    for step in chance.sample(read, min(len(read), 3)):
        yield f"state-of-{step.id}", language.State(step.id)
        if step.numbers and step.loop is None:
            yield f"number-of-{step.id}", language.Number(step.id)
            yield f"job-of-{step.id}", language.Job(step.id)
            if chance.random() < 0.1:
                yield f"six-by-{step.id}", language.Quotient(step.id)


def _draw_outputs(main: Sequence[StepPlan], chance: Random) -> Iterator[tuple[str, Value]]:
    with_outputs = [step.id for step in main if step.numbers and step.loop is None]
    for number in range(chance.choice([0, 0, 1, 2])):
        values: list[Value] = [language.Mode()]
        if with_outputs:
            name = chance.choice(with_outputs)
            values = [language.Mode(), language.Number(name), language.Number(name), language.Quotient(name)]
        yield f"out{number}", chance.choice(values)


def _reads_mode(scenario: Scenario) -> bool:
    values = [value for step in scenario.all_steps for _, value in step.args] + [one for _, one in scenario.outputs]
    conditions = [step.when for step in scenario.all_steps if step.when is not None]
    return language.Mode() in values or any("params.mode" in str(condition) for condition in conditions)
