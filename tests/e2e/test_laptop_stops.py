"""Programs are stopped when their step is: nothing of them is left, and no two attempts run at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from e2e.console import command, console, started, surroundings
from support.deadline import eventually
from unit.emulator.platform.processes import gone

WITHIN_S: Final = 120.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")

OVERLAPPING: Final = """\
import fcntl, os, sys, time
lock = open('../lock', 'w')
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open('../overlap', 'w').write('x')
if os.fork() == 0:
    os.setsid()
open('../pids', 'a').write(f'{os.getpid()} ')
time.sleep(600)
"""
"""A job of two processes, which hold a lock for as long as one of them runs, and report if it is held already."""


def workflow(folder: Path, **policies: Any) -> Path:
    """Write a workflow of one program that does not end."""
    file = folder / "wf.yaml"
    task = {"engine": "process", "args": [sys.executable, "-c", OVERLAPPING]}
    file.write_text(json.dumps({"name": "wf", "steps": [{"id": "a", "task": task, **policies}]}))
    return file


def step_folder(folder: Path) -> Path:
    """Return the folder of the step's attempts, once there is one."""
    (found,) = eventually(
        lambda: list((folder / ".atom-workflows" / "jobs").glob("wf-*/a")), within_s=WITHIN_S, what="the first attempt"
    )
    return Path(found)


def processes_of(folder: Path, count: int) -> list[psutil.Process]:
    """Wait until that many processes have started, and return those that are left."""
    file = folder / "pids"
    eventually(lambda: file.exists() and file.read_text().count(" ") == count, within_s=WITHIN_S, what="processes")
    return [psutil.Process(int(pid)) for pid in file.read_text().split() if psutil.pid_exists(int(pid))]


def test_attempts_that_time_out_do_not_overlap(tmp_path: Path) -> None:
    """A program whose step times out is killed with its children before the next attempt starts."""
    file = workflow(tmp_path, timeout="2s", retry={"maxAttempts": 2, "backoff": {"initial": "1s"}})
    answer = console(None, "run", file, "--runner", "process", cwd=tmp_path)
    assert answer.code == 1, answer
    folder = step_folder(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"1", "2", "lock", "pids"}
    assert gone(processes_of(folder, 4))


@contextmanager
def platform(folder: Path) -> Iterator[dict[str, str]]:
    """Run a platform, and yield the variables to reach it."""
    with started(None, "local", "up", "--runner", "process", "--json", "--log-dir", "logs", cwd=folder) as process:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line if text or line.startswith("{") else ""
            if line == "}\n":
                break
        yield json.loads(text)["environment"]


def test_a_cancelled_run_leaves_no_process(tmp_path: Path) -> None:
    """`runs cancel` ends the programs of the run."""
    with platform(tmp_path) as environment:
        file = workflow(tmp_path)
        with subprocess.Popen(
            command("run", file),
            cwd=tmp_path,
            env={**surroundings(None), **environment},
            stdout=subprocess.PIPE,
            text=True,
        ) as run:
            folder = step_folder(tmp_path)
            processes = processes_of(folder, 2)
            assert console(None, "runs", "cancel", folder.parent.name, cwd=tmp_path, **environment).code == 0
            eventually(lambda: gone(processes), within_s=30, what="the end of the program")
            assert run.wait(WITHIN_S) == 1
