"""ARCHITECTURE.md is true where it can be checked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def generator() -> Any:
    """Return the script that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagrams_are_those_of_the_transition_tables() -> None:
    """The diagrams are those of the transition tables."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert generator().generated(text) == text
    assert text.count("stateDiagram-v2") == 2


def test_every_package_and_file_it_names_exists() -> None:
    """Every file in the map of the code exists."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    package = ROOT / "shared" / "atom_workflows"
    for name in ("ports.py", "bounded_json.py", "documents.py", "bootstrap.py"):
        assert name in text
        assert (package / name).is_file()
    modules = {path.stem for path in (package / "coordinator").glob("*.py")} - {"__init__", "services", "outbox"}
    assert all(module in text for module in modules), modules
