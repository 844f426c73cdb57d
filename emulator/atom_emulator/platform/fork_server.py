"""Fork parts from one process that has imported what they share.

Three functions and three servers would each import Google's client libraries, which takes most of a platform's
startup time and half a second of CPU time for each of them. The fork server imports them once. Only on Linux:
other systems' libraries do not survive a fork.

    platform ── launcher (child.py) ── fork server ── launcher of part A ── part A
                                                   └─ launcher of part B ── part B

The platform asks for a part with one message, which names the command and carries the part's descriptors. Two of them
are pipes. One is the standard input of the part's launcher, which works as in child.py: when the platform ends, the
pipe closes, and the launcher kills the part. Through the other, the launcher reports its process id and, at the end,
the exit code. What remains if a process is killed:

* the platform: each launcher kills its group, the fork server's included. Requests that the server has not read yet
  end with it, and with them what they carry.
* the fork server: parts that are running go on. Those that it has not started yet, and later ones, are started from
  their commands.
* a part's launcher: Linux kills the part with it, and the platform sees the end of the second pipe, since no other
  process holds it.

While it forks, the server has one thread and no channel, since neither would survive.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn

from atom_emulator.platform.child import FIRST_HANDED_FD, command_of_launcher, supervise
from atom_emulator.platform.servers import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PRELOADED: Final = (
    "functions_framework._cli",
    "atom_workflows.bootstrap",
    "atom_workflows.handlers.checker",
    "atom_workflows.handlers.delivery",
    "atom_workflows.handlers.dispatcher",
    "atom_workflows.handlers.entry",
    "atom_workflows.handlers.start",
)
"""What the functions import. The embedded servers need most of it, too.

No module may read, while it is imported, a variable that parts have for themselves. gunicorn's do.
"""

STARTS_WITHIN_S: Final = 15.0
"""How long the server may take to start a part. Then it is taken for hung, and killed."""

_ENDS_WITHIN_S: Final = 2.0
_ROOM_FOR_COMMAND: Final = 1_000
_LONGEST_REQUEST: Final = 1 << 20
_MOST_DESCRIPTORS: Final = 16
# Makefiles have a variable PYTHON, which Python itself does not read.
_OF_PYTHON: Final = re.compile("PYTHON.").match
_SET_BY_US: Final = {"PYTHONIOENCODING": "utf-8:backslashreplace", "PYTHONUNBUFFERED": "1"}


class ForkedProcess:
    """A process that the fork server starts, like a `Popen`. It ends if `stdin` is closed."""

    def __init__(self, server: ForkServer, stdin: int, status: int) -> None:
        self.pid = 0  # not started yet
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb", buffering=0)
        self._server = server
        self._status = os.fdopen(status)
        self._watched: int | None = None

    def await_start(self) -> bool:
        """Wait until the process is started.

        Returns False, within limits, if it is not and will not be. To be called once, before `wait`.
        """
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        if not poll.poll(STARTS_WITHIN_S * 1_000):
            self._server.end()
        self.pid = int(self._status.readline() or 0)
        if self.pid and hasattr(os, "pidfd_open"):
            with suppress(OSError):  # It has ended already, or the kernel is too old.
                self._watched = os.pidfd_open(self.pid)
        return self.pid != 0

    def wait(self) -> int:
        """Wait for the process to end, and return its exit code.

        The code is negative if a signal ended it.
        """
        with self._status:
            code = self._status.read()
        # The pipe is closed shortly before the process has ended.
        if self._watched is not None:
            poll = select.poll()
            poll.register(self._watched, select.POLLIN)
            poll.poll(_ENDS_WITHIN_S * 1_000)
            os.close(self._watched)
        return int(code or -signal.SIGKILL)

    def cancel(self) -> None:
        """End the server, so that it does not start the process. If it just has, the process ends, too."""
        self.stdin.close()
        self._server.end()

    def close(self) -> None:
        """Forget a process that was not started."""
        self.stdin.close()
        self._status.close()


class ForkServer:
    """A running fork server. Its methods may be called by any thread."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._lock = threading.Lock()
        self._variables = _variables_of_python(os.environ)
        control.settimeout(0)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int], *, listens: bool
    ) -> ForkedProcess | None:
        """Start a command, or return None if this server cannot.

        A command must begin with `PYTHON`. `descriptors` are those of its log, of the socket on which it may listen,
        and others that it holds as long as it lives.
        """
        # Python reads its own variables when it starts, and the fork server's Python has done so.
        if tuple(command[: len(PYTHON)]) != PYTHON or _variables_of_python(environment) != self._variables:
            return None
        asked = {"command": list(command), "environment": dict(environment), "listens": listens}
        their_stdin, stdin = os.pipe()
        status, their_status = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(asked).encode()], [their_stdin, their_status, *descriptors])
        except OSError:  # The server has ended, or the request is too long.
            os.close(stdin)
            os.close(status)
            return None
        finally:
            os.close(their_stdin)
            os.close(their_status)
        return ForkedProcess(self, stdin, status)

    def end(self) -> None:
        """End the server at once, not what it has started. May be called twice."""
        with self._lock:
            self._control.close()
            # SIGTERM ends the server and not its launcher, which then ends when nothing is left.
            for signum in (signal.SIGTERM, signal.SIGKILL):
                if self._process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(self._process.pid, signum)
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(_ENDS_WITHIN_S)
            if self._process.stdin is not None:
                self._process.stdin.close()


