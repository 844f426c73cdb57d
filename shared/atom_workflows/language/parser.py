"""Turn the text of a workflow file into a workflow.

If that is not possible, every problem in the file is reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from atom_workflows.core.workflow import Workflow
from atom_workflows.language.build import CheckedValues, build_workflow
from atom_workflows.language.fields import WORKFLOW
from atom_workflows.language.json_syntax import JsonReader
from atom_workflows.language.limits import MAX_NAME
from atom_workflows.language.nodes import Node, Reading, is_empty
from atom_workflows.language.places import Source
from atom_workflows.language.problems import InvalidWorkflow, Place, Report
from atom_workflows.language.reader import read_record
from atom_workflows.language.secrets import may_have_secret
from atom_workflows.language.step_rules import check_steps
from atom_workflows.language.tree import compose
from atom_workflows.language.warnings import warn_of_doubts, warn_of_secrets
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, decode, events, prepare_for_yaml

__all__ = ["InvalidWorkflow", "parse_into", "parse_workflow"]

_PARTS: Final = ("steps", "finally")
_WITH_VALUES: Final = frozenset({"params", "outputs", "forEach"})
"""The fields that are checked even if the file has no expressions."""

_MAY_BE_JSON: Final = re.compile(r"[ \t\r\n]*[{]")


def parse_workflow(
    text: bytes | str, *, filename: str, env_names: Collection[str] | None = None, loader: Any = FASTEST_LOADER
) -> Workflow:
    """Read a workflow from the text of its YAML or JSON file.

    `filename` is a path or a `gs://` URI. It is shown in every problem, and the workflow is named after it if the file
    sets no name. `env_names` are the names that the deployment sets; without them, expressions may read any name.
    Raises only `InvalidWorkflow`, which lists every problem in the file.
    """
    return parse_into(Report(filename), text, filename=filename, env_names=env_names, loader=loader)


def parse_into(
    report: Report,
    text: bytes | str,
    *,
    filename: str,
    env_names: Collection[str] | None = None,
    loader: Any = FASTEST_LOADER,
) -> Workflow:
    """Read a workflow as `parse_workflow` does, using the caller's report.

    The report counts the work done, so that tests can check its limits.
    """
    tree = _read_tree(text, filename, report, loader)
    if tree.whole and (tree.root is None or is_empty(tree.root)):
        begin = '{"steps": [' if tree.is_json else "steps:"
        report.add(Place(), "the file contains no workflow", f"begin with `{begin}`")
        report.raise_if_any()
    reading = read_record(WORKFLOW, tree.root, "", report) if tree.root else None
    checked = CheckedValues()
    if isinstance(reading, Reading):
        check_steps(reading, report, whole=tree.whole)
        checked = _check_values(reading, report, env_names, whole=tree.whole)
    report.raise_if_any()
    if not isinstance(reading, Reading):  # pragma: no cover  # every value that could not be read has been reported
        raise TypeError("no problem was reported in a file that is not a workflow")
    steps = (*reading.values["steps"], *reading.values.get("finally", ()))
    if not tree.is_json:
        warn_of_doubts(steps, report)
    if report.source and may_have_secret(report.source.text):
        warn_of_secrets(steps, report)
    name = PurePosixPath(filename).stem[:MAX_NAME] or "workflow"
    return build_workflow(reading, checked, name=name, report=report)


class _Tree(NamedTuple):
    """The file's tree.

    `whole` is False if reading stopped early. `is_json` is True for JSON, which all readers interpret in the same way.
    """

    root: Node | None
    whole: bool
    is_json: bool


def _read_tree(content: bytes | str, filename: str, report: Report, loader: Any) -> _Tree:
    """Read the file as JSON or YAML.

    A file is JSON if its name ends in .json, or if it begins with `{` and all of it is valid JSON. All other files are
    YAML.
    """
    text = decode(content, report)
    if text is None:
        return _Tree(None, whole=False, is_json=False)
    if filename.lower().endswith(".json"):
        report.source = Source(text, is_json=True)
        return _Tree(*compose(JsonReader(text, report).events(), report), is_json=True)
    if _MAY_BE_JSON.match(text):
        # Keep nothing from the failed attempt, so that reading the file as YAML can reuse the memory.
        tried = Report(report.file)
        reader = JsonReader(text, tried)
        tree = _Tree(*compose(reader.events(), tried), is_json=True)
        if reader.is_json:
            report.take(tried)
            report.source = Source(text, is_json=True)
            return tree
        del tried, reader, tree
    source = prepare_for_yaml(text, report)
    if source is None:
        return _Tree(None, whole=False, is_json=False)
    report.source = Source(source)
    return _Tree(*compose(events(source, report, loader), report), is_json=False)


def _check_values(
    workflow: Reading, report: Report, env_names: Collection[str] | None, *, whole: bool
) -> CheckedValues:
    """Check the values, expressions and schedules."""
    parts = (workflow, *workflow.values.get("steps", ()), *workflow.values.get("finally", ()))
    has_values = any(not _WITH_VALUES.isdisjoint(part.node.entries) for part in parts)
    has_times = not workflow.node.entries.keys().isdisjoint(("schedules", "deadline"))
    if not (report.expressions or has_values or has_times):
        return CheckedValues()
    # Other files need none of this, and it takes as long to import as everything else here.
    from atom_workflows.language.checks import check_expressions  # noqa: PLC0415  # see above
    from atom_workflows.language.parameters import declare_params  # noqa: PLC0415  # see above

    params = declare_params(workflow.values.get("params", {}), workflow.values.get("timezone", "UTC"), report)
    schedules = None
    if has_times:
        from atom_workflows.language.schedules import read_schedules  # noqa: PLC0415  # only some files have them

        schedules = read_schedules(workflow, params, report)
    if not whole or any(part in workflow.node.entries and part not in workflow.values for part in _PARTS):
        return CheckedValues(params=params, schedules=schedules)
    known = None if env_names is None else frozenset(env_names)
    checks = check_expressions(workflow, params, schedules or (), report, known)
    return CheckedValues(params=params, outputs=checks.outputs, item_types=checks.item_types, schedules=schedules)
