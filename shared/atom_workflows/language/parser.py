"""The parser: turn the text of a workflow file into a workflow, or report every problem in it."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from atom_workflows.core.durations import format_duration
from atom_workflows.core.workflow import (
    DEFAULT_SCALE_TIER,
    DEFAULT_STEP_TIMEOUT,
    Backoff,
    OnLost,
    RetryPolicy,
    Step,
    Task,
    Workflow,
)
from atom_workflows.language.dependencies import check_dependencies
from atom_workflows.language.fields import WORKFLOW
from atom_workflows.language.json_syntax import JsonReader
from atom_workflows.language.limits import MAX_NAME, MAX_TASK_BYTES
from atom_workflows.language.nodes import Node, Reading, is_empty
from atom_workflows.language.problems import InvalidWorkflow, Place, Report
from atom_workflows.language.reader import read_record
from atom_workflows.language.tree import compose
from atom_workflows.language.warnings import warn_of_doubts
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, decode, events, prepare_for_yaml

__all__ = ["InvalidWorkflow", "parse_into", "parse_workflow"]

_MAY_BE_JSON: Final = re.compile(r"[ \t\r\n]*[{]")


def parse_workflow(text: bytes | str, *, filename: str, loader: Any = FASTEST_LOADER) -> Workflow:
    """Read a workflow from the text of its YAML or JSON file.

    `filename` is a path or a `gs://` URI. It is shown in every problem, and the workflow is named after it if the file
    sets no name. Raises only `InvalidWorkflow`, which lists every problem in the file.
    """
    return parse_into(Report(filename), text, filename=filename, loader=loader)


def parse_into(report: Report, text: bytes | str, *, filename: str, loader: Any = FASTEST_LOADER) -> Workflow:
    """Read a workflow as `parse_workflow` does, using the caller's report.

    The report counts the work done, so that tests can check its limits.
    """
    tree = _read_tree(text, filename, report, loader)
    if tree.whole and (tree.root is None or is_empty(tree.root)):
        begin = '{"steps": [' if tree.is_json else "steps:"
        report.add(Place(), "the file contains no workflow", f"begin with `{begin}`")
        report.raise_if_any()
    reading = read_record(WORKFLOW, tree.root, "", report) if tree.root else None
    if isinstance(reading, Reading):
        _check_steps(reading, report, whole=tree.whole)
    report.raise_if_any()
    if not isinstance(reading, Reading):  # pragma: no cover  # every value that could not be read has been reported
        raise TypeError("a file that is not a workflow has no reported problem")
    if not tree.is_json:
        warn_of_doubts(reading.values["steps"], report)
    values, defaults = reading.values, reading.values.get("defaults")
    return Workflow(
        name=values.get("name") or PurePosixPath(filename).stem[:MAX_NAME] or "workflow",
        description=values.get("description", ""),
        steps=tuple(_build_step(step, defaults) for step in values["steps"]),
        timeout=values.get("timeout"),
        warnings=report.warnings,
    )


class _Tree(NamedTuple):
    """The file's tree. `whole` is False if the file broke off. For JSON, all readers agree on every value."""

    root: Node | None
    whole: bool
    is_json: bool


def _read_tree(content: bytes | str, filename: str, report: Report, loader: Any) -> _Tree:
    """Read the file as JSON or YAML.

    A file whose name ends in .json is JSON. So is a file that begins with `{` and is valid JSON to its end. All other
    files are YAML.
    """
    text = decode(content, report)
    if text is None:
        return _Tree(None, whole=False, is_json=False)
    if filename.lower().endswith(".json"):
        return _Tree(*compose(JsonReader(text, report).events(), report), is_json=True)
    if _MAY_BE_JSON.match(text):
        # Keep nothing from the failed attempt, so that reading the file as YAML can reuse the memory.
        tried = Report(report.file)
        reader = JsonReader(text, tried)
        tree = _Tree(*compose(reader.events(), tried), is_json=True)
        if reader.is_json:
            report.take(tried)
            return tree
        del tried, reader, tree
    source = prepare_for_yaml(text, report)
    if source is None:
        return _Tree(None, whole=False, is_json=False)
    return _Tree(*compose(events(source, report, loader), report), is_json=False)


