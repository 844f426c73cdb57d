"""The tutorial, followed word by word: its files are saved, its commands run, and their output compared."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest

from e2e.console import console, started

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "tutorial"
PAGE: Final = (FOLDER / "first-run.md").read_text(encoding="utf-8")
NIGHTLY: Final = (FOLDER / "every-night.md").read_text(encoding="utf-8")
FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED: Final = re.compile(r"`(\w+\.yaml)`")
SET_UP: Final = "## Set up"
FOLLOWED: Final = "## Write a workflow"

CHANGING: Final = {
    r"\b(orders|counted|sales)-[0-9a-f]{12}\b": r"\1-ID",
    r"\bjob-[0-9a-f]{6}-\d{6}\b": "JOB",
    r"\b\d+(\.\d+)? (ms|s)\b": "TIME",
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b": "DATE",
    r"127\.0\.0\.1:\d+": "ADDRESS",
    r"(Logs: ).*/(\.atom-workflows/logs/)\S+": r"\1\2",
    " +": " ",
    " $": "",
}
"""What differs from run to run, and what takes its place; the width of a column follows from times and ids."""

PROGRESS: Final = re.compile(r"^\[ *[\d.]+ s\] ")
"""In a pipe, a line of progress stands for what a terminal draws and takes away again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of the page: a file to save under the name that the sentence before it says, or a command."""

    language: str
    text: str
    name: str


def blocks(section: str) -> Iterator[Block]:
    """Return the code blocks of a part of the page, in order."""
    for found in FENCE.finditer(section):
        names = NAMED.findall(section[: found.start()].rpartition("\n\n```")[2])
        yield Block(language=found[1], text=found[2], name=names[-1] if names else "")


def compared(output: str) -> list[str]:
    """Return an output's lines without what differs from run to run."""
    lines = [line for line in output.strip().splitlines() if not PROGRESS.match(line)]
    for pattern, instead in CHANGING.items():
        lines = [re.sub(pattern, instead, line) for line in lines]
    return lines


def test_what_it_sets_up_exists() -> None:
    """The page's setup is a target of make."""
    [block] = blocks(PAGE.partition(SET_UP)[2].partition(FOLLOWED)[0])
    assert block.text.splitlines()[:2] == ["$ make run", "$ source .venv/bin/activate"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^run: ", makefile, flags=re.MULTILINE)
    assert "override VENV := .venv\n" in makefile


@pytest.mark.parametrize(
    ("followed", "needs_platform"),
    [(PAGE.partition(FOLLOWED)[2], True), (NIGHTLY, False)],
    ids=["first-run", "every-night"],
)
def test_each_command_prints_what_the_page_says(
    tmp_path: Path,
    followed: str,
    needs_platform: bool,  # noqa: FBT001 (a row of the table)
) -> None:
    """Each command prints what the page shows, except times and ids."""
    is_up = False
    with ExitStack() as second_terminal:
        for block in blocks(followed):
            if block.language == "yaml":
                (tmp_path / block.name).write_text(block.text, encoding="utf-8")
                continue
            command, _, shown = block.text.partition("\n")
            dollar, program, *words = command.split()
            assert (block.language, dollar, program) == ("console", "$", "atom-workflows")
            if words[:2] == ["local", "up"]:
                is_up = bool(exports(second_terminal.enter_context(started(None, *words, cwd=tmp_path))))
                continue
            answer = console(None, *words, cwd=tmp_path)
            assert compared(answer.stderr + answer.stdout) == compared(shown), command
    assert is_up is needs_platform


def exports(platform: subprocess.Popen[str]) -> dict[str, str]:
    """Return the variables that a platform prints once it is up."""
    assert platform.stdout is not None
    lines = takewhile(lambda line: "Ctrl-C stops the platform" not in line, iter(platform.stdout.readline, ""))
    pairs = [line.removeprefix("export ").strip().partition("=") for line in lines if line.startswith("export ")]
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("clean   FAILED     1         3 ms      orders.csv", "clean FAILED 1 TIME orders.csv"),
        ("Run orders-3f3712f0a1c3 SUCCEEDED in 3.2 s: 3 steps.", "Run orders-ID SUCCEEDED in TIME: 3 steps."),
        ("Logs: /tmp/a/.atom-workflows/logs/20261129T2000-1", "Logs: .atom-workflows/logs/"),
    ],
)
def test_only_times_ids_and_places_may_differ(printed: str, line: str) -> None:
    """A state, a count or a word that differs is a difference."""
    assert compared(f"[    0.1 s] load RUNNING\n{printed}\n") == [line]
