"""The body of a job, as the first version sent it."""

from __future__ import annotations

from atom_workflows.core.run_ids import workflow_label
from atom_workflows.core.workflow import JsonValue, Step, Task


def job_request(step: Step, task: Task, path: str) -> dict[str, JsonValue]:
    """Build the body of `POST /job` for a step.

    `path` is the workflow file's. Fields that the user left out are left out.
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