def _check_steps(workflow: Reading, report: Report, *, whole: bool) -> None:
    steps = workflow.values.get("steps", ())
    defaults = workflow.values.get("defaults")
    if defaults:
        _check_backoff(defaults, None, report)
    for step in steps:
        _check_backoff(step, defaults, report)
    check_dependencies(steps, workflow.node.get("steps"), report, whole=whole)
    for step in steps:
        if "task" not in step.values:
            continue
        # Values that have been reported as invalid count as null.
        text = json.dumps(step.values["task"].values, ensure_ascii=False, default=lambda _: None)
        size = len(text.encode("utf-8", "replace"))
        if size > MAX_TASK_BYTES:
            said = f"`task` is {size:,} bytes as JSON, more than the {MAX_TASK_BYTES:,} allowed"
            report.add(step.at("task"), said, "put large content into a file and name the file in `args`")


def _build_step(reading: Reading, defaults: Reading | None) -> Step:
    values = reading.values
    policies = _inside(defaults) | values
    retry = _inside(defaults, "retry") | _inside(reading, "retry")
    tries = retry.get("maxAttempts", RetryPolicy().max_attempts)
    task = None
    if "task" in values:
        job = values["task"].values
        task = Task(
            name=job.get("name"),
            image_uri=job.get("imageUri"),
            engine=job.get("engine"),
            url=job.get("url"),
            scale_tier=job.get("scaleTier", DEFAULT_SCALE_TIER),
            master_type=job.get("masterType"),
            args=job.get("args"),
            labels=job.get("labels", {}),
        )
    return Step(
        id=values["id"],
        description=values.get("description", ""),
        depends_on=tuple(node.text for node in values.get("dependsOn", ())),
        task=task,
        retry=RetryPolicy(max_attempts=tries, backoff=_merge_backoff(reading, defaults)),
        timeout=policies.get("timeout", DEFAULT_STEP_TIMEOUT),
        on_lost=OnLost(policies.get("onLost", OnLost.RETRY)),
    )


# -- policies: a step's own values, or else the file's defaults, or else the built-in values --------------------------

_BUILT_IN: Final = Backoff()


def _merge_backoff(step: Reading | None, defaults: Reading | None) -> Backoff:
    """Return the back-off, taking each field from its most specific source."""
    merged = _inside(defaults, "retry", "backoff") | _inside(step, "retry", "backoff")
    return Backoff(
        initial=merged.get("initial", _BUILT_IN.initial),
        factor=float(merged.get("factor", _BUILT_IN.factor)),
        maximum=merged.get("max", _BUILT_IN.maximum),
        jitter=float(merged.get("jitter", _BUILT_IN.jitter)),
    )


def _check_backoff(reading: Reading, inherited: Reading | None, report: Report) -> None:
    """Report a back-off whose longest delay is shorter than its first.

    Inherited values are checked as well.
    """
    own, merged = _inside(reading, "retry", "backoff"), _merge_backoff(reading, inherited)
    given = own.keys() & {"initial", "max"}
    if merged.maximum >= merged.initial or not given:
        return
    # If the other value has been reported as invalid, it is not known.
    if len(given) == 1 and (_is_flawed(reading) or _is_flawed(inherited)):
        return
    blamed = "max" if "max" in own else "initial"
    first, longest = format_duration(merged.initial), format_duration(merged.maximum)
    said = f"the first delay (`initial`, {first}) is longer than the longest delay (`max`, {longest})"
    report.add(reading.at("retry", "backoff", blamed), said, f"write a `max` of at least {first} here")


def _is_flawed(policies: Reading | None) -> bool:
    """Return True if anything in the retry policy is invalid."""
    for name in ("retry", "backoff"):
        node = policies.node.get(name) if policies else None
        policies = policies.values.get(name) if policies else None
        if node is not None and (policies is None or policies.values.keys() != policies.node.entries.keys()):
            return True
    return False


def _inside(reading: Reading | None, *path: str) -> dict[str, Any]:
    """Return the valid values of a nested map, if any."""
    for name in path:
        reading = reading.values.get(name) if reading else None
    return reading.values if reading else {}
