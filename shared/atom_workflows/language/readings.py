"""What reading a node gives: a value, or INVALID once it was complained about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from atom_workflows.language.nodes import Fields, Node, Scalar
from atom_workflows.language.problems import Report
from atom_workflows.language.scalars import describe, resolve
from atom_workflows.language.wording import code, in_quotes


class Invalid:
    """Stands for a value that was complained about."""


INVALID: Final = Invalid()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A map that was read: the good values by their names in the file, and the node they came from."""

    node: Fields
    values: dict[str, Any]

    def at(self, *path: str) -> Node:
        """The node of a field within a field, or the innermost one that is there."""
        node: Node = self.node
        for name in path:
            node = (node.get(name) if isinstance(node, Fields) else None) or node
        return node


def wrong_type(node: Node, subject: str, wanted: str, remedy: str, report: Report) -> Invalid:
    """Complain that the node is not what is wanted. `subject` is how the message calls it."""
    if is_empty(node):
        report.add(node, f"{subject} is empty", remedy)
    elif isinstance(node, Scalar):
        report.add(node, f"{subject} must be {wanted}, but {code(node.text)} is {describe(node)}", remedy)
    else:
        report.add(node, f"{subject} must be {wanted}, but this is {describe(node)}", remedy)
    return INVALID


def quotes_missing(node: Scalar, subject: str, report: Report) -> Invalid:
    """Complain that a text would need quotes to be one."""
    return wrong_type(node, subject, "text", f"put it in quotes: {in_quotes(node.text)}", report)


def is_empty(node: Node) -> bool:
    """Whether nothing was written, or null."""
    return isinstance(node, Scalar) and resolve(node) is None
