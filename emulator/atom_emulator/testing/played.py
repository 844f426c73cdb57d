"""A run that was played to its end, as a test sees it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from atom_emulator.testing.functions import Functions
from atom_workflows.core.gathering import counts_of
from atom_workflows.core.item_ids import parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.workflow import Workflow
from atom_workflows.documents import outputs_path, run_path, step_path, steps_path
from atom_workflows.ports import Fields, Query

_MOST_NAMED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedStep:
    """A step at the end of the run. Times count from the start of the run, and are None if the step never began.

    `outputs` are those that the step declares, as JSON values, and empty unless it succeeded. `reason` is what the Task
    Runner gave for the end of its last job, such as OOM. `because` is the step's condition or trigger, with the values
    on which it was decided whether the step runs. A SKIPPED step was either `skipped_by_choice`, by its own condition
    or trigger, or else blocked by the step that `cause` names, which failed. A step that is `tolerated` failed under
    `allowFailure`. A step with `forEach` has `counts` of its items: `total`, `succeeded`, `failed` and `skipped`. It
    has no attempts, since its items have them.
    """

    state: str
    attempts: int
    message: str
    began: timedelta | None
    ended: timedelta | None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    because: str = ""
    skipped_by_choice: bool = False
    cause: str = ""
    tolerated: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A call that asked the Task Runner for a job, regardless of the answer. `job` is its body.

    `step` is the step, or an item of one, such as `train[3]`.
    """

    step: str
    attempt: int
    at: timedelta
    job: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A run that has ended.

    `took` is the duration of the run in virtual time, `errors` are the reasons if it did not succeed, `params` are the
    values of its parameters with the defaults filled in, `outputs` are the run's own, `steps` and `submissions` are in
    order, `items` are those of all steps with `forEach`, by names such as `train[3]`, and `reports` are the messages
    published to the topic `events`.
    """

    run_id: str
    state: str
    took: timedelta
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    steps: Mapping[str, PlayedStep]
    submissions: tuple[Submission, ...]
    reports: tuple[Mapping[str, Any], ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    items: Mapping[str, PlayedStep] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, str]:
        """The state of each step."""
        return {name: step.state for name, step in self.steps.items()}

    @property
    def attempts(self) -> dict[str, int]:
        """The number of attempts of each step."""
        return {name: step.attempts for name, step in self.steps.items()}

    def step(self, name: str) -> PlayedStep:
        """Return one step, or one item such as `train[3]`.

        Raises `LookupError` if the run has no such step.
        """
        found = self.steps.get(name) or self.items.get(name)
        if found is None:
            raise LookupError(f"there is no step {name}; the steps are {list_names(self.steps)}")
        return found

    def items_of(self, name: str) -> dict[str, PlayedStep]:
        """Return the items of one step by their names, in order.

        Raises `LookupError` if the run has no such step.
        """
        self.step(name)
        return {item: played for item, played in self.items.items() if _step_of(item) == name}

    def jobs(self, name: str) -> list[Mapping[str, Any]]:
        """Return the bodies of the submissions of one step, all of its items included, or of one item, in order.

        Raises `LookupError` if the run has no such step.
        """
        self.step(name)
        return [one.job for one in self.submissions if name in {one.step, _step_of(one.step)}]


def read_run(functions: Functions, run_id: str, workflow: Workflow) -> Played:
    """Return the run as its documents, messages and jobs show it."""
    world, steps = functions.world, workflow.all_steps
    paths = [of_step(run_id, step.id) for of_step in (step_path, outputs_path) for step in steps]
    # An INVALID run has no steps.
    run, *found = (
        {} if document is None else document.fields for document in world.store.inner.get([run_path(run_id), *paths])
    )
    began = run["created_at"]
    items = dict(_read_items(functions, run_id, began)) if workflow.has_loops else {}
    submissions = []
    for (key, job), at in zip(world.task_runner.submitted, world.task_runner.submitted_at, strict=True):
        _, step, attempt = key.split("/")
        submissions.append(Submission(step=shown_id(step), attempt=int(attempt), at=at - began, job=job))
    return Played(
        run_id=run_id,
        state=run["state"],
        took=run["finished_at"] - began,
        errors=tuple(": ".join(filter(None, (one["step"], one["message"]))) for one in run.get("errors", ())),
        warnings=tuple(run.get("warnings", ())),
        steps={
            step.id: _read_step(fields, outputs, began, counts=counts_of(fields) if step.for_each else {})
            for step, fields, outputs in zip(steps, found[: len(steps)], found[len(steps) :], strict=True)
            if fields
        },
        submissions=tuple(submissions),
        reports=tuple(change for message in world.changes() for change in message.body["changes"]),
        params=_read_values(run, "params"),
        outputs=_read_values(run, "outputs"),
        items=items,
    )


def _read_items(functions: Functions, run_id: str, began: datetime) -> Iterator[tuple[str, PlayedStep]]:
    """Yield the items of a run by their names, in order."""
    store = functions.world.store.inner
    found = store.query(Query(collection=steps_path(run_id), where=[("kind", "==", NodeKind.ITEM.value)]))
    found = sorted(found, key=lambda document: (document.fields["each"], document.fields["index"]))
    outputs = store.get([outputs_path(run_id, document.id) for document in found])
    for document, returned in zip(found, outputs, strict=True):
        yield shown_id(document.id), _read_step(document.fields, returned.fields if returned else {}, began)


def _step_of(name: str) -> str:
    """Return the step that an item belongs to, given the item's name, or else the name itself."""
    item = parse_item_id(name)
    return item.each if item else name


def _read_step(
    fields: Fields, outputs: Fields, run_began: datetime, *, counts: Mapping[str, int] | None = None
) -> PlayedStep:
    began, ended = fields.get("started_at"), fields.get("finished_at")
    return PlayedStep(
        state=fields["state"],
        attempts=0 if fields.get("kind") == NodeKind.GATHER else fields.get("attempt", 0),
        message=fields.get("message", ""),
        began=began and began - run_began,
        ended=ended and ended - run_began,
        outputs=_read_values(outputs, "values"),
        reason=fields.get("reason", ""),
        because=fields.get("because", ""),
        skipped_by_choice=fields.get("by_choice", False),
        cause=fields.get("cause") or "",
        tolerated=fields.get("tolerated", False),
        counts=counts or {},
    )


def _read_values(fields: Fields, name: str) -> Mapping[str, Any]:
    """Return values that are stored as JSON text, which is missing or empty if there are none."""
    values: Mapping[str, Any] = json.loads(fields.get(name) or "{}")
    return values


def list_names(names: Collection[str]) -> str:
    """Return the names separated by commas, shortening a long list."""
    shown = ", ".join(list(names)[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown
