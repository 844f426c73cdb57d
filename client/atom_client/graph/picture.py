"""What a picture shows: steps, their dependencies and their states.

Every format draws the same values. Nothing here is escaped, since each format escapes text in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from itertools import groupby
from operator import mul
from typing import Final, NamedTuple

from atom_client.text import counted
from atom_client.views.loops import LoopView, as_seen, is_shown
from atom_workflows.core.graph import is_internal
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Condition, Step, Template, Trigger, Workflow

_DIGITS: Final = re.compile(r"([0-9]+)")

_TRIGGERS: Final[Mapping[Trigger, str]] = {
    Trigger.ALL_SUCCEEDED: "if all succeeded",
    Trigger.ANY_FAILED: "if any failed",
    Trigger.ALWAYS: "always",
}
"""The words for each trigger except the default, which is not mentioned."""


class Shape(StrEnum):
    """The kinds of steps that a picture distinguishes."""

    JOB = "job"
    # A step without a task, which only joins others.
    BARRIER = "barrier"
    # A step with `forEach`, which stands for all of its items.
    LOOP = "loop"


class PicturedStep(NamedTuple):
    """A step in a picture.

    `after` are the ids of the steps that it depends on, `notes` say when and how often it runs, and `state` is None in
    the picture of a file.
    """

    id: str
    after: tuple[str, ...]
    shape: Shape = Shape.JOB
    notes: tuple[str, ...] = ()
    is_conditional: bool = False
    state: StepState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The steps of a workflow or run, with those under `finally` separate.

    Both are in order. `state` is the run's; it is empty for a file.
    """

    title: str
    main: tuple[PicturedStep, ...]
    under_finally: tuple[PicturedStep, ...] = ()
    state: str = ""

    @property
    def steps(self) -> tuple[PicturedStep, ...]:
        """All steps."""
        return (*self.main, *self.under_finally)

    @property
    def heading(self) -> str:
        """The title, the run's state and the number of steps, such as `nightly is RUNNING: 5 steps`."""
        is_in_state = f" is {self.state}" if self.state else ""
        under = f", {len(self.under_finally):,} of them under finally" if self.under_finally else ""
        return f"{self.title}{is_in_state}: {counted(len(self.steps), 'step')}{under}"


# -- a file ----------------------------------------------------------------------------------------------------------


def picture_file(workflow: Workflow) -> Picture:
    """Return the picture of a workflow, with steps in file order."""
    return Picture(
        title=workflow.name,
        main=tuple(map(_picture_step, workflow.steps)),
        under_finally=tuple(map(_picture_step, workflow.finally_steps)),
    )


def _picture_step(step: Step) -> PicturedStep:
    shape = Shape.BARRIER if step.task is None else Shape.JOB
    notes = _notes(step.trigger, step.when, allow_failure=step.allow_failure)
    if step.for_each is not None:
        shape = Shape.LOOP
        lists = step.for_each.lists.values()
        lengths = [len(one) for one in lists if not isinstance(one, Template)]
        # The number of items is not known if a list is computed.
        items = counted(reduce(mul, lengths, 1), "item") if len(lengths) == len(lists) else "its items"
        notes = (f"for each of {items}", *notes)
    return PicturedStep(
        id=step.id,
        after=step.depends_on,
        shape=shape,
        notes=notes,
        is_conditional=step.is_conditional,
    )


def _notes(trigger: Trigger, when: Condition | None, *, allow_failure: bool) -> tuple[str, ...]:
    """Return what decides whether a step runs, and whether its failure counts."""
    notes = [_TRIGGERS[trigger]] if trigger in _TRIGGERS else []
    notes += [f"when {when.text}"] if when is not None else []
    return (*notes, *(["may fail"] if allow_failure else []))


# -- a run -----------------------------------------------------------------------------------------------------------


