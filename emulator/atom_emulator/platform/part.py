"""One part of the platform: a child process in its own process group, with a log file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from atom_emulator.log_files import append_to
from atom_emulator.platform import child

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

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
    that clients that connect meanwhile wait for the next process. It also inherits the descriptors in `holds`.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    log: Path
    listener: socket.socket | None = None
    revived: bool = False
    holds: tuple[int, ...] = ()


class Part:
    """A running part. `on_exit` is called once, from the part's own thread, when its process has ended."""

    def __init__(self, spec: PartSpec, on_exit: Callable[[Part], None]) -> None:
        self.name = spec.name
        self.log = spec.log
        self.spec = spec
        self.exit_code: int | None = None
        self.exited = threading.Event()
        self._on_exit = on_exit
        self._process = _spawn(spec)
        threading.Thread(target=self._watch, name=f"watch {self.name}", daemon=True).start()

    def _watch(self) -> None:
        self.exit_code = self._process.wait()
        self.kill()  # Processes that the command started may still be running.
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.exited.set()
        self._on_exit(self)

    @property
    def process_group(self) -> int:
        """The id of the process group, which is the process id of its leader."""
        return self._process.pid

    @property
    def was_killed(self) -> bool:
        """True if a signal ended the command, or the process that supervises it."""
        return self.exit_code is not None and not 0 <= self.exit_code <= LAST_EXIT_CODE

    def terminate(self) -> None:
        """Ask the whole group to end."""
        if not self.exited.is_set():
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill every process in the group."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
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


def _spawn(spec: PartSpec) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-I", "-S", str(Path(child.__file__))]
    handed = () if spec.listener is None else (spec.listener.fileno(),)
    listen = [option for fd in handed for option in ("--listen-fd", str(fd))]
    with append_to(spec.log) as log:
        process = subprocess.Popen(  # noqa: S603 - the command is the platform's own
            [*launcher, *listen, "--", *spec.command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A log is UTF-8, whatever the encoding of the user's terminal.
            env={**spec.environment, "PYTHONIOENCODING": "utf-8:backslashreplace"},
            pass_fds=(*handed, *spec.holds),
            start_new_session=True,
        )
    if spec.listener is not None and not spec.revived:
        spec.listener.close()
    return process
