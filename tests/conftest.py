"""Which tests share a process when several run them at the same time: those that share what takes long to start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent

SHARED: Final = frozenset({"contract", "deploy"})
"""Folders whose tests share servers."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Name each test's group."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    folder = item.path.relative_to(TESTS).parts[0]
    if folder in SHARED:
        return folder
    if folder == "e2e" and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        backend = item.callspec.params.get("backend")
        return f"e2e on {backend}" if backend else str(item.path)
    # Each storm has servers of its own.
    return item.nodeid if item.path.name == "test_chaos.py" else str(item.path)
