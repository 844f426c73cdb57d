"""The page on the local platform: its program runs as it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

from docs.test_tutorial import compared
from e2e.console import console

PAGE: Final = (Path(__file__).parents[2] / "docs" / "how-to" / "local-platform.md").read_text(encoding="utf-8")
CHANGING: Final = re.compile(r"(?<=people-)[0-9a-f]{12}|(?<=as user )\w+|(?<=Jobs: ).*(?=/\.atom)")


def block(language: str, *, beginning: str = "") -> str:
    """Return the first block of that language that begins like this."""
    found = re.search(rf"^```{language}\n({re.escape(beginning)}.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def lines_of(output: str) -> list[str]:
    """Return an output's lines without what differs from run to run."""
    return compared(CHANGING.sub("…", output))


def test_its_program_runs_as_it_shows(tmp_path: Path) -> None:
    """Whoever saves the program and its workflow and types the commands sees what the page shows, but for times."""
    (tmp_path / "count.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "people.yaml").write_text(block("yaml", beginning="name: people"), encoding="utf-8")
    *before, run = block("console", beginning="$ printf").removeprefix("$ ").split("\n$ ")
    for line in before:
        subprocess.run(line, shell=True, cwd=tmp_path, check=True)  # noqa: S602 (of our own page)
    typed, _, shown = run.partition("\n")
    program, *words = shlex.split(typed)
    assert program == "atom-workflows"
    answer = console(None, *words, cwd=tmp_path)
    assert lines_of(answer.succeeded()) == lines_of(shown)
    assert answer.stderr == ""
    typed, _, shown = block("console", beginning="$ atom-workflows runs list").removeprefix("$ ").partition("\n")
    listed = console(None, *shlex.split(typed)[1:], cwd=tmp_path)
    assert lines_of(listed.stderr + listed.succeeded()) == lines_of(shown)
