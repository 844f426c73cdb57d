"""The hooks for pre-commit: the one offered to users, and those of this repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
[OFFERED] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
CONFIGURED: Final = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the offered hook's command from beside this Python."""
    program, *arguments = OFFERED["entry"].split()
    command = [str(Path(sys.executable).with_name(program)), *arguments, path.name]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)


def test_the_offered_hook_refuses_a_broken_file(tmp_path: Path) -> None:
    """The hook fails for an invalid workflow file and passes for a valid one."""
    good, broken = tmp_path / "good.yaml", tmp_path / "broken.yaml"
    good.write_text("steps: [{id: a}]", encoding="utf-8")
    broken.write_text("steps: [{id: a, dependsOn: b}]", encoding="utf-8")
    assert validate(good).returncode == 0
    refused = validate(broken)
    assert (refused.returncode, refused.stdout.partition(":")[0]) == (1, "broken.yaml")


def test_the_offered_hook_installs_what_its_command_needs() -> None:
    """The hook's command and extra belong to this distribution."""
    assert OFFERED["entry"].split()[0] in PROJECT["scripts"]
    [extra] = OFFERED["additional_dependencies"]
    assert extra.removeprefix(".[").removesuffix("]") in PROJECT["optional-dependencies"]


@pytest.mark.parametrize(
    ("path", "looked_at"),
    [
        ("workflows/nightly.yaml", True),
        ("workflows/sales/nightly.json", True),
        ("workflows/nightly.mock.yaml", False),
        (".github/workflows/checks.yml", False),
        ("deploy/values.yaml", False),
    ],
)
def test_the_offered_hook_looks_at_workflow_files_alone(path: str, *, looked_at: bool) -> None:
    """The hook takes workflow files, not mock scripts or a code host's workflows."""
    found = re.search(OFFERED["files"], path) and not re.search(OFFERED["exclude"], path)
    assert bool(found) is looked_at


def test_a_commit_here_is_judged_as_make_judges_it() -> None:
    """This repository's hooks run what `make lint types` runs."""
    hooks = [hook for repository in CONFIGURED for hook in repository["hooks"]]
    assert {repository["repo"] for repository in CONFIGURED} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    programs = [" ".join(hook["entry"].split()[:2]) for hook in hooks]
    assert programs == [".venv/bin/ruff check", ".venv/bin/ruff format", ".venv/bin/mypy"]
