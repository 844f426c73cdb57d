"""A running server for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.emulator.laptop_runner.laptop import Laptop


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """Run a server with two slots."""
    laptop = Laptop(tmp_path, "--slots=2")
    yield laptop
    laptop.kill()
