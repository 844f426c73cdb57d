"""docs/reference/task-runner.md is true: every row has its test, and the limits that it names are the code's.

What each row says of an answer is held against answers by test_answers.py.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

import atom_workflows

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "reference" / "task-runner.md").read_text(encoding="utf-8")
TEST_ID: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LIMIT: Final = re.compile(r"`(\w+)\.(\w+)` = ([0-9][0-9,.]*[0-9]|[0-9])")
MODULES: Final = {
    module.name.rpartition(".")[2]: module.name
    for module in pkgutil.walk_packages(atom_workflows.__path__, "atom_workflows.")
    if not module.ispkg
}


@lru_cache
def defined_in(path: str) -> frozenset[str]:
    """Return the names of a file's functions, without running it."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_row_has_its_test() -> None:
    """Each line of each table ends with a test."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.endswith("| test |")]
    assert len(rows) > 45
    assert [row for row in rows if not TEST_ID.search(row.strip("| ").split(" | ")[-1])] == []


def test_every_test_it_names_exists() -> None:
    """Each test id names a function of that file."""
    named = TEST_ID.findall(PAGE)
    assert len(named) == len(re.findall(r"`tests/[^`]*::", PAGE))
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []


def test_every_limit_is_the_codes() -> None:
    """Each number that stands behind a constant's name is that constant's value."""
    told = LIMIT.findall(PAGE)
    assert len(told) == PAGE.count("` = ") > 10
    for module, name, number in told:
        value = getattr(importlib.import_module(MODULES[module]), name)
        assert value == float(number.replace(",", "")), f"{module}.{name} is {value}"
