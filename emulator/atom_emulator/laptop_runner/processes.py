"""The engine `process`: a task's arguments are run as a program of this machine, without a shell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from atom_emulator.laptop_runner.ends import End
from atom_emulator.laptop_runner.files import JobFiles
from atom_emulator.laptop_runner.keepers import GRACE_S, Command, Keepers, KeptJob
from atom_emulator.laptop_runner.program_hints import explain_lost_file, explain_not_started
from atom_workflows.runner.request import JobRequest, job_environment

ENGINE: Final = "process"

_PASSED_ON: Final = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SYSTEMROOT", "TMPDIR", "TZ", "USER"}
)
"""The variables of the user's shell that a job gets, and those that begin with `LC_`: none that may hold a secret."""


UNBUFFERED: Final = {"PYTHONUNBUFFERED": "1"}
"""Without this, what a Python program prints is lost if it is killed, and appears late otherwise."""


def build_environment(
    request: JobRequest, files: JobFiles, shell: Mapping[str, str], started_in: Path
) -> dict[str, str]:
    """Return the environment of a job."""
    kept = {name: value for name, value in shell.items() if name in _PASSED_ON or name.startswith("LC_")}
    ours = {**job_environment(request, str(files.outputs)), "ATOM_STARTED_IN": str(started_in)}
    return {**kept, **UNBUFFERED, **ours}


def find_program(name: str, started_in: Path) -> str:
    """Return the program that a job's first argument names.

    A path is relative to the folder in which the platform was started, and a name without a slash is found by PATH.
    """
    return str(started_in / name) if "/" in name else name


class Processes:
    """Runs jobs as processes. Paths of programs are relative to `started_in`."""

    def __init__(self, keepers: Keepers, started_in: Path, *, grace_s: float = GRACE_S) -> None:
        self._keepers = keepers
        self._started_in = started_in
        self._grace_s = grace_s

    def find_refusal(self, request: JobRequest) -> str:
        """See `jobs.Engine.find_refusal`."""
        if request.engine != ENGINE:
            named = f"engine: {request.engine}" if request.engine else "no engine"
            return (
                f"the task has {named}, but this Task Runner runs only tasks with `engine: {ENGINE}`, whose args are a "
                "program and its arguments; for tasks with an imageUri, use --runner docker"
            )
        return "" if request.argv and request.argv[0] else "args must begin with the program to run"

    def start(self, request: JobRequest, files: JobFiles, on_end: Callable[[End], None]) -> KeptJob:
        """See `jobs.Engine.start`."""
        program = find_program(request.argv[0], self._started_in)
        command = Command(
            argv=[program, *request.argv[1:]],
            cwd=files.folder,
            env=build_environment(request, files, os.environ, self._started_in),
            log=files.log,
            grace_s=self._grace_s,
        )

        def conclude(end: End) -> None:
            hint = ""
            if end.errno:
                hint = explain_not_started(end.errno, request.argv[0], self._started_in)
            elif end.code:
                hint = explain_lost_file(request.argv[1:], self._started_in, files.folder)
            on_end(replace(end, hint=hint) if hint else end)

        return self._keepers.start(command, conclude)

    def clean_up(self, runner: str) -> None:
        """Do nothing: the processes of a job never outlive the Task Runner."""