def _variables_of_python(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _OF_PYTHON(name) and name not in _SET_BY_US}


@contextmanager
def fork_server(log: IO[bytes]) -> Iterator[ForkServer | None]:
    """Run a fork server while the block lasts, if the system can.

    Yields None on other systems. Starts at once; requests made before the modules are imported wait for them.
    """
    if sys.platform != "linux":
        yield None
        return
    # A request is one packet: it arrives as a whole, with its descriptors, or not at all.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = subprocess.Popen(  # noqa: S603 - the command is the platform's own
            command_of_launcher([*PYTHON, __name__, " " * _ROOM_FOR_COMMAND], theirs.fileno()),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_SET_BY_US},
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        server = ForkServer(process, ours)
        try:
            yield server
        finally:
            server.end()


def main(control: socket.socket) -> NoReturn:
    """Import modules, then fork for each request until the platform ends."""
    gc.disable()
    for name in PRELOADED:
        with suppress(Exception):  # The part that needs it reports it.
            import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nothing waits for launchers.
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - a number is all that is needed
        sys.exit("a module has started a thread, so that this process cannot be forked")
    while True:
        asked, descriptors, flags, _ = socket.recv_fds(control, _LONGEST_REQUEST, _MOST_DESCRIPTORS)
        if not asked:
            os._exit(0)
        # Without a process, the platform sees the end of the pipe.
        with suppress(OSError):
            if not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) and os.fork() == 0:
                control.close()
                _launch(asked, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _launch(request: bytes, stdin: int, status: int, log: int, *others: int) -> NoReturn:
    """Supervise what the platform asks for, in a new process."""
    launcher, code, is_reported = os.getpid(), 1, False
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for source, target in ((stdin, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(stdin)
        os.close(log)
        asked = json.loads(request)
        os.environ.clear()
        os.environ.update(asked["environment"])
        _show_command(asked["command"])
        # If the platform has ended, `supervise` sees that.
        with suppress(OSError):
            os.write(status, f"{launcher}\n".encode())
        is_reported = True
        code = supervise(partial(_run, asked["command"], status), others[0] if asked["listens"] else None)
    except BaseException:  # noqa: BLE001 - a fork must not go on as the server
        traceback.print_exc()
    finally:
        # The command's process may fail here, too.
        if is_reported and os.getpid() == launcher:
            with suppress(OSError):
                os.write(status, f"{code}\n".encode())
        os._exit(code)


def _run(command: Sequence[str], status: int) -> NoReturn:
    """Run the module that a command names, in a new process."""
    code = 1
    try:
        os.close(status)  # Its end is that of the launcher.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _, _, _, module, *arguments = command
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            sys.stderr.write(f"{ending.code}\n")
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - a fork must not go on as the server
        traceback.print_exc()
    finally:
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
    if 0 < begin < end:  # They are 0 if the kernel hides them.
        text = b"\0".join(word.encode(errors="replace") for word in command)
        ctypes.memmove(begin, text[: end - begin - 1].ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main(socket.socket(fileno=FIRST_HANDED_FD))
