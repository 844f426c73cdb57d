"""The Task Runners that ship follow the contract, as `runner check` sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atom_client.runner_check import rule_names
from contract.test_runner_check import check
from support.deadline import eventually
from support.google_jobs.containers import as_its_args_say
from support.google_jobs.running import RealTime, staged_runner
from support.google_jobs.server import running_google
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
    assert (code, verdicts(rules)) == (0, {rule_names.TOKEN: "not checked"}), rules


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
    assert (code, verdicts(rules)) == (0, {rule_names.NOTIFIES: "not supported"}), rules
    assert rules[rule_names.FAILURE][1].startswith("it ended as FAILED")
    assert rules[rule_names.REASON] == ("ok", "the failed job gave EXIT_3")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the one on Google Cloud on fakes of its APIs, and yield its URL."""
    with running_google(RealTime()) as apis:
        apis.batch.decide = apis.run.decide = as_its_args_say
        with staged_runner(apis, "127.0.0.1:1", tmp_path_factory.mktemp("cloud")) as url:
            yield url


@pytest.mark.parametrize(
    ("engine", "unlike"),
    [
        ("batch", {rule_names.TOKEN: "not checked"}),
        ("cloud-run", {rule_names.TOKEN: "not checked", rule_names.NOTIFIES: "not supported"}),
    ],
)
def test_the_clouds_task_runner_passes(cloud: str, engine: str, unlike: dict[str, str]) -> None:
    """The one on Google Cloud follows the contract on both engines; its token is checked before it is called."""
    code, rules = check(
        cloud,
        *("--engine", engine, "--image", "europe-docker.pkg.dev/atom-local/images/check:1", "--timeout", "60"),
        *("--args", '["--runs_s=0.5", "--outputs={\\"rows\\": 3}"]', "--failing-args", '["--exit_code=3"]'),
        *("--stopping-args", '["--runs_s=600"]'),
    )
    assert (code, verdicts(rules)) == (0, unlike), rules
    assert rules[rule_names.REASON] == ("ok", "the failed job gave EXIT_3")
    assert rules[rule_names.STOP][1].endswith("ended as CANCELLED")
