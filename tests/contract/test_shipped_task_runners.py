"""The Task Runners that ship follow the contract, as `runner check` sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atom_client.runner_check import optional, required
from contract.test_runner_check import check
from support.deadline import eventually
from unit.emulator.laptop_runner.laptop import SECRET, Laptop

START_S = 60
SCRIPT = """
rules:
- {step: atom-check-succeeds, duration: 1, outputs: {rows: 3}, logsUrl: "https://logs.test/1", notifies: true}
- {step: atom-check-fails, always_fail: true, reason: EXIT_3}
- {step: atom-check-stops, duration: 600}
"""
WRITES_OUTPUTS = "import os, pathlib; pathlib.Path(os.environ['ATOM_OUTPUTS']).write_text('{\"rows\": 3}')"


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[str]:
    """Run the mock Task Runner and yield its URL."""
    script, ready = tmp_path / "jobs.yaml", tmp_path / "ready.json"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "atom_emulator.task_runner", f"--script={script}", f"--ready-file={ready}"]
    with subprocess.Popen(command) as process:
        eventually(lambda: ready.exists() or process.poll(), within_s=START_S, what="the mock")
        yield f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"
        process.terminate()


def verdicts(rules: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Return the rules that are not simply followed."""
    return {rule: verdict for rule, (verdict, _) in rules.items() if verdict != "ok"}


def test_the_mock_passes(mock: str) -> None:
    """The mock has everything that the contract has, but needs no token."""
    code, rules = check(mock, "--timeout", "30")
    assert (code, verdicts(rules)) == (0, {optional.TOKEN: "not checked"}), rules


def test_the_laptops_task_runner_passes(tmp_path: Path) -> None:
    """The one on a laptop runs the jobs, and wants its secret; without a platform it has no one to notify."""
    laptop = Laptop(tmp_path, "--slots=2")
    try:
        code, rules = check(
            laptop.url,
            *("--tr-auth-jwt", SECRET, "--engine", "process", "--timeout", "60"),
            *("--args", json.dumps([sys.executable, "-c", WRITES_OUTPUTS])),
            *("--stopping-args", json.dumps(["sleep", "600"])),
        )
    finally:
        laptop.kill()
    assert (code, verdicts(rules)) == (0, {optional.NOTIFIES: "not supported"}), rules
    assert rules[required.FAILURE][1].startswith("it ended as FAILED")
    assert rules[optional.REASON] == ("ok", "the failed job's is EXIT_3")
