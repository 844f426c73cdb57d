"""Reading a task's arguments: whatever JSON can say, as written."""

from __future__ import annotations

from typing import Any

from atom_workflows.language.nodes import Broken, Fields, Items, Node, Scalar
from atom_workflows.language.problems import Report
from atom_workflows.language.readings import INVALID, is_empty, wrong_type
from atom_workflows.language.scalars import Unclear, resolve
from atom_workflows.language.wording import code, in_quotes, shorten


def read_arguments(node: Node, path: str, report: Report) -> Any:
    """Read a list or a map of JSON values."""
    if isinstance(node, Items | Fields | Broken):
        return _json(node, path, report)
    example = f"[{shorten(node.text)}]"
    remedy = "leave it out if there are none" if is_empty(node) else f"write a list, such as `{example}`"
    return wrong_type(node, code(path), "a list or a map", remedy, report)


def _json(node: Node, path: str, report: Report) -> Any:
    """The value of the node. The tree's depth is limited, so this recursion is too."""
    match node:
        case Items():
            return [_json(item, path, report) for item in node.items]
        case Fields():
            return {entry.name: _json(entry.value, path, report) for entry in node.entries.values()}
        case Scalar():
            return _scalar(node, path, report)
        case Broken():
            return INVALID


def _scalar(node: Scalar, path: str, report: Report) -> Any:
    value = resolve(node)
    if not isinstance(value, Unclear):
        return value
    remedy = f"for the text, put it in quotes: {in_quotes(node.text)}"
    also = f"; otherwise write {value.remedy}" if value.remedy else ""
    report.add(node, f"in {code(path)}, {code(node.text)} is {value.meaning}", remedy + also)
    return INVALID
