"""The workflow as the user wrote it: immutable values, valid by construction.

Outside tests, only the parser creates these values, and it rejects any file that breaks one of the rules stated here.
Durations are `timedelta`s; only the parser knows the file's notation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from atom_workflows.core.run_ids import workflow_label

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

DEFAULT_STEP_TIMEOUT: Final = timedelta(hours=10)
"""The default time limit for one attempt. The first version also gave up after ten hours."""

DEFAULT_SCALE_TIER: Final = "BASIC"

DEFAULT_FINALLY_TIMEOUT: Final = timedelta(hours=1)
"""The default time limit for all steps under `finally` together."""

DEFAULT_FINALLY_STEP_TIMEOUT: Final = timedelta(minutes=10)
"""The default time limit for one attempt of a step under `finally`."""


class OnLost(StrEnum):
    """The policy for a job whose state is unknown.

    The job may or may not be running, or its Task Runner no longer knows about it.
    """

    RETRY = "retry"
    FAIL = "fail"


class CatchUp(StrEnum):
    """The policy for scheduled times at which no run could start."""

    NONE = "none"
    # Start the newest of them.
    LAST = "last"


class WhenFull(StrEnum):
    """The policy for a new run when its group is full."""

    # It waits, behind the runs that came before it.
    QUEUE = "queue"
    # It waits, in place of any other run that waits.
    LATEST = "latest"
    # It is skipped.
    SKIP = "skip"


class Trigger(StrEnum):
    """How dependencies must end for a step to run (see kinds.py)."""

    NO_FAILURE = "no-failure"
    ALL_SUCCEEDED = "all-succeeded"
    ANY_FAILED = "any-failed"
    ALWAYS = "always"


class Condition(NamedTuple):
    """A true-or-false expression, without `${{ }}`, and its position in the file."""

    text: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A value containing expressions: its destination, text and position in the file.

    `path` leads to the value within the body of the job (or within a run's outputs), such as `("args", "day")`.
    """

    path: tuple[str | int, ...]
    text: str
    line: int = 1
    column: int = 1


