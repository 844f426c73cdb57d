"""The script of a simulation: a workflow, how each of its jobs goes, and what its users do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, TypeVar

from atom_emulator.testing.world import TASK_RUNNER_URL
from atom_workflows.core.item_ids import parse_item_id
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.workflow import OnLost, Trigger, WhenFull
from simulation.language import (
    MODES,
    Condition,
    Gathered,
    Jobs,
    Numbers,
    RetryRule,
    Source,
    Value,
    Written,
    names_item,
    steps_read,
)
from simulation.loops import ITEMS_APART, Loop

FIRST: Final = "flow"
OTHER_URL: Final = "http://other-task-runner.test"
"""The Task Runner of all runs but the first."""

"""The run that most simulations have alone."""

_KEY: Final = "k"
LIMITED: Final = "limited"
"""The file of all runs of a group."""

_Scripted = TypeVar("_Scripted")


class Ending(StrEnum):
    """The ways in which a job may end by itself."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    IS_CANCELLED = "is cancelled"
    IS_REFUSED = "is refused"
    # It succeeds, but without the number that its step declares as an output.
    BREAKS_ITS_WORD = "breaks its word"
    VANISHES = "vanishes"
    NEVER_ENDS = "never ends"


STOP_TIMEOUT_S: Final = 300.0
"""How long an attempt waits for a job to stop, and as long again if the next attempt has to ask for it."""


LEASE_S: Final = 180.0
"""How long a dispatcher may work on an attempt, and the next attempt believes no one who says that it has no job."""


class Stops(StrEnum):
    """The ways in which a Task Runner may stop jobs."""

    AT_ONCE = "at once"
    SLOWLY = "slowly"
    # It accepts the request, and does nothing.
    NEVER = "never"
    CANNOT = "cannot"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """A step, and the script of its attempts: the last of the `endings` is that of all attempts behind it.

    So it is with `numbers`, what its jobs return, and `reasons`, why they fail. Without numbers, the step declares no
    outputs.

    With a `loop`, this is the script of each item, except that the endings of the first items are `items_end`, in turn.
    The plan of an item has its `index` and its `item`, and is otherwise like a step's.
    """

    id: str
    depends_on: tuple[str, ...] = ()
    has_task: bool = True
    image: str = "image"
    max_attempts: int = 1
    on_lost: OnLost = OnLost.RETRY
    timeout_s: int = 3600
    backoff_s: int = 5
    duration_s: int = 0
    endings: tuple[Ending, ...] = (Ending.SUCCEEDS,)
    trigger: Trigger = Trigger.NO_FAILURE
    when: Condition | None = None
    allows_failure: bool = False
    retried: RetryRule | None = None
    numbers: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ("",)
    args: tuple[tuple[str, Value], ...] = ()
    loop: Loop | None = None
    items_end: tuple[tuple[Ending, ...], ...] = ()
    index: int | None = None
    item: Any = None

    def ending(self, attempt: int) -> Ending:
        """Return how the job of this attempt ends; the first is 1."""
        return _of_attempt(self.endings, attempt)

    def number(self, attempt: int) -> int:
        """Return the number that the job of this attempt returns."""
        return _of_attempt(self.numbers, attempt)

    def reason(self, attempt: int) -> str:
        """Return the Task Runner's word for why this attempt failed."""
        return _of_attempt(self.reasons, attempt)

    def of_item(self, index: int, item: Any = None) -> StepPlan:
        """Return the plan of one of its items."""
        endings = self.items_end[index] if index < len(self.items_end) else self.endings
        numbers = tuple(number + ITEMS_APART * index for number in self.numbers)
        return replace(self, loop=None, index=index, item=item, endings=endings, numbers=numbers, allows_failure=False)

    @property
    def own_condition(self) -> Condition | None:
        """The condition of the step itself, not of its items."""
        return None if self.loop is not None and self.when is not None and names_item(self.when) else self.when

    @property
    def lists(self) -> list[Source]:
        """The lists of its loop."""
        return [] if self.loop is None else [source for _, source in self.loop.lists]

    @property
    def all_endings(self) -> set[Ending]:
        """The endings of all its jobs."""
        return {*self.endings, *(ending for endings in self.items_end for ending in endings)}

    @property
    def reads(self) -> set[str]:
        """The steps that its expressions read."""
        conditions = [] if self.when is None else [self.when]
        return {
            name for one in (*conditions, *(value for _, value in self.args), *self.lists) for name in steps_read(one)
        }

    @property
    def is_plain(self) -> bool:
        """True if it uses nothing that earlier versions do not know."""
        has_own_end = self.when or self.allows_failure or self.retried or self.trigger is not Trigger.NO_FAILURE
        return not (has_own_end or self.numbers or self.args or self.loop)

    def only(self, kept: Collection[str]) -> StepPlan:
        """Return the step as it is if there are only those steps."""
        needs = tuple(need for need in self.depends_on if need in kept)
        return replace(
            self,
            depends_on=needs,
            # A trigger is about dependencies.
            trigger=self.trigger if needs else Trigger.NO_FAILURE,
            when=None if self.when is None or set(steps_read(self.when)) - set(kept) else self.when,
            args=_only(self.args, kept),
            loop=None if self.loop is None else _only_known(self.loop, kept),
        )

    def as_definition(self) -> dict[str, Any]:
        """Return the step as a workflow file has it."""
        fields: dict[str, Any] = {"id": self.id, "dependsOn": list(self.depends_on)}
        if self.trigger is not Trigger.NO_FAILURE:
            fields["trigger"] = self.trigger.value
        if self.when is not None:
            fields["when"] = str(self.when)
        if not self.has_task:
            return fields
        retry: dict[str, Any] = {"maxAttempts": self.max_attempts, "backoff": {"initial": f"{self.backoff_s}s"}}
        args = {"args": {name: str(value) for name, value in self.args}} if self.args else {}
        return (
            fields
            | {
                "task": {"imageUri": self.image, **args},
                "retry": retry | ({} if self.retried is None else {"when": str(self.retried)}),
                "onLost": self.on_lost.value,
                "timeout": f"{self.timeout_s}s",
            }
            | ({"allowFailure": True} if self.allows_failure else {})
            | ({"outputs": {"n": "int", "job": "text"}} if self.numbers else {})
            | ({} if self.loop is None else self.loop.as_definition())
        )


