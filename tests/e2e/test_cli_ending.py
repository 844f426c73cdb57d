"""Signals from outside end the command line in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import IO

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ENTRY = "from atom_client.__main__ import main; main()"
IGNORING = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {ENTRY}"


@contextmanager
def started(program: str, folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a local platform whose temporary files are in that folder."""
    command = [sys.executable, "-c", program, "local", "up", "--no-bucket", "--log-dir", str(folder / "logs"), *options]
    scratch = folder / "scratch"
    scratch.mkdir()
    shell = {name: value for name, value in os.environ.items() if not name.endswith("_EMULATOR_HOST")}
    variables = {**shell, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=variables, cwd=folder, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()  # Only a test that fails leaves it running; its parts end with it.


def environment_printed(stdout: IO[str]) -> dict[str, str]:
    """Return the environment that a platform prints with --json.

    Its first line has been read.
    """
    lines = iter(stdout.readline, "}\n")
    environment: dict[str, str] = json.loads("".join(["{", *lines, "}"]))["environment"]
    return environment


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP], ids=lambda signum: signum.name)
def test_a_platform_ends_in_order(signum: signal.Signals, tmp_path: Path) -> None:
    """A platform leaves nothing temporary, even after two signals."""
    with started(ENTRY, tmp_path) as process:
        assert list((tmp_path / "scratch").iterdir())
        process.send_signal(signum)
        process.send_signal(signum)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert list((tmp_path / "scratch").iterdir()) == []


def test_nohup_is_respected(tmp_path: Path) -> None:
    """A platform that was started to outlive its terminal does."""
    with started(IGNORING, tmp_path) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_run_that_outlives_the_command_is_named(tmp_path: Path) -> None:
    """Ctrl-C prints how to show and cancel a run that continues."""
    with started(ENTRY, tmp_path, "--mock-duration", "60", "--json") as platform:
        assert platform.stdout is not None
        shell = {**os.environ, **environment_printed(platform.stdout)}
        command = [sys.executable, "-c", ENTRY, "run", str(EXAMPLES / "fork_join.yaml")]
        with subprocess.Popen(command, env=shell, stdout=PIPE, stderr=PIPE, text=True) as run:
            assert run.stdout is not None
            run_id = next(line for line in run.stdout if line.startswith("Run ")).split()[1]
            assert "extract RUNNING" in run.stdout.readline()
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=60)
        platform.terminate()
        platform.communicate(timeout=60)
    show, cancel = (f"`atom-workflows runs {command} {run_id}`" for command in ("show", "cancel"))
    assert (run.returncode, said.strip()) == (130, f"Run {run_id} continues: {show} shows it, {cancel} ends it.")


def test_a_platform_that_dies_ends_the_wait_for_a_run(tmp_path: Path) -> None:
    """Once a local platform was killed, whoever waits for a run on it learns at once that both have ended."""
    with started(ENTRY, tmp_path, "--json", "--mock-duration", "600") as platform:
        assert platform.stdout is not None
        shell = {**os.environ, **environment_printed(platform.stdout)}
        run = [sys.executable, "-c", ENTRY, "run", str(EXAMPLES / "fork_join.yaml")]
        with subprocess.Popen(run, env=shell, stdout=PIPE, stderr=PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            while "RUNNING" not in (line := waiting.stdout.readline()):
                assert line
            platform.kill()
            killed_at = time.monotonic()
            _, said = waiting.communicate(timeout=60)
            assert time.monotonic() - killed_at < 20
    assert waiting.returncode == 1
    assert "has stopped, and run fork-join-" in said
    assert "runs show" not in said
