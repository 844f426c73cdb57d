"""docs/explanation/security.md is true: the tests that it names exist, and the limits that it tells are the code's."""

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
PAGE: Final = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
TEST_ID: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LIMIT: Final = re.compile(r"`(\w+)\.(\w+)` = ([0-9][0-9,.]*[0-9]|[0-9])")
MODULES: Final = {
    module.name.rpartition(".")[2]: module.name
    for module in pkgutil.walk_packages(atom_workflows.__path__, "atom_workflows.")
    if not module.ispkg
}


def claims() -> list[list[str]]:
    """The cells of each row that says what stops somebody."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [row for row in cells if len(row) == 4 and row[3] != "test"]


@lru_cache
def defined_in(path: str) -> frozenset[str]:
    """The tests that a file defines, read without running it."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_claim_has_its_test() -> None:
    """Each row of an attacker's table says what stops it, and which test shows that."""
    assert len(claims()) > 50
    assert [row for row in claims() if not row[1] or not TEST_ID.search(row[3])] == []


def test_every_attackers_row_is_a_claim() -> None:
    """No row is overlooked for having too few or too many cells: only the identities' table is of another form."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    headings = sum(row.endswith("| test |") for row in rows)
    identities = [row for row in rows if len(row.strip("|").split("|")) == 3]
    assert len(rows) == len(claims()) + headings + len(identities)


def test_every_test_it_names_exists() -> None:
    """Each test id names a function of that file."""
    named = TEST_ID.findall(PAGE)
    assert len(named) == len(re.findall(r"`tests/[^`]*::", PAGE))
    missing = [f"{path}::{name}" for path, name in named if not (ROOT / path).is_file() or name not in defined_in(path)]
    assert missing == []


def test_every_security_test_is_named() -> None:
    """Each test in tests/security has its row on the page."""
    named = {name for _, name in TEST_ID.findall(PAGE)}
    files = sorted((ROOT / "tests" / "security").glob("test_*.py"))
    tests = {name for file in files for name in defined_in(str(file.relative_to(ROOT)))}
    assert {name for name in tests if name.startswith("test_")} - named == set()


def test_every_limit_is_the_codes() -> None:
    """Each number that stands behind a constant's name is that constant's value."""
    told = LIMIT.findall(PAGE)
    assert len(told) > 20
    for module, name, number in told:
        value = getattr(importlib.import_module(MODULES[module]), name)
        assert value == float(number.replace(",", "")), f"{module}.{name} is {value}"
    assert len(told) == PAGE.count("` = ")
