"""Runs that repair an ended one: the edits of its file, and which steps they leave as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Trigger
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.messages.fields import SCHEMA_OF_REPAIRS
from simulation.dice import dice
from simulation.drawing import draw
from simulation.drawn import Drawn
from simulation.faults import MEDDLING
from simulation.language import MODES, ModeIs, Written
from simulation.loops import Loop
from simulation.oracle import End, Fate, triggered
from simulation.scenario import Ending, Scenario, StepPlan

if TYPE_CHECKING:
    from simulation.standing import Standing

_KEY: Final = "edited"
_MOST_EDITS: Final = 3
_FURTHER: Final = 1_000_000
_CORRECTED: Final = 0.7
"""How often the jobs of the new run succeed, whatever those of the earlier one did."""


@dataclass(frozen=True, kw_only=True)
class Edited(Scenario):
    """A run that is asked for once another one has ended, to keep what it can of it: the file of that run, edited."""

    of: Scenario

    @property
    def path(self) -> str:
        """The path of the run that it repairs."""
        return self.of.path

    @property
    def label(self) -> str:
        """The label of its jobs, likewise."""
        return self.of.label

    @property
    def key(self) -> str:
        """The key that distinguishes it from that run."""
        return _KEY

    @cached_property
    def run_id(self) -> str:
        """The id of the run that it becomes."""
        return run_id_for(self.path, "key", self.key)

    @property
    def start(self) -> Mapping[str, Any]:
        """The body of the message that starts it."""
        body = {"workflow_path": self.path, "run_key": self.key, "definition": self.definition}
        params = {} if self.mode == self.of.mode else {"params": {"mode": self.mode}}
        return {**body, **params, "repairs": self.of.run_id, "schema": SCHEMA_OF_REPAIRS}

    @property
    def task_runner_url(self) -> str:
        """The Task Runner of that run."""
        return self.of.task_runner_url


# -- what is kept ----------------------------------------------------------------------------------------------------


def kept_steps(edited: Scenario, before: Standing) -> dict[str, End]:
    """Return the steps that a repair of the run keeps, and how they ended.

    The file is compared by what it says of each step, and that is all the oracle knows.
    """
    earlier, kept = before.scenario, dict[str, End]()
    same_mode = earlier.mode == edited.mode
    for plan in edited.steps:
        old, end = earlier.by_id.get(plan.id), before.end_of(plan.id)
        if old is None or end is None or plan.id in earlier.finally_ids:
            continue
        has_result = end.state is StepState.SUCCEEDED or end.by_choice
        is_same = _work(old) == _work(plan) and (same_mode or "params.mode" not in str(_work(plan)))
        gathered = edited.gathers.get(plan.id, frozenset()) - earlier.gathers.get(plan.id, frozenset())
        lacks = bool(plan.numbers and gathered)
        needs = set(plan.depends_on)
        if not (has_result and is_same and not lacks and needs <= kept.keys() and needs <= _before(earlier, plan.id)):
            continue
        ends = [before.end_of(need) for need in old.depends_on]
        then, now = (
            triggered(plan.trigger, [one for one in of if one]) for of in (ends, [kept[need] for need in needs])
        )
        # A condition that was false is false again.
        if now is then or (end.by_choice and then is Fate.RUNS):
            kept[plan.id] = end
    return kept


def may_be_refused(edited: Scenario, before: Standing) -> bool:
    """Return True if there is nothing to repair: the run never began, or nothing would be different."""
    run = before.run
    if run is None or run.started_at is None:
        return True
    is_same = edited.by_id.keys() >= before.scenario.by_id.keys() and len(kept_steps(edited, before)) == len(
        edited.steps
    )
    return run.state is RunState.SUCCEEDED and is_same


def _work(plan: StepPlan) -> tuple[Any, ...]:
    """Return what a step runs, as its file says it."""
    decides = (str(plan.when), plan.trigger)
    if not plan.has_task:
        return decides
    lists = None if plan.loop is None else (plan.loop.as_definition()["forEach"], plan.loop.tolerate)
    args = {name: str(value) for name, value in plan.args}
    return (*decides, plan.image, args, bool(plan.numbers), lists)


def _before(scenario: Scenario, step_id: str) -> set[str]:
    """Return the steps that a step waits for, directly or not."""
    found: set[str] = set()
    for plan in reversed(scenario.all_steps):
        if plan.id == step_id or plan.id in found:
            found |= set(plan.depends_on)
    return found


# -- edits -----------------------------------------------------------------------------------------------------------


def draw_repaired(seed: int) -> Drawn:
    """Draw a run and its repair with an edited file, in the weather and within the limits of a seed."""
    drawn = draw(seed)
    while drawn.pace > 1 or drawn.crowd_s or drawn.scenarios[0].limit:
        # Neither a crowd, nor a run that lasts for months, nor runs of a group.
        seed += _FURTHER
        drawn = draw(seed)
    first = drawn.scenarios[0]
    chance = dice(seed, "edits")
    edited = _edit(first, chance)
    if chance.random() < _CORRECTED:
        edited = replace(edited, steps=_corrected(edited.steps), finally_steps=_corrected(edited.finally_steps))
    shared = {name: getattr(edited, name) for name in Scenario.__dataclass_fields__}
    repair = Edited(**{**shared, "name": "r", "starts_at": float("inf"), "is_file": False, "cancels": 0}, of=first)
    repair = replace(repair, timeout_s=None, retries=min(1, first.retries), description="edited")
    return replace(drawn, scenarios=(first, repair), weather=drawn.weather.without(MEDDLING))


def _corrected(steps: Sequence[StepPlan]) -> tuple[StepPlan, ...]:
    return tuple(replace(step, endings=(Ending.SUCCEEDS,), items_end=(), reasons=("",)) for step in steps)


def _edit(scenario: Scenario, chance: Random) -> Scenario:
    for _ in range(chance.randint(1, _MOST_EDITS)):
        changed = chance.choice(_EDITS)(scenario, chance)
        # An expression may have lost what it reads.
        with suppress(InvalidWorkflow):
            parse_workflow(changed.definition.encode(), filename=changed.path)
            scenario = changed
    return scenario


def _change_one(scenario: Scenario, chance: Random, change: Callable[[StepPlan], StepPlan]) -> Scenario:
    """Change one of the main steps."""
    index = chance.randrange(len(scenario.steps))
    steps = [change(step) if place == index else step for place, step in enumerate(scenario.steps)]
    return replace(scenario, steps=tuple(steps))


def _change_image(scenario: Scenario, chance: Random) -> Scenario:
    return _change_one(scenario, chance, lambda step: replace(step, image="other") if step.has_task else step)


def _change_policies(scenario: Scenario, chance: Random) -> Scenario:
    def change(step: StepPlan) -> StepPlan:
        loop = None if step.loop is None else replace(step.loop, max_parallel=2)
        return replace(step, max_attempts=step.max_attempts + 1, timeout_s=step.timeout_s + 60, loop=loop)

    return _change_one(scenario, chance, change)


def _change_trigger(scenario: Scenario, chance: Random) -> Scenario:
    def change(step: StepPlan) -> StepPlan:
        trigger = Trigger.ALWAYS if step.trigger is Trigger.NO_FAILURE else Trigger.NO_FAILURE
        return replace(step, trigger=trigger) if step.depends_on and not step.reads else step

    return _change_one(scenario, chance, change)


def _change_condition(scenario: Scenario, chance: Random) -> Scenario:
    def change(step: StepPlan) -> StepPlan:
        return replace(step, when=None if step.when is not None or not scenario.mode else ModeIs(scenario.mode))

    return _change_one(scenario, chance, change)


def _declare_outputs(scenario: Scenario, chance: Random) -> Scenario:
    return _change_one(
        scenario, chance, lambda step: step if step.numbers or not step.has_task else replace(step, numbers=(7,))
    )


def _change_loop(scenario: Scenario, chance: Random) -> Scenario:
    def change(step: StepPlan) -> StepPlan:
        if step.loop is None or any(name for name in step.loop.names) or not step.has_task:
            return step
        return replace(step, loop=replace(step.loop, lists=(("", Written((3, 1, 2))),)))

    return _change_one(scenario, chance, change)


def _make_loop(scenario: Scenario, chance: Random) -> Scenario:
    """Make a loop of a step that no expression reads."""
    read = set(_all_reads(scenario))

    def change(step: StepPlan) -> StepPlan:
        if step.loop is not None or not step.has_task or step.id in read or step.retried is not None:
            return step
        return replace(step, loop=Loop(lists=(("", Written((1, 2))),)), numbers=())

    return _change_one(scenario, chance, change)


def _change_mode(scenario: Scenario, _chance: Random) -> Scenario:
    other = {MODES[0]: MODES[1], MODES[1]: MODES[0]}
    return replace(scenario, mode=other.get(scenario.mode, ""))


def _rename(scenario: Scenario, chance: Random) -> Scenario:
    """Rename a step that no expression reads."""
    known = [step.id for step in scenario.steps if step.id not in set(_all_reads(scenario))]
    if not known:
        return scenario
    old = chance.choice(known)
    new = f"{old}x"

    def renamed(step: StepPlan) -> StepPlan:
        needs = tuple(new if need == old else need for need in step.depends_on)
        return replace(step, id=new if step.id == old else step.id, depends_on=needs)

    return replace(scenario, steps=tuple(map(renamed, scenario.steps)))


def _remove(scenario: Scenario, chance: Random) -> Scenario:
    if len(scenario.steps) == 1:
        return scenario
    removed = chance.choice(scenario.steps).id
    return scenario.only({step.id for step in scenario.all_steps if step.id != removed})


def _insert(scenario: Scenario, chance: Random) -> Scenario:
    """Insert a step before another one, or at the end."""
    index = chance.randrange(len(scenario.steps) + 1)
    before = scenario.steps[index:]
    name = f"new{len(scenario.steps)}"
    needs = before[0].depends_on if before else (scenario.steps[-1].id,)
    steps = [*scenario.steps[:index], StepPlan(id=name, depends_on=needs, timeout_s=300)]
    if before:
        steps.append(replace(before[0], depends_on=(*needs, name)))
    return replace(scenario, steps=(*steps, *before[1:]))


def _add_dependency(scenario: Scenario, chance: Random) -> Scenario:
    index = chance.randrange(len(scenario.steps))
    others = [step.id for step in scenario.steps[:index] if step.id not in scenario.steps[index].depends_on]
    if not others:
        return scenario
    step = replace(scenario.steps[index], depends_on=(*scenario.steps[index].depends_on, chance.choice(others)))
    return replace(scenario, steps=(*scenario.steps[:index], step, *scenario.steps[index + 1 :]))


def _drop_dependency(scenario: Scenario, chance: Random) -> Scenario:
    def change(step: StepPlan) -> StepPlan:
        # Expressions may read only what is before their step, and a trigger needs something that it decides about.
        if step.reads or len(step.depends_on) <= (step.trigger is not Trigger.NO_FAILURE):
            return step
        return replace(step, depends_on=step.depends_on[1:])

    read = {name for step in scenario.all_steps for name in step.reads}
    return scenario if read else _change_one(scenario, chance, change)


def _reorder(scenario: Scenario, chance: Random) -> Scenario:
    """Swap two steps of the file that are independent of each other."""
    steps = list(scenario.steps)
    if len(steps) > 1:
        index = chance.randrange(len(steps) - 1)
        if steps[index].id not in steps[index + 1].depends_on:
            steps[index], steps[index + 1] = steps[index + 1], steps[index]
    return replace(scenario, steps=tuple(steps))


def _all_reads(scenario: Scenario) -> Iterator[str]:
    from simulation.language import steps_read  # noqa: PLC0415

    for step in scenario.all_steps:
        yield from step.reads
    for _, value in scenario.outputs:
        yield from steps_read(value)


_EDITS: Final[tuple[Callable[[Scenario, Random], Scenario], ...]] = (
    _change_image,
    _change_image,
    _change_policies,
    _change_trigger,
    _change_condition,
    _declare_outputs,
    _change_loop,
    _make_loop,
    _change_mode,
    _rename,
    _remove,
    _insert,
    _add_dependency,
    _drop_dependency,
    _reorder,
)
