"""CONTRIBUTING.md, SECURITY.md: each path, link and target that they name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("CONTRIBUTING.md", "SECURITY.md")
FOLDERS: Final = ("shared", "emulator", "deploy", "functions", "tests", "bench", "docs", "examples")
TARGETS: Final = set((ROOT / "Makefile").read_text(encoding="utf-8").partition(".PHONY:")[2].split("\n\n")[0].split())


@pytest.mark.parametrize("page", PAGES)
def test_every_path_it_names_exists(page: str) -> None:
    """Every file and folder that the page names exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(rf"(?<![\w/.])(?:{'|'.join(FOLDERS)})/[\w./-]*", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert paths
    assert links
    assert [name for name in (*paths, *links) if not (ROOT / name.rstrip(".")).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_target_it_names_exists(page: str) -> None:
    """Every target of make that the page names exists."""
    named = re.findall(r"(?:`|^)make ([a-z0-9-]+)", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(named) - TARGETS == set()