def picture_run(run: RunRecord, nodes: Mapping[str, StepRecord], loops: Mapping[str, LoopView]) -> Picture:
    """Return the picture of a run, with steps in order of id.

    `nodes` are the run's nodes by id, including the barriers that the compiler added, through which the picture finds
    what each step depends on. `loops` are its steps with `forEach`.
    """
    steps = sorted((as_seen(node, nodes) for node in nodes.values() if is_shown(node)), key=_natural_order)
    resolve = _resolver(nodes)
    pictured = [(step.phase, _picture_record(step, resolve, loops.get(step.id))) for step in steps]
    return Picture(
        title=f"run {run.id}",
        main=tuple(one for phase, one in pictured if phase is Phase.MAIN),
        under_finally=tuple(one for phase, one in pictured if phase is Phase.FINALLY),
        state=run.state.value,
    )


def _natural_order(step: StepRecord) -> list[tuple[bool, int, str]]:
    """Return the key that puts `load-2` before `load-10`."""
    parts = filter(None, _DIGITS.split(step.id))
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _resolver(nodes: Mapping[str, StepRecord]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return a function that replaces internal nodes with the steps before them."""
    found: dict[str, tuple[str, ...]] = {}

    def steps_before(node_id: str) -> tuple[str, ...]:
        node = nodes.get(node_id)
        if not is_internal(node_id):
            return () if node is None else (node_id,)
        if node_id not in found:
            # The end of the main part stands before all steps under `finally`, which are drawn apart.
            hidden = node is not None and node.kind is NodeKind.INTERNAL
            found[node_id] = resolve(node.depends_on) if node is not None and hidden else ()
        return found[node_id]

    def resolve(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step for node_id in ids for step in steps_before(node_id)))

    return resolve


def _picture_record(
    step: StepRecord, resolve: Callable[[tuple[str, ...]], tuple[str, ...]], loop: LoopView | None
) -> PicturedStep:
    shapes = {NodeKind.GATHER: Shape.LOOP, NodeKind.BARRIER: Shape.BARRIER}
    items = "" if loop is None else loop.describe()
    when = step.when or (None if loop is None or loop.expander.loop is None else loop.expander.loop.when)
    return PicturedStep(
        id=step.id,
        after=resolve(step.depends_on),
        shape=shapes.get(step.kind, Shape.JOB),
        notes=(
            *([items or "for each of its items"] if loop is not None else []),
            *_notes(step.trigger, when, allow_failure=step.allow_failure),
        ),
        is_conditional=when is not None or step.trigger is not Trigger.NO_FAILURE,
        state=step.state,
    )


# -- what all formats ask --------------------------------------------------------------------------------------------


def number_layers(steps: Sequence[PicturedStep]) -> dict[str, int]:
    """Return the layer of each step, counted from 0.

    A step is one layer after the last of its dependencies. In the result, each step follows its dependencies.
    """
    known = {step.id for step in steps}
    waits = {step.id: sum(one in known for one in step.after) for step in steps}
    dependents = dependents_of(steps)
    layers = {step.id: 0 for step in steps if not waits[step.id]}
    ready = list(layers)
    for one in ready:
        for dependent in dependents[one]:
            layers[dependent] = layers[one] + 1
            waits[dependent] -= 1
            if not waits[dependent]:
                ready.append(dependent)
    return {one: layers[one] for one in ready}


def dependents_of(steps: Sequence[PicturedStep]) -> dict[str, list[str]]:
    """Return the ids of the steps that depend on each step."""
    dependents: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for one in step.after:
            if one in dependents:
                dependents[one].append(step.id)
    return dependents


def group_fans(steps: Sequence[PicturedStep]) -> list[list[PicturedStep]]:
    """Return groups of steps with the same dependencies and the same dependents."""
    dependents = dependents_of(steps)
    fans: dict[tuple[tuple[str, ...], tuple[str, ...]], list[PicturedStep]] = {}
    for step in steps:
        fans.setdefault((tuple(sorted(step.after)), tuple(dependents[step.id])), []).append(step)
    return list(fans.values())


def split_layers(steps: Sequence[PicturedStep]) -> list[list[PicturedStep]]:
    """Return the steps of each layer, in the given order."""
    numbers = number_layers(steps)
    ordered = sorted((step for step in steps if step.id in numbers), key=lambda step: numbers[step.id])
    return [list(layer) for _, layer in groupby(ordered, key=lambda step: numbers[step.id])]
