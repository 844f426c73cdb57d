"""The script of a simulation: a workflow, how each of its jobs goes, and what its users do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from atom_emulator.testing.world import TASK_RUNNER_URL
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.workflow import OnLost

FIRST: Final = "flow"
OTHER_URL: Final = "http://other-task-runner.test"
"""The Task Runner of all runs but the first."""

"""The run that most simulations have alone."""

_KEY: Final = "k"


class Ending(StrEnum):
    """The ways in which a job may end by itself."""

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
        """Return how the job of this attempt ends; the first is 1."""
        return self.endings[min(attempt, len(self.endings)) - 1]

    def as_definition(self) -> dict[str, Any]:
        """Return the step as a workflow file has it."""
        fields: dict[str, Any] = {"id": self.id, "dependsOn": list(self.depends_on)}
        if not self.has_task:
            return fields
        backoff = {"initial": f"{self.backoff_s}s"}
        return fields | {
            "task": {"imageUri": "image"},
            "retry": {"maxAttempts": self.max_attempts, "backoff": backoff},
            "onLost": self.on_lost.value,
            "timeout": f"{self.timeout_s}s",
        }


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A workflow, its script, and how a run of it is started.

    `name` distinguishes the runs of a simulation. `cancels`, `retries` and `doctors` are how often users ask for these
    at the most, while anything goes wrong. They think it over for `retry_after_s` before they retry a run.

    The definition is part of the message that starts it, or of a file. A file may be replaced by `newer`.
    """

    name: str = FIRST
    steps: tuple[StepPlan, ...]
    starts_at: float = 0.0
    is_file: bool = False
    description: str = ""
    timeout_s: int | None = None
    honours_keys: bool = True
    cancels: int = 0
    retries: int = 0
    retry_after_s: float = 0.0
    doctors: int = 0

    @cached_property
    def by_id(self) -> Mapping[str, StepPlan]:
        """The steps by id; each stands behind what it depends on."""
        return {step.id: step for step in self.steps}

    @property
    def path(self) -> str:
        """The path of its definition, even if that comes in the message."""
        return f"gs://bucket/{self.name}.yaml" if self.is_file else f"{self.name}.yaml"

    @cached_property
    def run_id(self) -> str:
        """The id of the run that it becomes."""
        return run_id_for(self.path, "key", _KEY)

    @property
    def start(self) -> Mapping[str, Any]:
        """The body of the message that starts it."""
        definition = {} if self.is_file else {"definition": self.definition}
        elsewhere = {} if self.name == FIRST else {"tr_url": self.task_runner_url}
        return {"workflow_path": self.path, "run_key": _KEY, **elsewhere, **definition}

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
        return replace(self, steps=self.steps[: max(1, len(self.steps) - 1)], description="newer")

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
        return json.dumps(fields)

    def only(self, kept: Collection[str]) -> Scenario:
        """Return the scenario with these steps alone.

        Dependencies on other steps are dropped.
        """
        steps = [step for step in self.steps if step.id in kept]
        pruned = (replace(step, depends_on=tuple(d for d in step.depends_on if d in kept)) for step in steps)
        return replace(self, steps=tuple(pruned))
