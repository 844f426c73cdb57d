"""The pages about the deployment are true: tables are generated, commands and options exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from atom_deploy import command_line

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("how-to/deploy.md", "how-to/runbook.md", "explanation/security.md")


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    """Return the program that writes the tables."""
    return runpy.run_path(str(ROOT / "docs" / "deploy_tables.py"))


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_the_codes(tables: dict[str, Any], page: str) -> None:
    """The pages' tables are those of the plan."""
    assert tables["generated"](page) == (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_every_option_is_explained() -> None:
    """Each option of the command line is explained, and no other."""
    [verbs] = [action for action in command_line.parser()._actions if action.choices]
    options = {
        text
        for verb in dict(verbs.choices or {}).values()
        for action in verb._actions
        for text in action.option_strings
    }
    named = set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8"))
    )
    elsewhere = {"--project", "--region", "--bucket", "--task-runner-url", "--out", "--staged", "--help"}
    assert options - {"-h"} - elsewhere - named == set()
    assert named - options == {"--config", "--substitutions", "--gcs-source-staging-dir", "--condition"}


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_exists(page: str) -> None:
    """Each `make something` on the page is a target."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    asked = set(
        re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert asked <= targets
