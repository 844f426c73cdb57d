"""One part of the platform: a child process in its own process group, with a log file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from atom_emulator.log_files import append_to
from atom_emulator.platform.child import command_of_launcher
from atom_emulator.platform.fork_server import ForkedProcess

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from atom_emulator.platform.fork_server import ForkServer

TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 16_384
_ROOM_BYTES: Final = 1_048_576

LAST_EXIT_CODE: Final = 128
"""A higher exit code means a signal, as in a shell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """The command to run as a part.

    With `listener`, the command inherits that socket, and the caller's copy is closed.

    A part that is `revived` is started again when it is killed; the caller's copy of its socket then stays open, so
    that clients that connect meanwhile wait for the next process. It also inherits the descriptors in `holds`. A fork
    server, if there is one, starts the commands that it can.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    log: Path
    listener: socket.socket | None = None
    revived: bool = False
    holds: tuple[int, ...] = ()
    fork_server: ForkServer | None = None


class Part:
    """A running part. `on_exit` is called once, from the part's own thread, when its process has ended."""

    def __init__(self, spec: PartSpec, on_exit: Callable[[Part], None]) -> None:
        self.name = spec.name
        self.log = spec.log
        self.spec = spec
        self.exit_code: int | None = None
        self.exited = threading.Event()
        self._on_exit = on_exit
        self._is_to_end = False
        self._ending = threading.Lock()
        self._started = threading.Event()
        # A copy of the socket, for the case that the fork server ends before it has started the command.
        self._listener = None if spec.listener is None else spec.listener.dup()
        if spec.listener is not None and not spec.revived:
            spec.listener.close()
        self._process: subprocess.Popen[bytes] | ForkedProcess = self._fork() or self._launch()
        threading.Thread(target=self._watch, name=f"watch {self.name}", daemon=True).start()

    def _fork(self) -> ForkedProcess | None:
        if self.spec.fork_server is None:
            return None
        with append_to(self.log) as log:
            descriptors = (log.fileno(), *self._handed, *self.spec.holds)
            return self.spec.fork_server.start(
                self.spec.command, self._environment, descriptors, listens=bool(self._handed)
            )

    def _launch(self) -> subprocess.Popen[bytes]:
        with append_to(self.log) as log:
            return subprocess.Popen(  # noqa: S603 - the command is the platform's own
                command_of_launcher(self.spec.command, *self._handed),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=(*self._handed, *self.spec.holds),
                start_new_session=True,
            )

    @property
    def _handed(self) -> tuple[int, ...]:
        return () if self._listener is None else (self._listener.fileno(),)

    @property
    def _environment(self) -> dict[str, str]:
        # A log is UTF-8, whatever the encoding of the user's terminal.
        return {**self.spec.environment, "PYTHONIOENCODING": "utf-8:backslashreplace"}

    def _watch(self) -> None:
        self._await_start()
        self.exit_code = self._process.wait()
        self.kill()  # Processes that the command started may still be running.
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.exited.set()
        self._on_exit(self)

    def _await_start(self) -> None:
        """Wait until the fork server has started the command, or start it here if it does not."""
        if isinstance(self._process, ForkedProcess) and not self._process.await_start():
            with self._ending:
                if not self._is_to_end:
                    self._launch_instead(self._process)
        if self._listener is not None:
            self._listener.close()
        self._started.set()

    def _launch_instead(self, forked: ForkedProcess) -> None:
        try:
            self._process = self._launch()
        except OSError as error:
            # What kept the process from starting may keep the log from being written.
            with suppress(OSError), append_to(self.log) as log:
                log.write(f"no process could be started: {error}\n".encode())
        else:
            forked.close()

    @property
    def process_group(self) -> int:
        """The id of the process group, which is the process id of its leader.

        Waits for the start of the process. Raises `ProcessLookupError` if it was not started.
        """
        self._started.wait()
        if not self._process.pid:
            raise ProcessLookupError
        return self._process.pid

    @property
    def was_killed(self) -> bool:
        """True if a signal ended the command, or the process that supervises it."""
        return self.exit_code is not None and not 0 <= self.exit_code <= LAST_EXIT_CODE

    def forbid_start(self) -> None:
        """Let a process that has not started yet never do so."""
        with self._ending:
            self._is_to_end = True

    def terminate(self) -> None:
        """Ask the whole group to end."""
        if not self.exited.is_set():
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill every process in the group."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        with self._ending:
            self._is_to_end = True
            if isinstance(self._process, ForkedProcess) and not self._process.pid:
                self._process.cancel()
                return
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted once all are zombies
            os.killpg(self._process.pid, signum)

    def log_tail(self) -> str:
        """Return the last lines of the part's log.

        If the log is empty, returns a note in brackets.
        """
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        if lines:
            return "\n".join(lines)
        is_full = shutil.disk_usage(self.log.parent).free < _ROOM_BYTES
        return (
            f"(its log is empty; the disk that holds {self.log.parent} may be full)"
            if is_full
            else "(its log is empty)"
        )
