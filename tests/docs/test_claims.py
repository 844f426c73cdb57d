"""Pages of which each row names its test are true: the tests exist, and the limits are the code's.

What the rows of task-runner.md say of an answer is compared with answers by test_answers.py.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import atom_workflows

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("docs/explanation/security.md", "docs/reference/task-runner.md", "docs/reference/parity.md")
SECURITY: Final = PAGES[0]
LAST_HEADINGS: Final = {"test", "shown by"}
WITHOUT_TESTS: Final = {"| identity | role | the call that needs it |", "| who | roles | may then |"}
"""The tables of these pages that list grants; tests of the deployment compare those with the code."""

TEST_ID: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LIMIT: Final = re.compile(r"`(\w+)\.(\w+)` = ([0-9][0-9,.]*[0-9]|[0-9])")
MODULES: Final = [
    module.name for module in pkgutil.walk_packages(atom_workflows.__path__, "atom_workflows.") if not module.ispkg
]


class Table(NamedTuple):
    """A table of a page: its heading's line, and the cells of its rows."""

    heading: str
    rows: list[list[str]]


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    """Return the cells of a row."""
    return [cell.strip() for cell in re.split(r" \|(?= |$)", line.strip("|"))]


def tables(page: str) -> list[Table]:
    """Return the tables of a page."""
    blocks = re.findall(r"(?:^\|.*\n)+", text_of(page), flags=re.MULTILINE)
    lines = [block.splitlines() for block in blocks]
    return [Table(heading, [cells(row) for row in rows]) for heading, _, *rows in lines]


@lru_cache
def defined_in(path: str) -> frozenset[str]:
    """Return the names of a file's functions, without running it."""
    file = ROOT / path
    tree = ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("page", PAGES)
def test_every_row_names_a_test(page: str) -> None:
    """Each row of claims is complete and names a test."""
    found = [table for table in tables(page) if cells(table.heading)[-1] in LAST_HEADINGS]
    assert sum(len(table.rows) for table in found) > 40
    odd = [row for heading, rows in found for row in rows if len(row) != len(cells(heading)) or not row[1]]
    assert odd + [row for table in found for row in table.rows if not TEST_ID.search(row[-1])] == []
    assert {table.heading for table in tables(page)} - {table.heading for table in found} <= WITHOUT_TESTS


@pytest.mark.parametrize("page", PAGES)
def test_every_test_it_names_exists(page: str) -> None:
    """Each test id names a function of that file."""
    named = TEST_ID.findall(text_of(page))
    assert len(named) == len(re.findall(r"`tests/[^`]*::", text_of(page)))
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []


def test_every_security_test_is_named() -> None:
    """Each test in tests/security has its row on the page."""
    named = {name for _, name in TEST_ID.findall(text_of(SECURITY))}
    files = sorted((ROOT / "tests" / "security").glob("test_*.py"))
    tests = {name for file in files for name in defined_in(str(file.relative_to(ROOT)))}
    assert {name for name in tests if name.startswith("test_")} - named == set()


@pytest.mark.parametrize("page", PAGES[:2])
def test_every_limit_is_the_codes(page: str) -> None:
    """Each number after a constant's name is that constant's value."""
    limits = LIMIT.findall(text_of(page))
    assert len(limits) == text_of(page).count("` = ") > 10
    for module, name, number in limits:
        # Two modules may have the same last name.
        named = [importlib.import_module(path) for path in MODULES if path.endswith(f".{module}")]
        (value,) = (getattr(one, name) for one in named if hasattr(one, name))
        assert value == float(number.replace(",", "")), f"{module}.{name} is {value}"
