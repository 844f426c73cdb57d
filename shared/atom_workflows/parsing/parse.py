"""The parser: the text of a workflow file in, a workflow or every problem of the file out."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from atom_workflows.core.workflow import DEFAULT_SCALE_TIER, Step, Task, Workflow
from atom_workflows.parsing.compose import compose
from atom_workflows.parsing.dependencies import check_dependencies
from atom_workflows.parsing.fields import WORKFLOW
from atom_workflows.parsing.limits import MAX_NAME, MAX_TASK_BYTES
from atom_workflows.parsing.nodes import Node
from atom_workflows.parsing.policies import check_backoffs, other_policies, retry_policy
from atom_workflows.parsing.problems import InvalidWorkflow, Place, Report
from atom_workflows.parsing.read import read_record
from atom_workflows.parsing.readings import Reading, is_empty
from atom_workflows.parsing.source import decode, json_as_yaml
from atom_workflows.parsing.syntax import FASTEST_LOADER

__all__ = ["InvalidWorkflow", "parse_workflow"]


def parse_workflow(text: bytes | str, *, filename: str, loader: Any = FASTEST_LOADER) -> Workflow:
    """Read a workflow from the text of its file, YAML or JSON.

    `filename` is named in every problem and gives the workflow its name if the file has none; it may be a path or a
    `gs://` address. Raises `InvalidWorkflow`, and nothing else, with every problem of the file.
    """
    report = Report(filename)
    root, whole = _tree(text, filename, report, loader)
    reading = read_record(WORKFLOW, root, "", report) if root else None
    if isinstance(reading, Reading):
        _check(reading, report, whole=whole)
    report.raise_if_any()
    if not isinstance(reading, Reading):  # pragma: no cover  # whatever was not read was noted
        raise TypeError("a file that is not a workflow had no problem")
    return _workflow(reading, filename)


def _tree(text: bytes | str, filename: str, report: Report, loader: Any) -> tuple[Node | None, bool]:
    source = decode(text, report)
    if source is None:
        return None, False
    source = json_as_yaml(source) if filename.lower().endswith(".json") else source
    root, whole = compose(source, report, loader)
    if whole and (root is None or is_empty(root)):
        report.add(Place(), "the file has no workflow in it", "begin with `steps:`")
        return None, whole
    return root, whole


def _check(workflow: Reading, report: Report, *, whole: bool) -> None:
    steps = workflow.values.get("steps", ())
    check_backoffs(steps, workflow.values.get("defaults"), report)
    check_dependencies(steps, workflow.node.get("steps"), report, whole=whole)
    for step in steps:
        _check_task_size(step, report)


def _check_task_size(step: Reading, report: Report) -> None:
    task = step.values.get("task")
    if task is None:
        return
    size = len(json.dumps(task.values, ensure_ascii=False, default=str).encode("utf-8", "replace"))
    if size > MAX_TASK_BYTES:
        said = f"`task` is {size:,} bytes as JSON, more than the {MAX_TASK_BYTES:,} allowed"
        report.add(step.at("task"), said, "put what is large into a file and name that in `args`")


def _workflow(reading: Reading, filename: str) -> Workflow:
    values = reading.values
    defaults = values.get("defaults")
    return Workflow(
        name=values.get("name") or _name_of(filename),
        description=values.get("description", ""),
        steps=tuple(_step(step, defaults) for step in values["steps"]),
        timeout=values.get("timeout"),
    )


def _name_of(filename: str) -> str:
    return PurePosixPath(filename).stem[:MAX_NAME] or "workflow"


def _step(reading: Reading, defaults: Reading | None) -> Step:
    values = reading.values
    return Step(
        id=values["id"],
        description=values.get("description", ""),
        depends_on=tuple(node.text for node in values.get("dependsOn", ())),
        task=_task(values["task"].values) if "task" in values else None,
        retry=retry_policy(reading, defaults),
        **other_policies(reading, defaults),
    )


def _task(values: dict[str, Any]) -> Task:
    return Task(
        name=values.get("name"),
        image_uri=values.get("imageUri"),
        engine=values.get("engine"),
        url=values.get("url"),
        scale_tier=values.get("scaleTier", DEFAULT_SCALE_TIER),
        master_type=values.get("masterType"),
        args=values.get("args"),
        labels=values.get("labels", {}),
    )
