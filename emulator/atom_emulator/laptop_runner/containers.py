"""The engine `docker`: a task's image is run as a container, by docker or podman."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from atom_emulator.laptop_runner import processes
from atom_emulator.laptop_runner.container_tool import (
    MOUNTED_AT,
    ContainerCommands,
    container_name,
    is_image,
    list_command,
)
from atom_emulator.laptop_runner.ends import End
from atom_emulator.laptop_runner.files import JobFiles
from atom_emulator.laptop_runner.keepers import Command, Keepers, KeptJob
from atom_workflows.runner.request import JobRequest, job_environment

_GRACE_S: Final = 20.0
"""How long stopping may take: `stop` itself kills the container after ten seconds."""

_LINGER_S: Final = 10.0
"""How long podman may take to clean up after a container has ended."""

_COMMAND_S: Final = 30.0
_NOT_STARTED: Final = frozenset({"created", "configured", "initialized"})
_TOOL_FAILED: Final = frozenset({125, 126, 127})
"""Exit codes of docker and podman that may mean that they could not start a container."""

_OURS: Final = "WORKFLOW_"

_log = logging.getLogger(__name__)


class Containers:
    """Runs jobs as containers. `runner` identifies this Task Runner in their labels."""

    def __init__(self, keepers: Keepers, *, tool: str, runner: str) -> None:
        self._keepers = keepers
        self._tool = tool
        self._runner = runner
        self._concluding: set[asyncio.Task[None]] = set()

    def find_refusal(self, request: JobRequest) -> str:
        """See `jobs.Engine.find_refusal`."""
        if request.engine == processes.ENGINE:
            return f"the task has engine: {processes.ENGINE}, which runs with --runner process"
        if not request.image:
            return "the task has no imageUri, and this Task Runner runs only containers"
        return "" if is_image(request.image) else f"{request.image!r:.200} is not the name of an image"

    def start(self, request: JobRequest, files: JobFiles, on_end: Callable[[End], None]) -> KeptJob:
        """See `jobs.Engine.start`."""
        commands = ContainerCommands(tool=self._tool, name=container_name(self._runner, request.key))
        mounted = files.outputs.parent
        # The container's user may be anyone. Others cannot reach the folder, as those above it are the owner's alone.
        mounted.chmod(0o777)
        outputs = f"{MOUNTED_AT}/{files.outputs.name}"
        environment = {**processes.UNBUFFERED, **job_environment(request, outputs)}
        command = Command(
            argv=commands.run(request.image, request.argv, env=environment, mounted=mounted, runner=self._runner),
            cwd=files.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            log=files.log,
            stop=commands.stop,
            kill=commands.remove,
            grace_s=_GRACE_S,
            linger_s=_LINGER_S,
        )

        def conclude(end: End) -> None:
            task = asyncio.get_running_loop().create_task(self._conclude(commands, files, end, on_end))
            self._concluding.add(task)
            task.add_done_callback(self._concluding.discard)

        return self._keepers.start(command, conclude)

    def clean_up(self, runner: str) -> None:
        """See `jobs.Engine.clean_up`."""
        with suppress(OSError, subprocess.TimeoutExpired):
            found = _run(list_command(self._tool, runner)).stdout.decode().split()
            if found:
                _run((self._tool, "rm", "--force", "--volumes", *found))

    async def _conclude(
        self, commands: ContainerCommands, files: JobFiles, end: End, on_end: Callable[[End], None]
    ) -> None:
        """Read the container's state, remove it, and report how the job ended."""
        try:
            state = await asyncio.to_thread(_read_state, commands)
            end = replace(read_end(end, state, files.last_lines()), log_error=end.log_error)
            await asyncio.to_thread(_run, commands.remove)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            _log.warning("container %s may still exist: %s", commands.name, error)
        on_end(end)


def read_end(end: End, state: Mapping[str, Any] | None, last_lines: str) -> End:
    """Return how a container ended.

    `end` is how its command ended, and `state` the container's state as `inspect` prints it, or None if there is
    no such container.
    """
    is_gone = state is None and end.code is not None and end.code not in _TOOL_FAILED
    if end.error or is_gone:  # Someone may have removed the container once it had ended.
        return end
    if state is None or state.get("Status") in _NOT_STARTED:
        return End(error=f"the container could not be started: {last_lines or 'the log is empty'}")
    if state.get("Running"):
        return End(error="the command that ran the container was killed, and the container was removed")
    return End(code=int(state.get("ExitCode", 0)), oom=bool(state.get("OOMKilled")))


def _read_state(commands: ContainerCommands) -> Mapping[str, Any] | None:
    answer = _run(commands.inspect)
    state: Mapping[str, Any] | None = json.loads(answer.stdout) if answer.returncode == 0 else None
    return state


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 (built here)
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=False
    )
