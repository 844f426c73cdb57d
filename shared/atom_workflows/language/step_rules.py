"""Rules that involve several fields of a step, or its dependencies."""

from __future__ import annotations

import json
from typing import Final

from atom_workflows.language.dependencies import Part, check_dependencies
from atom_workflows.language.embedded import Embedded
from atom_workflows.language.limits import MAX_TASK_BYTES
from atom_workflows.language.nodes import Items, Reading
from atom_workflows.language.policies import check_backoff
from atom_workflows.language.problems import Report
from atom_workflows.language.step_fields import STEP

_FIELDS_OF_STEPS: Final = frozenset(STEP.names)
_FIELDS_OF_LOOPS: Final = ("maxParallel", "tolerate")


def check_steps(workflow: Reading, report: Report, *, whole: bool) -> None:
    """Check the fields of each step, and the dependencies between steps.

    If reading stopped early (`whole` is False), any step may be missing.
    """
    steps, last = workflow.values.get("steps", ()), workflow.values.get("finally", ())
    defaults = workflow.values.get("defaults")
    if defaults:
        check_backoff(defaults, None, report)
    for step in (*steps, *last):
        check_backoff(step, defaults, report)
    parts = [Part(steps=workflow.values.get(name, ()), node=workflow.node.get(name)) for name in ("steps", "finally")]
    check_dependencies(parts[0], parts[1], report, whole=whole)
    for step in (*steps, *last):
        entries = step.node.entries
        dependencies = step.node.get("dependsOn")
        has_none = dependencies is None or (isinstance(dependencies, Items) and not dependencies.items)
        if "trigger" in entries and has_none:
            said = "`trigger` depends on how dependencies end, but this step has none"
            report.add(entries["trigger"].key, said, "add `dependsOn`, or remove `trigger`")
        # An unknown field, such as one that belongs inside `task`, may be what makes this step a job.
        if "task" not in entries and entries.keys() <= _FIELDS_OF_STEPS:
            for name in ("outputs", "forEach") & entries.keys():
                said = f"a barrier cannot have `{name}`, since it does not run a job"
                report.add(entries[name].key, said, f"add a `task`, or remove `{name}`")
        _check_fields_of_loop(step, report)
        if "task" not in step.values:
            continue
        # Values that have been reported as invalid count as null, and expressions count as written.
        text = json.dumps(
            step.values["task"].values,
            ensure_ascii=False,
            default=lambda value: value.text if isinstance(value, Embedded) else None,
        )
        size = len(text.encode("utf-8", "replace"))
        if size > MAX_TASK_BYTES:
            said = f"`task` is {size:,} bytes as JSON, more than the {MAX_TASK_BYTES:,} allowed"
            report.add(step.at("task"), said, "put large content into a file and name the file in `args`")


def _check_fields_of_loop(step: Reading, report: Report) -> None:
    entries = step.node.entries
    for name in _FIELDS_OF_LOOPS:
        if name in entries and "forEach" not in entries:
            said = f"`{name}` applies only to a step with `forEach`"
            report.add(entries[name].key, said, f"add `forEach`, or remove `{name}`")
