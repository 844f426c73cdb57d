"""The workflow as the user wrote it: immutable values, valid by construction.

Outside tests, only the parser creates these values, and it rejects any file that breaks one of the rules stated here.
Durations are `timedelta`s; only the parser knows the file's notation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from atom_workflows.core.run_ids import workflow_label

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

DEFAULT_STEP_TIMEOUT: Final = timedelta(hours=10)
"""The default time limit of one attempt. The first version also gave up after ten hours."""

DEFAULT_SCALE_TIER: Final = "BASIC"


class OnLost(StrEnum):
    """The policy for a job that may or may not be running, or that its Task Runner no longer knows."""

    RETRY = "retry"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The wait before the next try: `initial * factor ** (tries - 1)`, at most `maximum`.

    `jitter` is the share of the wait, from 0 to 1, that may be subtracted so that retries do not all happen at once.
    """

    initial: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=10)
    jitter: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The maximum number of attempts at a step (1 means no retry) and the wait between them."""

    max_attempts: int = 1
    backoff: Backoff = Backoff()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The work that the Task Runner is asked to do. `args` is kept as written: a list, a map, or None."""

    name: str | None = None
    image_uri: str | None = None
    engine: str | None = None
    url: str | None = None
    scale_tier: str = DEFAULT_SCALE_TIER
    master_type: str | None = None
    args: JsonValue = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node of the graph. A step without a task is a barrier: it succeeds as soon as it is released."""

    id: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    task: Task | None = None
    timeout: timedelta = DEFAULT_STEP_TIMEOUT
    retry: RetryPolicy = RetryPolicy()
    on_lost: OnLost = OnLost.RETRY


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
    warnings: tuple[str, ...] = field(default=(), compare=False)


def job_request(step: Step, task: Task, path: str) -> dict[str, JsonValue]:
    """Build the body of `POST /job` for a step.

    `path` is the path of the workflow file; one of the job's labels is derived from it. Fields that the user left out
    are omitted.
    """
    optional: dict[str, JsonValue] = {
        "imageUri": task.image_uri,
        "engine": task.engine,
        "url": task.url,
        "scaleTier": task.scale_tier,
        "masterType": task.master_type,
        "args": task.args,
    }
    return {
        "job_name": task.name or step.id,
        **{name: value for name, value in optional.items() if value is not None},
        "labels": {**task.labels, "workflow": workflow_label(path), "type": "step"},
    }
