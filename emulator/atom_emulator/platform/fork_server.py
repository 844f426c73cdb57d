"""Fork parts from one process that has imported what they share.

Three functions and three servers would each import Google's client libraries, which takes most of a platform's
startup time and half a second of CPU time for each of them. The fork server imports them once. Only on Linux:
other systems' libraries do not survive a fork. Where it cannot help, a part is started from its command.

The platform asks for a part with one byte, which carries the part's descriptors. One of these is a connection to the
platform, on which the new process reads what it is to run, and then writes its process id and, at its end, the exit
code of what it ran.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from atom_emulator.platform.child import FIRST_HANDED_FD, command_of_launcher, supervise
from atom_emulator.platform.servers import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PRELOADED: Final = (
    "functions_framework._cli",
    "functions_framework._http.gunicorn",
    "atom_workflows.bootstrap",
    "atom_workflows.handlers.checker",
    "atom_workflows.handlers.delivery",
    "atom_workflows.handlers.dispatcher",
    "atom_workflows.handlers.entry",
    "atom_workflows.handlers.start",
)
"""What the functions import. The embedded servers need most of it, too."""

_ROOM_FOR_COMMAND: Final = 1_000
_MOST_DESCRIPTORS: Final = 16


class ForkedProcess:
    """A process that the fork server has started, like a `Popen`. It ends if `stdin` is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self.stdin = connection
        self._lines: IO[str] = connection.makefile("r")
        self._reading = threading.Lock()
        self._pid: int | None = None

    @property
    def pid(self) -> int:
        """Its process id. Waits for the fork, and raises `ProcessLookupError` if there was none."""
        with self._reading:
            if self._pid is None:
                with suppress(ConnectionResetError):  # The server died before it read what was asked.
                    self._pid = int(self._lines.readline() or 0)
        if not self._pid:
            raise ProcessLookupError
        return self._pid

    def wait(self) -> int:
        """Wait for the process to end, and return its exit code.

        The code is negative if a signal ended it.
        """
        with self._lines:
            try:
                _ = self.pid
            except ProcessLookupError:
                return 1
            code = self._lines.readline()
            self._lines.read()  # until the process has closed everything
        return int(code or -signal.SIGKILL)


class ForkServer:
    """A running fork server."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int], *, listens: bool
    ) -> ForkedProcess | None:
        """Start a command, or return None if this server cannot.

        A command must begin with `PYTHON`. `descriptors` are those of its log, of the socket on which it may listen,
        and others that it holds as long as it lives.
        """
        if tuple(command[: len(PYTHON)]) != PYTHON:
            return None
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"\0"], [theirs.fileno(), *descriptors])
            except OSError:
                ours.close()
                return None
        asked = {"command": list(command), "environment": dict(environment), "listens": listens}
        with suppress(OSError):  # If the server has ended meanwhile, there is no process id to read.
            ours.sendall(json.dumps(asked).encode() + b"\n")
        return ForkedProcess(ours)


@contextmanager
def fork_server(log: IO[bytes]) -> Iterator[ForkServer | None]:
    """Run a fork server while the block lasts, if the system can.

    Yields None on other systems. Starts at once; requests made before the modules are imported wait for them.
    """
    if sys.platform != "linux":
        yield None
        return
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - the command is the platform's own
                command_of_launcher([*PYTHON, __name__, " " * _ROOM_FOR_COMMAND], theirs.fileno()),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace", "PYTHONUNBUFFERED": "1"},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        stack.enter_context(process)  # It waits for the end.
        stack.enter_context(ours)  # The server ends when this is closed.
        yield ForkServer(ours)


def main(control: socket.socket) -> None:
    """Import modules, then fork for each request until the platform ends."""
    gc.disable()
    for name in PRELOADED:
        with suppress(ImportError):  # The part that needs it reports it.
            import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_DESCRIPTORS)
        if not asked:
            with suppress(ChildProcessError):
                os.waitpid(-1, 0)  # Since SIGCHLD is ignored, this waits for the end of all of them.
            os._exit(0)
        if os.fork() == 0:
            control.close()
            _launch(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _launch(connection: int, log: int, *others: int) -> None:
    """Supervise what the platform asks for, in a new process. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for source, target in ((connection, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(connection)
    os.close(log)
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1 << 16) or sys.exit("the platform has ended")
    asked = json.loads(line)
    os.write(0, f"{os.getpid()}\n".encode())
    os.environ.clear()
    os.environ.update(asked["environment"])
    _show_command(asked["command"])
    code = supervise(partial(_run, asked), others[0] if asked["listens"] else None)
    with suppress(OSError):
        os.write(0, f"{code}\n".encode())
    os._exit(code)


def _run(asked: Mapping[str, Any]) -> None:
    """Run the module that a command names. Ends the process."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _, _, _, module, *arguments = asked["command"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            sys.stderr.write(f"{ending.code}\n")
    except BaseException:  # noqa: BLE001 - a fork must not go on as the server
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # Taking down what the server has imported would take longer than the rest of the end.
    os._exit(code)


def _show_command(command: Sequence[str]) -> None:
    """Have `ps` show the command.

    Overwrites the memory in which the kernel keeps the server's own.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = b"\0".join(word.encode(errors="replace") for word in command)
    ctypes.memmove(begin, text[: end - begin - 1].ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main(socket.socket(fileno=FIRST_HANDED_FD))
