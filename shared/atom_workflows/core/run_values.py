"""The values of a run that expressions can read: its parameters, `run.*` and `env.*`.

They are fixed when the run starts, so each step is given those that its expressions read, and no step has to read the
run's document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.core.evaluation import Constants
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import JsonValue, Workflow

RUN_TYPES: Final[Mapping[str, Any]] = {
    "id": "text",
    "workflow": "text",
    "createdAt": "instant",
    "scheduledAt": "instant",
    "window": "{start: instant, end: instant} or null",
    "trigger": "text",
    "labels": "any",
    "scratch": "text or null",
}
"""What `run` holds in every expression, with the notation of its types."""


def constants_of(run: RunRecord, workflow: Workflow) -> Constants:
    """Return the values that a run's expressions can read when it starts."""
    if workflow.is_plain:
        return Constants(values={}, types={})
    from atom_workflows.expressions.types import write_type  # noqa: PLC0415 (only runs with expressions need it)

    params = {one.name: run.params[one.name] for one in workflow.params if one.name in run.params}
    return Constants(
        values={"params": params, "run": run_values(run), "env": dict(run.env)},
        types={
            "params": {one.name: write_type(one.type) for one in workflow.params},
            "run": RUN_TYPES,
            "env": dict.fromkeys(run.env, "text"),
        },
        zone=workflow.timezone,
    )


def run_values(run: RunRecord) -> dict[str, JsonValue]:
    """Return what `run` holds, as JSON values."""
    created_at = run.created_at.isoformat()
    return {
        "id": run.id,
        "workflow": run.workflow,
        "createdAt": created_at,
        # A run that no schedule started counts as scheduled for the time at which it was created.
        "scheduledAt": created_at,
        "window": None,
        "trigger": str(run.trigger.get("kind", "")),
        "labels": dict(run.labels),
        "scratch": None,
    }
