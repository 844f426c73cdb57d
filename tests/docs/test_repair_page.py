"""docs/how-to/repair-a-run.md, followed word by word: its commands print what it shows."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState

PAGE: Final = (Path(__file__).parents[2] / "docs" / "how-to" / "repair-a-run.md").read_text(encoding="utf-8")
BLOCK: Final = re.compile(r"^```\n\$ atom-workflows ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING: Final = {r"\bnightly-[0-9a-f]{12}\b": "nightly-ID", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC": "TIME"}


def compared(output: str) -> list[str]:
    """Return an output's lines without what differs from run to run."""
    for pattern, stands in CHANGING.items():
        output = re.sub(pattern, stands, output)
    return [line.rstrip() for line in output.splitlines()]


def test_the_commands_print_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is the output of its command, in order; three dots stand for any lines."""
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    (workflow,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    world = World("rules: [{step: load, always_fail: true}]")
    run_id = world.start(workflow, path="nightly.yaml")
    assert world.run_to_end(run_id).state is RunState.FAILED
    world.task_runner.jobs.script = parse_script("default: {}")

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == 5
    for command, shown in blocks:
        result = CliRunner().invoke(cli, shlex.split(command), obj=connect, catch_exceptions=False)
        printed = "\n".join(compared(result.stdout))
        for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE):
            assert part.rstrip() in printed, printed
        if "..." not in shown:
            assert compared(shown) == compared(result.stdout)
        world.run_to_end(run_id)
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert [one.partition("/")[0] for one in world.submissions()[3:]] == ["clean", "load", "report", "extract"]
