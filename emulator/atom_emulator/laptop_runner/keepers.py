"""The Task Runner's side of warden.py: start jobs through the warden, stop them, and learn how they ended."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from atom_emulator.laptop_runner import warden
from atom_emulator.laptop_runner.ends import End

GRACE_S: Final = 5.0
"""How long a process may take to end by itself after SIGTERM."""

MAX_LOG_BYTES: Final = 100 * 1024 * 1024
"""The maximum size of a job's log. Anything beyond it is left out, except for the last 64 KiB."""

_CLOSING_S: Final = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run as a job.

    `stop` asks it to end; without it, SIGTERM does. When the job is killed, so are its processes; then `kill` is run.
    """

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    log: Path
    stop: Sequence[str] | None = None
    kill: Sequence[str] | None = None
    grace_s: float = GRACE_S

    # How long other processes may take to end by themselves once the first one has ended.
    linger_s: float = 0.0

    log_bytes: int = MAX_LOG_BYTES

    def encode(self) -> bytes:
        """Return the specification that a keeper reads."""
        spec = {
            "argv": list(self.argv),
            "cwd": str(self.cwd),
            "env": dict(self.env),
            "log": str(self.log),
            "log_bytes": self.log_bytes,
            "stop": self.stop,
            "kill": self.kill,
            "grace_s": self.grace_s,
            "linger_s": self.linger_s,
        }
        return json.dumps(spec).encode() + b"\n"


class KeptJob:
    """A job that runs under a keeper."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._writer: asyncio.StreamWriter | None = None
        self._is_to_end = False

    def stop(self) -> None:
        """Ask the job to end. May be called twice."""
        if self._writer is not None and not self._is_to_end:
            self._writer.write(b"s")
        self._is_to_end = True

    def kill(self) -> None:
        """Kill the job at once."""
        if self._writer is not None and self._writer.can_write_eof():
            self._writer.write_eof()

    async def run(self, job: socket.socket) -> End:
        """Give the command to the keeper, and return how it ended.

        By then, nothing of the job is running anymore.
        """
        reader, self._writer = await asyncio.open_connection(sock=job)
        try:
            self._writer.write(self._command.encode())
            if self._is_to_end:
                self._writer.write(b"s")
            line = await reader.readline()
            await reader.read()
        except OSError:  # The keeper was killed.
            line = b""
        finally:
            self._writer.close()
        return End(**json.loads(line)) if line.endswith(b"\n") else End()


class Keepers:
    """The warden, and the jobs that run under its keepers. `on_loss` is called once if the warden ends."""

    def __init__(self, on_loss: Callable[[], None], *, log_bytes: int = MAX_LOG_BYTES) -> None:
        self._on_loss = on_loss
        self._log_bytes = log_bytes
        self._jobs: dict[KeptJob, asyncio.Task[None]] = {}
        warden.adopt_orphans()
        self._warden, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own program)
                [sys.executable, "-I", "-S", str(Path(warden.__file__))],
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        asyncio.get_running_loop().add_reader(self._warden, self._handle_loss)

    def start(self, command: Command, on_end: Callable[[End], None]) -> KeptJob:
        """Start a job. `on_end` is called once, later."""
        job = KeptJob(replace(command, log_bytes=self._log_bytes))
        self._jobs[job] = asyncio.get_running_loop().create_task(self._run(job, on_end))
        return job

    async def _run(self, job: KeptJob, on_end: Callable[[End], None]) -> None:
        try:
            end = await job.run(self._fork_keeper())
        except OSError as error:
            end = End(error=f"no process could be started: {error}")
        finally:
            del self._jobs[job]
        on_end(end)

    def _fork_keeper(self) -> socket.socket:
        """Have the warden fork a keeper, and return our end of its job's socket."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._warden, [b"j"], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        return ours

    async def close(self) -> None:
        """Kill every job, and wait until nothing of them is running anymore."""
        asyncio.get_running_loop().remove_reader(self._warden)
        for job in self._jobs:
            job.kill()
        if self._jobs:
            await asyncio.wait(self._jobs.values(), timeout=_CLOSING_S)
        self._warden.close()
        # If a job resists, the warden goes on by itself.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSING_S)
            warden.kill_orphans(_CLOSING_S)

    def _handle_loss(self) -> None:
        asyncio.get_running_loop().remove_reader(self._warden)
        _log.error("the process that supervises the jobs has ended")
        self._on_loss()
