"""What is given to make stays text: no value of a variable becomes a command, for the shell or for make."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
GIVEN: Final = re.findall(r"[A-Z_]+", TEXT.partition("override GIVEN :=")[2].partition("$(foreach")[0])
TARGETS: Final = re.findall(r"[a-z-]+", TEXT.partition(".PHONY:")[2].partition("\n\n")[0])
PROGRAMS: Final = ("python", "atom-workflows", "ruff", "mypy")
RECORDING: Final = """#!{python} -S
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""
HOSTILE: Final = (
    """x'; touch pwned; ' "; touch pwned; " $(shell touch pwned) `touch pwned` $$(touch pwned) & touch pwned #"""
)
"""As hostile as one line can be; a dollar sign is make's as well as the shell's."""

WAYS: Final = ("command line", "environment")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with this Makefile and programs that note their arguments."""
    (tmp_path / "Makefile").write_text(TEXT.replace("\trm -rf $(VENV)", "\t@: rm -rf $(VENV)"), encoding="utf-8")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / "python").write_text(RECORDING.format(python=sys.executable, log=str(tmp_path / "ran")))
    (tmp_path / "python").chmod(0o755)
    for name in PROGRAMS:
        (programs / name).symlink_to(tmp_path / "python")
    for name in ("pyproject.toml", "constraints.txt", ".venv/.local", ".venv/.dev", ".venv/.docs"):
        (tmp_path / name).touch()
    return tmp_path


def make(checkout: Path, target: str, given: Mapping[str, str], way: str = WAYS[0]) -> list[list[str]]:
    """Run a target and return the arguments of each program that ran."""
    given = {"PYTHON": str(checkout / "python"), **given}
    words = [f"{name}={value}" for name, value in given.items()] if way == WAYS[0] else []
    environment = {"PATH": os.environ["PATH"], **(given if way == WAYS[1] else {})}
    subprocess.run(["make", target, *words], cwd=checkout, env=environment, capture_output=True, check=False)
    ran = checkout / "ran"
    return [json.loads(line) for line in ran.read_text().splitlines()] if ran.exists() else []


@pytest.mark.parametrize("way", WAYS)
def test_no_value_becomes_a_command(checkout: Path, way: str) -> None:
    """A target runs its own programs only, whatever its variables hold."""
    for target in TARGETS:
        make(checkout, target, dict.fromkeys(set(GIVEN) - {"PYTHON"}, HOSTILE), way)
        assert not (checkout / "pwned").exists(), target


@pytest.mark.parametrize("name", ["PYTHON", "VENV", "BIN", "DEPLOY", "NAMED", "HERE", "THERE", "WORDS", "GIVEN"])
def test_no_name_of_make_becomes_a_command(checkout: Path, name: str) -> None:
    """Make's internal names cannot be replaced."""
    for target in ("plan", "lint", "chaos"):
        make(checkout, target, {name: HOSTILE})
    assert not (checkout / "pwned").exists()


def test_every_variable_of_a_recipe_is_known() -> None:
    """A recipe uses only variables of the list, or make's own."""
    code = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    expanded = set(re.findall(r"\$\(([A-Z_]+)\)", code)) | set(re.findall(r"\$\(if \$\(([A-Z_]+)\)", code))
    in_shell = set(re.findall(r"\$\$\{?([A-Z_]+)", code))
    own = {"GIVEN", "VENV", "BIN", "DEPLOY", "NAMED", "HERE", "THERE", "WORDS"}
    assert (expanded | in_shell) - own == set(GIVEN)


@pytest.mark.parametrize("way", WAYS)
def test_a_value_arrives_as_it_was_given(checkout: Path, way: str) -> None:
    """A value with quotes and dollar signs arrives as one argument."""
    [arguments] = make(checkout, "plan", {"PROJECT": HOSTILE, "BUCKET": "b $(x) $$y"}, way)
    assert arguments == [
        *("-m", "atom_deploy", "plan", "--region=us-central1", f"--project={HOSTILE}", "--prefix=atom"),
        *("--task-runner-url=", "--bucket=b $(x) $$y"),
    ]


def test_options_are_words(checkout: Path) -> None:
    """OPTIONS is split at spaces, and no word is taken for a pattern of files."""
    [arguments] = make(checkout, "deploy", {"PROJECT": "p", "REGION": "r", "OPTIONS": "--alerts --set=WORKFLOW_X=* -m"})
    assert arguments[-3:] == ["--alerts", "--set=WORKFLOW_X=*", "-m"]
    assert "--region=r" in arguments


@pytest.mark.parametrize(
    ("target", "given", "ending"),
    [
        ("chaos", {"EMULATORS": "embedded google", "WRITE": "1"}, "--write --emulators=embedded --emulators=google"),
        ("bench-peers", {"ONLY": "dbos luigi"}, "--only=dbos --only=luigi"),
        ("bench-peers", {"SLOW": "1"}, "--with-slow --write"),
        ("simulate", {}, "--seeds=1200 --first=0"),
        ("simulate", {"SEED": "5", "ONLY": "a,b"}, "--seed=5 --schedule=0 --only=a,b"),
        ("run", {"WORKFLOW": "-x.yaml"}, "run --runner mock -- -x.yaml"),
        ("doctor", {"PROJECT": "p", "REGION": "r"}, "doctor --project=p --region=r --topic-prefix=atom-"),
    ],
)
def test_each_word_of_a_variable_becomes_an_option(
    checkout: Path, target: str, given: Mapping[str, str], ending: str
) -> None:
    """Each word of a variable becomes one option."""
    [arguments] = make(checkout, target, given)
    assert " ".join(arguments).endswith(ending)
