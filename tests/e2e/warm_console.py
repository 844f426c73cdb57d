"""Runs the command line, having imported it once: each command is a fork of a process that has it in memory.

A start of the command line costs most of a second of imports, and the scenarios run hundreds of commands. Those run
here are whole processes all the same, with a folder, variables, streams and an exit code of their own. `started` runs
what is installed.

    python warm_console.py SOCKET LONGEST_S
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

import atom_client.cli
from atom_client.__main__ import main


def serve(listener: socket.socket, longest_s: int) -> None:
    """Import the command line, then fork for each connection until the tests have ended."""
    gc.disable()
    ours = [f"atom_client.cli.{found.name}" for found in pkgutil.iter_modules(atom_client.cli.__path__)]
    for name in ("atom_workflows.bootstrap", *ours):
        import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while select.select([listener, sys.stdin], [], [])[0] == [listener]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.alarm(longest_s)
            _run(connection)
        connection.close()


def _run(connection: socket.socket) -> None:
    """Run the command that was asked for, and return its exit code. Never returns."""
    line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while not line.endswith(b"\n"):
        line += connection.recv(1 << 20)
    asked = json.loads(line)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["atom-workflows", *asked["arguments"]]
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding=encoding, errors=errors or None)  # noqa: SIM115, PTH123 (descriptors, for as long as the process lives)
        for number, mode in enumerate("rww")
    )
    code = _exit_code()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    connection.sendall(str(code).encode())
    os._exit(code)


def _exit_code() -> int:
    ended: Any = None
    try:
        main()
    except SystemExit as ending:
        ended = ending.code
    except BaseException:  # noqa: BLE001 (a fork must not return into the server)
        traceback.print_exc()
        ended = 1
    if isinstance(ended, str):
        sys.stderr.write(f"{ended}\n")
    return ended if isinstance(ended, int) else int(ended is not None)


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(sys.argv[1])
        bound.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        serve(bound, int(sys.argv[2]))