class Backoff(NamedTuple):
    """The wait before the next try: `initial * factor ** (tries - 1)`, at most `maximum`.

    `jitter` is the fraction of the wait, from 0 to 1, that may be subtracted so that retries do not all happen at once.
    """

    initial: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=10)
    jitter: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A step's number of attempts and the wait between them.

    One attempt means no retry. `when` decides whether a failure is retried; without it, only certain kinds of failures
    are (see transitions.py).
    """

    max_attempts: int = 1
    backoff: Backoff = field(default_factory=Backoff)
    when: Condition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The work that the Task Runner is asked to do. `args` is kept as written: a list, a map, or None.

    `templates` are the values with expressions, in the order of the file; the fields themselves hold None in their
    places.
    """

    name: str | None = None
    image_uri: str | None = None
    engine: str | None = None
    url: str | None = None
    scale_tier: str = DEFAULT_SCALE_TIER
    master_type: str | None = None
    args: JsonValue = None
    labels: Mapping[str, str | None] = field(default_factory=dict)
    templates: tuple[Template, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach:
    """The items for which a step runs.

    `lists` holds JSON lists, or templates that compute lists. A single list, named "", holds the items themselves;
    otherwise, each item is a map with these names, and there is one item for every combination of the lists' elements.
    At most `max_parallel` items run at the same time, and the step succeeds if at most `tolerate` items fail.
    """

    lists: Mapping[str, Sequence[JsonValue] | Template]
    item_type: Type
    max_parallel: int | Template | None = None
    tolerate: int = 0

    @property
    def templates(self) -> tuple[Template, ...]:
        """The expressions that are evaluated once, before there are any items."""
        return tuple(one for one in (*self.lists.values(), self.max_parallel) if isinstance(one, Template))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node of the graph. A step without a task is a barrier: it succeeds as soon as it is released.

    `outputs` are the types of the values that its job has to return. With `allow_failure`, its dependents proceed as if
    it had succeeded, but without outputs. With `for_each`, the step runs once for each item.
    """

    id: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    task: Task | None = None
    timeout: timedelta = DEFAULT_STEP_TIMEOUT
    retry: RetryPolicy = RetryPolicy()
    on_lost: OnLost = OnLost.RETRY
    trigger: Trigger = Trigger.NO_FAILURE
    when: Condition | None = None
    allow_failure: bool = False
    outputs: Mapping[str, Type] = field(default_factory=dict)
    for_each: ForEach | None = None

    @property
    def is_conditional(self) -> bool:
        """True if the step's own trigger or condition affects whether it runs."""
        return self.when is not None or self.trigger is not Trigger.NO_FAILURE

    @property
    def expressions(self) -> tuple[Condition | Template, ...]:
        """All expressions of the step."""
        conditions = tuple(one for one in (self.when, self.retry.when) if one is not None)
        templates = () if self.task is None else self.task.templates
        return (*conditions, *templates, *(() if self.for_each is None else self.for_each.templates))


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter of a workflow.

    `default` is a JSON value, or a template with an empty path; a parameter without one is `required`. `limits` are
    constraints, keyed by their names in the file: enum, min, max, minLength, maxLength, minItems and maxItems.
    """

    name: str
    type: Type
    required: bool = True
    default: JsonValue | Template = None
    description: str = ""
    limits: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A workflow's schedule: a cron expression and the parameters of its runs.

    The expression is in the workflow's time zone. `templates` are the parameters that expressions compute; the path of
    each is the parameter's name. If the workflow could not be started in time, `catch_up` applies until `within` has
    passed.
    """

    cron: str
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    templates: tuple[Template, ...] = ()
    catch_up: CatchUp = CatchUp.LAST
    within: timedelta = timedelta(days=1)


class Concurrency(NamedTuple):
    """The maximum number of a workflow's runs in progress.

    Runs with the same value of `group` are counted together. At most `max_queued` runs wait, each for at most
    `max_wait`; core/groups.py decides which.
    """

    group: Template | str = ""
    limit: int = 1
    when_full: WhenFull = WhenFull.QUEUE
    max_queued: int = 100
    max_wait: timedelta = timedelta(days=1)


class Deadline(NamedTuple):
    """The time by which a run should have ended.

    It is `after` the run's scheduled time, or the first time after it at which the clock in its zone shows `at`.
    """

    after: timedelta | None = None
    at: time | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A directed acyclic graph of steps, in the order of the file.

    There is at least one step, step ids are unique, every dependency is the id of another step, and there are no
    cycles. `timeout` limits the whole run; None means that only the steps' own timeouts apply. `warnings` are about
    values in the file that may not mean what the author intended; workflows that differ only in their warnings are
    equal.
    """

    name: str
    description: str = ""
    steps: tuple[Step, ...]
    timeout: timedelta | None = None
    # `timezone` is the IANA name of the zone in which days begin and times are formatted.
    timezone: str = "UTC"
    params: tuple[Param, ...] = ()
    # The run's own outputs: templates whose paths consist of one name each.
    outputs: tuple[Template, ...] = ()
    # Steps that run once all other steps have ended, whatever the result.
    finally_steps: tuple[Step, ...] = ()
    finally_timeout: timedelta = DEFAULT_FINALLY_TIMEOUT
    # None if the file says nothing about schedules, so that uploading it starts it.
    schedules: tuple[Schedule, ...] | None = None
    concurrency: Concurrency | None = None
    deadline: Deadline | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps under `steps`, followed by those under `finally`."""
        return (*self.steps, *self.finally_steps)

    @property
    def has_loops(self) -> bool:
        """True if a step runs once for each item."""
        return any(step.for_each is not None for step in self.all_steps)

    @property
    def is_plain(self) -> bool:
        """True if the file uses none of the newer features.

        These are expressions, parameters, conditions, outputs, `finally` and `concurrency`. Versions without them can
        still coordinate such a workflow.
        """
        return not (self.params or self.outputs or self.finally_steps or self.concurrency) and not any(
            (step.task is not None and step.task.templates)
            or step.is_conditional
            or step.allow_failure
            or step.outputs
            or step.retry.when
            or step.for_each
            for step in self.steps
        )


def job_request(step: Step, task: Task, path: str) -> dict[str, JsonValue]:
    """Build the body of `POST /job` for a step.

    `path` is the path of the workflow file; one of the job's labels is derived from it. Fields that the user left out
    are omitted.
    """
    optional: dict[str, JsonValue] = {
        "imageUri": task.image_uri,
        "engine": task.engine,
        "url": task.url,
        # An expression may still give another one.
        "scaleTier": task.scale_tier or DEFAULT_SCALE_TIER,
        "masterType": task.master_type,
        "args": task.args,
    }
    return {
        "job_name": task.name or step.id,
        **{name: value for name, value in optional.items() if value is not None},
        "labels": {**task.labels, "workflow": workflow_label(path), "type": "step"},
    }


FIELDS_OF_EVERY_JOB: Final = frozenset({("job_name",), ("scaleTier",)})
"""The fields of a job's body that are never omitted."""

_OWN_LABELS: Final = frozenset({("labels", "workflow"), ("labels", "type")})


def job_templates(task: Task) -> tuple[Template, ...]:
    """Return a job body's templates, except in labels that `job_request` sets."""
    return tuple(template for template in task.templates if template.path not in _OWN_LABELS)
