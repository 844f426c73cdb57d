"""The page on testing workflows, followed word by word: its files are saved, and pytest prints what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Final

from atom_emulator import testing
from e2e.console import surroundings

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "how-to" / "test-your-workflows.md").read_text(encoding="utf-8")
TIME: Final = re.compile(r"\d+\.\d+s")


def blocks(language: str) -> list[str]:
    """The blocks of that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def names(section: str) -> list[str]:
    """What the table of a section names in its first column."""
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition(section)[2].partition("\n## ")[0], flags=re.MULTILINE)
    return [name.partition("(")[0] for row in rows for name in re.findall("`([^`]+)`", row)]


def test_its_tests_pass_as_it_shows(tmp_path: Path) -> None:
    """Whoever saves the files and runs pytest sees what the page shows, but for the time."""
    commands = iter(blocks("console"))
    for name, workflow, tests in zip(("nightly", "daily"), blocks("yaml"), blocks("python"), strict=True):
        assert all(f"`{file}`" in PAGE for file in (f"{name}.yaml", f"test_{name}.py"))
        (tmp_path / f"{name}.yaml").write_text(workflow, encoding="utf-8")
        (tmp_path / f"test_{name}.py").write_text(tests, encoding="utf-8")
        command, _, shown = next(commands).partition("\n")
        dollar, *words = command.split()
        assert (dollar, words[0]) == ("$", "pytest")
        answer = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=surroundings(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert TIME.sub("TIME", answer.stdout) == TIME.sub("TIME", shown)
        assert (answer.stderr, answer.returncode) == ("", 0)
    assert next(commands, None) is None


def test_it_names_what_there_is() -> None:
    """Each argument of `play` and each attribute of what it returns stands in a table, and no other."""
    assert names("## What you say") == list(signature(testing.play).parameters)
    attributes = {one.name for one in fields(testing.Played)} | {
        name for name in vars(testing.Played) if not name.startswith("_")
    }
    of_a_step = {one.name for one in fields(testing.PlayedStep)}
    assert set(names("## What you get")) - of_a_step == attributes - {"steps", "run_id"} - of_a_step
    assert of_a_step <= set(names("## What you get"))


def test_its_errors_exist() -> None:
    """The errors that it names are those of the package."""
    named = set(re.findall(r"`([A-Z]\w+)`", PAGE))
    assert {"InvalidScript", "InvalidWorkflow", "StillOpen"} <= named
    assert named <= set(testing.__all__)


def test_it_needs_no_extra() -> None:
    """Playing imports nothing that only the command line or the local platform needs."""
    program = (
        "import sys; import atom_emulator.testing; "
        "print(sorted({'click', 'cryptography', 'grpc', 'requests', 'rich'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
