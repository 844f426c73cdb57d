"""What a simulation plays: a workflow, how each of its jobs goes, and what its users do."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from atom_workflows.core.workflow import OnLost


class Ending(StrEnum):
    """How the job of an attempt ends by itself."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    IS_CANCELLED = "is cancelled"
    IS_REFUSED = "is refused"
    VANISHES = "vanishes"
    NEVER_ENDS = "never ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """A step, and the script of its attempts: the last of the `endings` is that of all attempts behind it."""

    id: str
    depends_on: tuple[str, ...] = ()
    has_task: bool = True
    max_attempts: int = 1
    on_lost: OnLost = OnLost.RETRY
    timeout_s: int = 3600
    backoff_s: int = 5
    duration_s: int = 0
    endings: tuple[Ending, ...] = (Ending.SUCCEEDS,)

    def ending(self, attempt: int) -> Ending:
        """How the job of this attempt (from 1) ends."""
        return self.endings[min(attempt, len(self.endings)) - 1]

    def as_definition(self) -> dict[str, Any]:
        """The step as a workflow file says it."""
        told: dict[str, Any] = {"id": self.id, "dependsOn": list(self.depends_on)}
        if not self.has_task:
            return told
        backoff = {"initial": f"{self.backoff_s}s"}
        return told | {
            "task": {"imageUri": "image"},
            "retry": {"maxAttempts": self.max_attempts, "backoff": backoff},
            "onLost": self.on_lost.value,
            "timeout": f"{self.timeout_s}s",
        }


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A workflow and its script. `cancels` and `retries` are how often users ask for these at the most."""

    steps: tuple[StepPlan, ...]
    timeout_s: int | None = None
    honours_keys: bool = True
    cancels: int = 0
    retries: int = 0

    @cached_property
    def by_id(self) -> Mapping[str, StepPlan]:
        """The steps by id; each stands behind what it depends on."""
        return {step.id: step for step in self.steps}

    @cached_property
    def definition(self) -> str:
        """The workflow file."""
        told: dict[str, Any] = {"name": "flow", "steps": [step.as_definition() for step in self.steps]}
        if self.timeout_s is not None:
            told["timeout"] = f"{self.timeout_s}s"
        return json.dumps(told)

    def only(self, kept: Collection[str]) -> Scenario:
        """The same with these steps alone; what depended on one that is gone depends on one less."""
        steps = [step for step in self.steps if step.id in kept]
        pruned = (replace(step, depends_on=tuple(d for d in step.depends_on if d in kept)) for step in steps)
        return replace(self, steps=tuple(pruned))