def _of_attempt(script: Sequence[_Scripted], attempt: int) -> _Scripted:
    return script[min(attempt, len(script)) - 1]


def _only(values: tuple[tuple[str, Value], ...], kept: Collection[str]) -> tuple[tuple[str, Value], ...]:
    return tuple((name, value) for name, value in values if not set(steps_read(value)) - set(kept))


def _only_known(loop: Loop, kept: Collection[str]) -> Loop:
    """Return the loop with lists in place of those that read other steps."""
    lists = tuple((name, Written((1, 2)) if set(steps_read(one)) - set(kept) else one) for name, one in loop.lists)
    return replace(loop, lists=lists)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A workflow, its script, and how a run of it is started.

    `name` distinguishes the runs of a simulation. `cancels`, `retries` and `doctors` are how often users ask for these
    at the most, while anything goes wrong. They think it over for `retry_after_s` before they retry a run. Once all is
    over, they name steps to run again, in `selections` more retries, and mark steps, `marks` times at the most.

    The definition is part of the message that starts it, or of a file. A file may be replaced by `newer`.

    `stops` is how its Task Runner stops jobs, slowly within `stop_after_s`, and `notifies` whether it reports their
    ends. `looks_up` says whether it finds jobs by their keys, which it does once they are `listed_after_s` old. If it
    `takes_keys`, a key without a job becomes that of a job which was cancelled, and starts none later.

    With `limit`, the file limits how many of its runs are at work, and all runs of the simulation are of this file:
    `when_full`, `max_queued` and `max_wait_s` say what becomes of the others.

    `mode` is its parameter; a run whose definition declares none has "". `finally_steps` have ids of their own, and
    `outputs` are the run's.
    """

    name: str = FIRST
    steps: tuple[StepPlan, ...]
    finally_steps: tuple[StepPlan, ...] = ()
    finally_timeout_s: int = 3600
    outputs: tuple[tuple[str, Value], ...] = ()
    mode: str = ""
    starts_at: float = 0.0
    is_file: bool = False
    description: str = ""
    timeout_s: int | None = None
    honors_keys: bool = True
    stops: Stops = Stops.AT_ONCE
    stop_after_s: float = 0.0
    notifies: bool = False
    looks_up: bool = True
    listed_after_s: float = 0.0
    takes_keys: bool = False
    cancels: int = 0
    cancels_at_once: bool = False
    retries: int = 0
    retry_after_s: float = 0.0
    selections: int = 0
    marks: int = 0
    doctors: int = 0
    limit: int = 0
    when_full: WhenFull = WhenFull.QUEUE
    max_queued: int = 100
    max_wait_s: int = 86_400

    @cached_property
    def by_id(self) -> Mapping[str, StepPlan]:
        """The steps by id; each stands behind what it depends on."""
        return {step.id: step for step in self.all_steps}

    def plan_of(self, node_id: str, item: Any = None) -> StepPlan | None:
        """Return the plan of a step or of an item, None if it is neither."""
        found = parse_item_id(node_id)
        return self.by_id.get(node_id) if found is None else self.by_id[found.each].of_item(found.index, item)

    def script_of(self, node_id: str) -> StepPlan:
        """Return the plan of a step or of an item, as far as a Task Runner knows it."""
        plan = self.plan_of(node_id)
        assert plan is not None
        return plan

    @cached_property
    def gathers(self) -> Mapping[str, frozenset[str]]:
        """The outputs that each loop gathers: those that some expression reads."""
        values = [value for step in self.all_steps for _, value in step.args] + [value for _, value in self.outputs]
        numbers = {one.step for one in values if isinstance(one, Numbers)}
        numbers |= {one.step for step in self.all_steps for one in step.lists if isinstance(one, Gathered)}
        jobs = {one.step for one in values if isinstance(one, Jobs)}
        names = {"n": numbers, "job": jobs}
        loops = [step.id for step in self.all_steps if step.loop is not None]
        return {step_id: frozenset(name for name, read in names.items() if step_id in read) for step_id in loops}

    @property
    def all_steps(self) -> tuple[StepPlan, ...]:
        """The steps, then those under `finally`."""
        return (*self.steps, *self.finally_steps)

    @cached_property
    def finally_ids(self) -> frozenset[str]:
        """The ids of the steps under `finally`."""
        return frozenset(step.id for step in self.finally_steps)

    @property
    def is_plain(self) -> bool:
        """True if the definition uses nothing that earlier versions do not know."""
        return not (self.finally_steps or self.outputs or self.mode or self.limit) and all(
            step.is_plain for step in self.steps
        )

    @property
    def path(self) -> str:
        """The path of its definition, even if that comes in the message."""
        if self.limit:
            return f"{LIMITED}.yaml"
        return f"gs://bucket/{self.name}.yaml" if self.is_file else f"{self.name}.yaml"

    @property
    def label(self) -> str:
        """The label of its jobs, which names its file."""
        return LIMITED if self.limit else self.name

    @property
    def key(self) -> str:
        """The key that distinguishes it from other runs of its file."""
        return self.name if self.limit else _KEY

    @cached_property
    def run_id(self) -> str:
        """The id of the run that it becomes."""
        return run_id_for(self.path, "key", self.key)

    @property
    def start(self) -> Mapping[str, Any]:
        """The body of the message that starts it."""
        definition = {} if self.is_file else {"definition": self.definition}
        elsewhere = {} if self.name == FIRST else {"tr_url": self.task_runner_url}
        # The first mode is the default.
        params = {"params": {"mode": self.mode}} if self.mode not in {"", MODES[0]} else {}
        return {"workflow_path": self.path, "run_key": self.key, **elsewhere, **definition, **params}

    @property
    def task_runner_url(self) -> str:
        """The Task Runner of its jobs."""
        return TASK_RUNNER_URL if self.name == FIRST else OTHER_URL

    @property
    def mark(self) -> str:
        """The prefix of its steps' names where several runs are distinguished."""
        return "" if self.name == FIRST else f"{self.name}/"

    @cached_property
    def newer(self) -> Scenario:
        """The next version of the file: it has a step less."""
        left = self.steps[: max(1, len(self.steps) - 1)]
        return replace(self.only({step.id for step in left} | self.finally_ids), description="newer")

    @cached_property
    def versions(self) -> Mapping[str, Scenario]:
        """The versions of the file by the digest that their runs store."""
        known = (self, self.newer) if self.is_file else (self,)
        return {hashlib.sha256(one.definition.encode()).hexdigest(): one for one in known}

    @cached_property
    def definition(self) -> str:
        """The workflow file."""
        fields: dict[str, Any] = {"name": "flow", "steps": [step.as_definition() for step in self.steps]}
        if self.description:
            fields["description"] = self.description
        if self.timeout_s is not None:
            fields["timeout"] = f"{self.timeout_s}s"
        if self.limit:
            fields["concurrency"] = {
                "limit": self.limit,
                "whenFull": self.when_full.value,
                "maxQueued": self.max_queued,
                "maxWait": f"{self.max_wait_s}s",
            }
        if self.mode:
            fields["params"] = {"mode": {"type": "text", "enum": list(MODES), "default": MODES[0]}}
        if self.finally_steps:
            fields["finally"] = [step.as_definition() for step in self.finally_steps]
            fields["finallyTimeout"] = f"{self.finally_timeout_s}s"
        if self.outputs:
            fields["outputs"] = {name: str(value) for name, value in self.outputs}
        return json.dumps(fields)

    def only(self, kept: Collection[str]) -> Scenario:
        """Return the scenario with these steps alone.

        What reads or depends on other steps is dropped.
        """
        return replace(
            self,
            steps=tuple(step.only(kept) for step in self.steps if step.id in kept),
            finally_steps=tuple(step.only(kept) for step in self.finally_steps if step.id in kept),
            outputs=_only(self.outputs, kept),
        )
