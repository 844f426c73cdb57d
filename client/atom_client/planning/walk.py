"""Decide what would happen to each step if every job succeeded.

A step would run, be skipped, or depend on something unknown. As in a run, the tables in kinds.py decide, but here a
step may end in more than one way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import Any, Final

from atom_client.planning.fates import Fate
from atom_client.planning.loops import STEPS_OF_CONDITIONS, PlannedItem, PlannedItems, plan_items, scope_of_item
from atom_client.planning.partial import Partial, judge, spell, with_marks
from atom_client.text import counted, listing
from atom_workflows.core.evaluation import render_body, render_value
from atom_workflows.core.kinds import TRIGGERS, Ended, NodeKind
from atom_workflows.core.reads import is_per_item
from atom_workflows.core.records import Policies, StepRecord
from atom_workflows.core.workflow import ForEach, JsonValue, Step, Task, Trigger, Workflow, job_request
from atom_workflows.errors import ExpressionError
from atom_workflows.expressions.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known about a run before it starts.

    The maps hold typed values by name. Nothing is known about names that are missing from them.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A planned step.

    `because` explains its fate. `job` is the body of the step's job; at the paths in `unknown`, it contains marked
    expressions in place of values that are not known. `job` is None for a barrier and for a step that does not run. A
    loop has `items` instead, unless it does not run or its list cannot be computed.
    """

    step: Step
    in_finally: bool
    fate: Fate
    because: str = ""
    job: Mapping[str, JsonValue] | None = None
    unknown: tuple[str, ...] = ()
    items: PlannedItems | None = None

    @property
    def has_unknown(self) -> bool:
        """True if a value of the step is unknown.

        This may be its list of items, a value in its job, or one in its first few items.
        """
        items = self.items
        of_items = items is not None and (bool(items.unknown) or any(item.unknown for item in items.first))
        return bool(self.unknown) or of_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run before it starts: its steps and its outputs.

    The steps are in a possible order of execution.
    """

    steps: tuple[PlannedStep, ...]
    outputs: Mapping[str, JsonValue] = field(default_factory=dict)
    unknown_outputs: tuple[str, ...] = ()
    # Why the outputs cannot be computed, although everything that they need is known.
    output_error: str = ""

    @property
    def is_bound_to_fail(self) -> bool:
        """True if a step or the outputs cannot be evaluated."""
        return bool(self.output_error) or any(one.fate is Fate.FAILS for one in self.steps)


def plan_run(workflow: Workflow, known: Known, *, path: str, with_jobs: bool = True) -> Plan:
    """Plan a run of a workflow whose file has the given path."""
    walk = _Walk(workflow, known, path, with_jobs=with_jobs)
    planned = [walk.plan(step, in_finally=False) for step in in_order(workflow.steps)]
    planned += [walk.plan(step, in_finally=True) for step in in_order(workflow.finally_steps)]
    outputs, unknown, error = walk.outputs() if with_jobs else ({}, (), "")
    return Plan(steps=tuple(planned), outputs=outputs, unknown_outputs=unknown, output_error=error)


def in_order(steps: Sequence[Step]) -> list[Step]:
    """Return the steps in a possible order of execution.

    Where there is a choice, the order in the file is kept.
    """
    place = {step.id: at for at, step in enumerate(steps)}
    behind: dict[str, list[int]] = {step.id: [] for step in steps}
    remaining = [len(step.depends_on) for step in steps]
    for at, step in enumerate(steps):
        for need in step.depends_on:
            behind[need].append(at)
    ready = [place[step.id] for step in steps if not step.depends_on]
    heapify(ready)
    ordered = []
    while ready:
        step = steps[heappop(ready)]
        ordered.append(step)
        for at in behind[step.id]:
            remaining[at] -= 1
            if not remaining[at]:
                heappush(ready, at)
    return ordered


class _Walk:
    """Plans the steps one after another and records the verdict on each."""

    def __init__(self, workflow: Workflow, known: Known, path: str, *, with_jobs: bool) -> None:
        self._workflow = workflow
        self._path = path
        self._zone = workflow.timezone
        self._with_jobs = with_jobs
        self._fates: dict[str, Fate] = {}
        self._budget_for_items = Budget(STEPS_OF_CONDITIONS)
        # What expressions can read from steps that will not run. Nothing is known about the others.
        self._skipped = Partial({})
        self._constants = {"params": Partial(known.params), "env": Partial(known.env), "run": Partial(known.run)}

    def plan(self, step: Step, *, in_finally: bool) -> PlannedStep:
        """Plan a step whose dependencies have already been planned."""
        scope = self._scope()
        fate, because = self._decide(step, scope)
        planned = PlannedStep(step=step, in_finally=in_finally, fate=fate, because=because)
        if step.task is not None and fate in {Fate.RUNS, Fate.DEPENDS}:
            try:
                if step.for_each is not None:
                    planned = self._with_items(planned, step.for_each, scope)
                elif self._with_jobs:
                    job, unknown = self._render(step, scope)
                    planned = replace(planned, job=job, unknown=unknown)
            except ExpressionError as error:
                planned = _that_fails(planned, str(error))
        self._fates[step.id] = planned.fate
        if planned.fate is Fate.SKIPPED:
            counts = dict.fromkeys(("total", "succeeded", "failed", "skipped"), 0)
            self._skipped[step.id] = {"state": "SKIPPED", "message": because, "outputs": None, "counts": counts}
        return planned

    def outputs(self) -> tuple[dict[str, JsonValue], tuple[str, ...], str]:
        """Return the run's outputs, the names of unknown ones, and any error."""
        scope = self._scope()
        values: dict[str, JsonValue] = {}
        unknown: list[str] = []
        for template in self._workflow.outputs:
            marked, missing = with_marks(template, scope, zone=self._zone)
            name = str(template.path[-1])
            unknown += [name] if missing else []
            try:
                values[name] = render_value(marked, scope, zone=self._zone)
            except ExpressionError as error:
                return values, tuple(unknown), str(error)
        return values, tuple(unknown), ""

    def _scope(self) -> dict[str, Any]:
        return {**self._constants, "steps": self._skipped, "step": {"attempt": 1, "last": None}}

    def _decide(self, step: Step, scope: Mapping[str, Any]) -> tuple[Fate, str]:
        fates = [self._fates[need] for need in step.depends_on]
        ends = {TRIGGERS[ended][step.trigger] for ended in possible_ends(fates)}
        unsure = [need for need in step.depends_on if self._fates[need] is Fate.DEPENDS]
        if None not in ends:
            broken = [need for need in step.depends_on if self._fates[need] in _FAILED]
            if broken:
                return Fate.BLOCKED, f"blocked by {listing(broken)}"
            because = f"some of its dependencies do not run, and its trigger is {step.trigger}"
            if step.trigger is Trigger.ANY_FAILED:
                because = "no step that it depends on fails, and its trigger is any-failed"
            elif all(fate is Fate.SKIPPED for fate in fates):
                because = "every step that it depends on is skipped"
            return Fate.SKIPPED, because
        # Each item of a loop may have a condition of its own.
        when = None if _has_condition_per_item(step) else step.when
        verdict = None if when is None else judge(when, scope, zone=self._zone)
        if verdict is not None and not verdict.holds and not verdict.error:
            return Fate.SKIPPED, verdict.because
        # Its dependencies decide first, then its condition.
        doubts = []
        if len(ends) > 1:
            any_of = "any of " if len(unsure) > 1 and step.trigger is Trigger.NO_FAILURE else ""
            doubts.append(f"whether {any_of}{listing(unsure)} {'run' if len(unsure) > 1 else 'runs'}")
        if when is not None and verdict is None:
            doubts.append(f"`{spell(when)}`")
        if doubts:
            return Fate.DEPENDS, f"depends on {', then on '.join(doubts)}"
        if verdict is not None and verdict.error:
            return Fate.FAILS, verdict.error
        return Fate.RUNS, "" if verdict is None else verdict.because

    def _with_items(self, planned: PlannedStep, loop: ForEach, scope: Mapping[str, Any]) -> PlannedStep:
        step = planned.step
        when = step.when if _has_condition_per_item(step) else None
        items = plan_items(loop, when, scope, zone=self._zone, budget=self._budget_for_items)
        if self._with_jobs:
            first = tuple(self._with_job(item, step, loop, scope) for item in items.first)
            items = items.with_jobs(first)
        planned = replace(planned, items=items)
        if items.failing <= loop.tolerate:
            return planned
        tolerated = f", {counted(loop.tolerate, 'item')} may" if loop.tolerate else ""
        return _that_fails(
            planned, f"{counted(items.failing, 'item')} would fail{tolerated}; first: {step.id}{items.failure}"
        )

    def _with_job(self, item: PlannedItem, step: Step, loop: ForEach, scope: Mapping[str, Any]) -> PlannedItem:
        if item.fate not in {Fate.RUNS, Fate.DEPENDS}:
            return item
        try:
            job, unknown = self._render(step, scope_of_item(item, loop, scope, self._zone))
        except ExpressionError as error:
            return replace(item, fate=Fate.FAILS, because=str(error))
        return replace(item, job=job, unknown=unknown)

    def _render(self, step: Step, scope: Mapping[str, Any]) -> tuple[Mapping[str, JsonValue], tuple[str, ...]]:
        """Return a step's job body and the paths of its unknown values.

        Raises `ExpressionError`.
        """
        task = step.task or Task()
        marked = [with_marks(template, scope, zone=self._zone) for template in task.templates]
        record = StepRecord(
            run_id="",
            id=step.id,
            kind=NodeKind.JOB,
            request=job_request(step, task, self._path),
            task_runner_url="",
            policies=Policies(timeout=step.timeout, retry=step.retry, on_lost=step.on_lost),
            templates=tuple(template for template, _ in marked),
            constants={"zone": self._zone},
            depends_on=step.depends_on,
            dependents=(),
            barriers=(),
            remaining=0,
        )
        unknown = tuple(".".join(map(str, template.path)) for template, missing in marked if missing)
        return render_body(record, scope), unknown


