"""Run one command so that it never outlives the process that requested it.

Usage: `python -I -S child.py [--listen-fd N] -- COMMAND...`, started as the leader of its own process group, with a
pipe as standard input whose other end only the requesting process holds. When that process ends, however it ends, the
pipe closes and the whole group is killed, including this process. If this process is killed, Linux kills the command
with it. It uses only the standard library and no site-packages, so that it starts in about 15 ms.

With `--listen-fd` the command inherits that listening socket by systemd's convention, which gunicorn understands: the
port is known and reserved before the command has started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST_HANDED_FD: Final = 3
_PR_SET_PDEATHSIG: Final = 1
_COMMAND_NOT_FOUND: Final = 127


def main(arguments: Sequence[str]) -> int:
    """Run the command after `--` and return its exit code.

    The code is 128 + N if signal N ended the command.
    """
    split = arguments.index("--")
    listen_fd = int(arguments[1]) if arguments[0] == "--listen-fd" else None
    return supervise(partial(_exec_command, list(arguments[split + 1 :])), listen_fd)


def command_of_launcher(command: Sequence[str], *listen_fd: int) -> list[str]:
    """Return the command that makes this file run another command."""
    listen = [option for fd in listen_fd for option in ("--listen-fd", str(fd))]
    return [sys.executable, "-I", "-S", __file__, *listen, "--", *command]


def supervise(command: Callable[[], None], listen_fd: int | None) -> int:
    """Run a command in a new process, and return its exit code.

    The function becomes the command and does not return. The process that calls this must be like one that runs
    `main`: the leader of its group, with one thread, and with the pipe as standard input.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        # These signals go to the whole group. The command decides how to react; this process waits for it.
        # Unlike SIG_IGN, a handler is not inherited by the command.
        signal.signal(signum, _leave_signal_to_command)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    # Asked after the fork, the command's parent would be whoever adopts it if this process has been killed meanwhile.
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        _prepare_command(launcher, listen_fd, libc)
        command()
    if listen_fd is not None:
        os.close(listen_fd)
    threading.Thread(target=_kill_group_after_parent, daemon=True).start()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _leave_signal_to_command(_signum: int, _frame: object) -> None:
    pass


def _kill_group_after_parent() -> None:
    with suppress(OSError):  # Without its pipe, this process cannot tell whether its parent lives.
        while os.read(0, 1):
            pass
    os.killpg(0, signal.SIGKILL)


def _prepare_command(launcher: int, listen_fd: int | None, libc: ctypes.CDLL | None) -> None:
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:
        os._exit(1)  # The launcher died before Linux was asked to watch it.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if listen_fd is not None:
        if listen_fd == FIRST_HANDED_FD:
            os.set_inheritable(listen_fd, True)  # noqa: FBT003 - the standard library's signature
        else:
            os.dup2(listen_fd, FIRST_HANDED_FD)
            os.close(listen_fd)
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}


def _exec_command(command: list[str]) -> None:
    with suppress(FileNotFoundError):
        os.execvp(command[0], command)  # noqa: S606 - the command is the platform's own
    sys.stderr.write(f"command not found: {command[0]}\n")
    sys.stderr.flush()
    os._exit(_COMMAND_NOT_FOUND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
