"""What the code never does, whatever it is given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DEPLOYED: Final = sorted(path for folder in ("shared", "functions") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN_CALLS: Final = frozenset({"eval", "exec", "compile", "__import__"})
FORBIDDEN_MODULES: Final = frozenset({"pickle", "marshal", "shelve", "dill", "subprocess", "ctypes"})


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level names of the modules that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def called(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a file calls, as `load` for `yaml.load`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.id if isinstance(node.func, ast.Name) else ""
            yield f".{node.func.attr}" if isinstance(node.func, ast.Attribute) else ""


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_becomes_code(path: Path) -> None:
    """Deployed code evaluates, unpickles and starts nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert set(imported(tree)) & FORBIDDEN_MODULES == set()
    assert set(called(tree)) & (FORBIDDEN_CALLS | {".system", ".popen", ".unsafe_load", ".full_load"}) == set()
    assert "yaml.load(" not in path.read_text(encoding="utf-8")


def test_every_certificate_is_checked() -> None:
    """No request turns the verification of its server off."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in DEPLOYED)
    assert re.findall(r"verify\s*=\s*False|CERT_NONE|disable_warnings|_create_unverified", code) == []


def test_every_package_is_pinned() -> None:
    """Each package that pyproject.toml names is pinned to a version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pinned if not re.fullmatch(r"[\w.-]+==[\w.+!-]+(\s*;.*)?", line)] == []
    names = {line.partition("==")[0].lower().replace("_", "-") for line in pinned}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.scripts]")[0]
    named = set(re.findall(r'^  "([\w-]+)[>=<]', project, flags=re.MULTILINE))
    assert {"requests", "pyyaml", "google-cloud-firestore"} <= {name.lower() for name in named}
    assert {name.lower().replace("_", "-") for name in named} - names == set()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert makefile.count("pip install") == makefile.count("--constraint constraints.txt")
