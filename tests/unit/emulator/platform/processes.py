"""Looking at processes from a test."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil

from support.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARENT_AND_CHILD = """
import subprocess, sys, pathlib
grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
pathlib.Path(sys.argv[1]).write_text(str(grandchild.pid))
grandchild.wait()
"""


def until(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    """Return once the condition holds; fail if it does not in time."""
    eventually(condition, within_s=within_s, what="the condition", every_s=0.005)


def family(pid: int) -> list[psutil.Process]:
    """List a process and all that descend from it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


class Descendants:
    """The processes that this one has started since; other tests' servers may be running all the while."""

    def __init__(self) -> None:
        self._before = set(psutil.Process().children(recursive=True))

    def now(self) -> list[psutil.Process]:
        """List them, parents before children."""
        return [child for child in psutil.Process().children(recursive=True) if child not in self._before]


def gone(processes: list[psutil.Process]) -> bool:
    """Return True if none of these processes runs any more."""
    return not any(_runs(process) for process in processes)


def ended(pid: int) -> bool:
    """Return True if no process of that id runs any more."""
    return not psutil.pid_exists(pid) or gone([psutil.Process(pid)])


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def command_with_child(pid_file: Path) -> list[str]:
    """Build a command that writes its child's process id to the file."""
    return [sys.executable, "-c", PARENT_AND_CHILD, str(pid_file)]
