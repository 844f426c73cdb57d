"""The pages on parity and migration are true: the flags, variables and fields that they name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from atom_client.cli.commands import cli
from atom_workflows.language.fields import WORKFLOW
from atom_workflows.language.step_fields import STEP, TASK

ROOT: Final = Path(__file__).parents[2]
PARITY: Final = (ROOT / "docs" / "reference" / "parity.md").read_text(encoding="utf-8")
MIGRATION: Final = (ROOT / "docs" / "how-to" / "migration.md").read_text(encoding="utf-8")
FENCE: Final = re.compile(r"```.*?```", re.DOTALL)


def options(group: click.Group = cli) -> Iterator[str]:
    """Yield every option of every command."""
    for command in group.commands.values():
        yield from (name for option in command.params for name in option.opts)
        if isinstance(command, click.Group):
            yield from options(command)


def inline(page: str) -> list[str]:
    """Return the texts in backticks outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page))


@pytest.mark.parametrize("page", [PARITY, MIGRATION], ids=["parity", "migration"])
def test_every_flag_it_names_exists(page: str) -> None:
    """Each flag that the page names is one of the command line's."""
    page = page.partition("## Files that are refused")[0]
    commands = re.findall(r"^(?:\$ )?atom-workflows .*", page, flags=re.MULTILINE)
    words = [text for text in inline(page) if text.startswith(("--", "atom-workflows "))]
    flags = {flag for text in (*commands, *words) for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", text)}
    assert {"--workflow-path", "--tr-url", "--tr-auth-jwt"} <= flags
    assert flags - set(options()) == set()


@pytest.mark.parametrize("page", [PARITY, MIGRATION], ids=["parity", "migration"])
def test_every_variable_it_names_is_read(page: str) -> None:
    """Each variable and state that the page names stands in the code."""
    files = [path for folder in ("shared", "client") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", code))
    named = {word for text in inline(page) for word in re.findall(r"^[A-Z]+(?:_[A-Z]+)+\b", text)}
    assert {"WORKFLOW_TASK_RUNNER_URL", "TASK_RUNNER_URL", "WORKFLOW_TR_AUTH_JWT"} <= named
    assert named - known == set()


def test_every_field_it_names_exists() -> None:
    """Each field of the first version's files is one of ours."""
    table = PARITY.partition("## The workflow file")[2].partition("\n## ")[0]
    first = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| ")][1:]
    fields = {text for cell in first for text in re.findall(r"`(task\.\w+|[a-z]\w+)`", cell)}
    known = {*WORKFLOW.names, *STEP.names, *(f"task.{name}" for name in TASK.names)}
    assert {"steps", "dependsOn", "task.imageUri", "task.args"} <= fields
    assert fields - known == set()
