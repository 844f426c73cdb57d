"""What a storm takes for a fault of the platform, and what for the weather."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chaos.storm import EXPECTED

LIBRARY: Final = Path(__file__).parents[2] / "shared" / "atom_workflows"
WEATHER: Final = frozenset({"StoreUnavailable", "BusUnavailable", "TaskRunnerUnavailable"})
"""The errors that a storm provokes: a service does not answer."""

LEVELS: Final = frozenset({"warning", "error"})


def _warnings_about(errors: frozenset[str]) -> Iterator[str]:
    """Yield the actions that functions log where they catch one of these errors."""
    for file in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ExceptHandler) or node.type is None:
                continue
            caught = {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
            if caught & errors:
                yield from (action for part in node.body for action in _logged(part))


def _logged(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
            first = call.args[0]
            assert isinstance(first, ast.Constant)
            yield str(first.value)


def test_a_service_that_does_not_answer_is_no_fault_of_the_platform() -> None:
    """A storm expects every warning that a function logs because a service keeps it from its work."""
    actions = set(_warnings_about(WEATHER))
    assert {"step.expand.deferred", "step.gather.deferred", "event.failed"} <= actions
    assert actions <= EXPECTED
