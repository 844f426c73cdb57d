"""A program whose reader goes, as with `| head`, ends without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = {
    "atom_deploy": ("-m", "atom_deploy", "plan", "--project=my-project", "--task-runner-url=https://runner"),
    "atom_deploy --help": ("-m", "atom_deploy", "--help"),
    "atom-workflows": (
        *("-c", "from atom_client.__main__ import main; main()"),
        *("validate", "examples/fork_join.yaml"),
    ),
    "atom-workflows --help": ("-c", "from atom_client.__main__ import main; main()", "--help"),
    "simulation": ("-m", "simulation", "--seed=5"),
    "simulation.mutants": ("-m", "simulation.mutants", "--help"),
    "chaos": ("-m", "chaos", "--help"),
    "bench": ("-m", "bench", "--help"),
    "bench.peers": ("-m", "bench.peers", "--help"),
}


@pytest.mark.parametrize(("program", "unbuffered"), [*((name, "") for name in PROGRAMS), ("atom_deploy", "1")])
def test_no_program_complains_that_no_one_reads(program: str, unbuffered: str) -> None:
    """A program whose reader goes prints nothing and ends as by SIGPIPE."""
    unread, written = os.pipe()
    os.close(unread)
    paths = os.pathsep.join(str(ROOT / one) for one in ("deploy", "shared", "tests", "emulator", "."))
    ended = subprocess.run(
        [sys.executable, *PROGRAMS[program]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": unbuffered},
        stdout=written,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )
    os.close(written)
    assert (ended.returncode in {141, 1}, ended.stderr) == (True, "")


def test_another_broken_pipe_is_a_failure() -> None:
    """A broken connection is still raised as an error."""
    code = "from atom_workflows.closed_pipe import exit_with\ndef main():\n    raise BrokenPipeError('a server')\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}exit_with(main)"],
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT / "shared",
    )
    assert (ended.returncode, "BrokenPipeError: a server" in ended.stderr) == (1, True)
