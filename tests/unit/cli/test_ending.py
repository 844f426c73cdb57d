"""How the command line ends when it is told to from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = "from atom_workflows.cli.main import main; main()"
IGNORING = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {ENTRY}"


def started(program: str, folder: Path) -> subprocess.Popen[str]:
    """A local platform that is up, and keeps what is temporary in that folder."""
    command = [sys.executable, "-c", program, "local", "up", "--no-bucket", "--log-dir", str(folder / "logs")]
    scratch = folder / "scratch"
    scratch.mkdir()
    shell = {name: value for name, value in os.environ.items() if not name.endswith("_EMULATOR_HOST")}
    process = subprocess.Popen(command, env={**shell, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "export" in process.stdout.readline()
    return process


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP], ids=lambda signum: signum.name)
def test_a_platform_ends_in_order(signum: signal.Signals, tmp_path: Path) -> None:
    """Told to end, or with its terminal closed, which may be told twice, a platform leaves nothing temporary behind."""
    with started(ENTRY, tmp_path) as process:
        assert list((tmp_path / "scratch").iterdir())
        process.send_signal(signum)
        process.send_signal(signum)
        process.communicate(timeout=20)
    assert process.returncode == 128 + signum
    assert list((tmp_path / "scratch").iterdir()) == []


def test_nohup_is_respected(tmp_path: Path) -> None:
    """A platform that was started to outlive its terminal does."""
    with started(IGNORING, tmp_path) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