def _has_condition_per_item(step: Step) -> bool:
    return step.for_each is not None and step.when is not None and is_per_item(step.when)


def _that_fails(planned: PlannedStep, reason: str) -> PlannedStep:
    """Return the step, marked as failing for the given reason.

    A step that may be skipped is not marked, since it will not necessarily fail; only the reason is added.
    """
    fate = Fate.FAILS if planned.fate is Fate.RUNS else planned.fate
    because = reason if fate is Fate.FAILS else f"{planned.because}; {reason}"
    return replace(planned, fate=fate, because=because)


_FAILED: Final = frozenset({Fate.FAILS, Fate.BLOCKED})


def possible_ends(fates: Sequence[Fate]) -> set[Ended]:
    """Return the ways in which dependencies with these fates may end."""
    if any(fate in _FAILED for fate in fates):
        return {Ended.ANY_FAILED}
    may_run = [at for at, fate in enumerate(fates) if fate is not Fate.SKIPPED]
    may_skip = [at for at, fate in enumerate(fates) if fate is not Fate.RUNS]
    ends = set()
    if len(may_run) == len(fates):
        ends.add(Ended.ALL_SUCCEEDED)
    if fates and len(may_skip) == len(fates):
        ends.add(Ended.ALL_SKIPPED)
    # Some run and others are skipped.
    if may_run and may_skip and not (len(may_run) == 1 and may_run == may_skip):
        ends.add(Ended.SOME_SKIPPED)
    return ends
