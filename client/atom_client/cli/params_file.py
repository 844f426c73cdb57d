"""Read a parameter file, which is a YAML or JSON map.

It follows the rules for workflow files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atom_workflows.language.json_syntax import JsonReader
from atom_workflows.language.nodes import Broken, Fields, Items, Node, Scalar, Unclear, resolve
from atom_workflows.language.places import Source
from atom_workflows.language.problems import Place, Report, code, in_quotes
from atom_workflows.language.tree import compose
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, decode, events, prepare_for_yaml

if TYPE_CHECKING:
    from atom_workflows.core.workflow import JsonValue

_TIMES = frozenset({"a date", "a base-60 number for some YAML readers"})
"""Interpretations of unquoted dates and times; a parameter file keeps such values as written."""


def read_params_file(content: bytes, filename: str) -> dict[str, JsonValue]:
    """Return the values in the file by parameter name.

    Raises `InvalidWorkflow` with every problem in the file.
    """
    report = Report(filename)
    root = _read_tree(content, filename, report)
    values = None if root is None else _value_of(root, report)
    if not isinstance(root, Fields):
        report.add(root or Place(), "the parameter file must be a map", "write `name: value` on each line")
    report.raise_if_any()
    return values if isinstance(values, dict) else {}


def _read_tree(content: bytes, filename: str, report: Report) -> Node | None:
    text = decode(content, report)
    if text is None:
        return None
    if filename.lower().endswith(".json"):
        report.source = Source(text, is_json=True)
        return compose(JsonReader(text, report).events(), report)[0]
    prepared = prepare_for_yaml(text, report)
    if prepared is None:
        return None
    report.source = Source(prepared)
    return compose(events(prepared, report, FASTEST_LOADER), report)[0]


def _value_of(node: Node, report: Report) -> JsonValue:
    match node:
        case Fields():
            return {name: _value_of(entry.value, report) for name, entry in node.entries.items()}
        case Items():
            return [_value_of(item, report) for item in node.items]
        case Scalar():
            value = resolve(node)
            if not isinstance(value, Unclear):
                return value
            if value.meaning not in _TIMES:
                report.add(node, f"{code(node.text)} is {value.meaning}", f"write {in_quotes(node.text)}")
            return node.text
        case Broken():
            return None
