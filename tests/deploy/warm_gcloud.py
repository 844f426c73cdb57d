"""Runs the installed gcloud, having imported it once: each command is a fork of a process that has it in memory.

A start of gcloud costs a second of imports, and a deployment takes a hundred. The commands run here are gcloud's own,
from the parsing of their flags to their requests. This file runs in gcloud's Python:

    python warm_gcloud.py SDK_LIB SOCKET WARM_UP…     where each WARM_UP is a command as JSON
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from typing import Any


def main() -> None:
    """Import and warm up, then serve until the parent closes the input."""
    library, path, *warm_ups = sys.argv[1:]
    ready = os.dup(1)
    # No command's output: discard what the warm-up prints.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path.insert(0, library)
    import gcloud  # type: ignore[import-not-found]  # noqa: PLC0415 (of gcloud's own library)

    sys.path = gcloud.reorder_sys_path(sys.path)
    gcloud._fix_google_module()
    entry = gcloud._import_gcloud_main()
    cli = entry.CreateCLI([])
    for command in warm_ups:
        with contextlib.suppress(SystemExit, Exception):
            cli.Execute(json.loads(command))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(ready, b"ready\n")
        os.close(ready)
        _serve(listener, entry, cli)


def _serve(listener: socket.socket, entry: Any, cli: Any) -> None:
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _run(connection, entry, cli)
        connection.close()


def _run(connection: socket.socket, entry: Any, cli: Any) -> None:
    """Run the gcloud that was asked for, and return its exit code.

    In the child.
    """
    code = 1
    try:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        asked = json.loads(message)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = ["gcloud", *asked["arguments"]]
        sys.stdin, sys.stdout, sys.stderr = (open(n, mode, encoding="utf-8") for n, mode in enumerate("rww"))  # noqa: SIM115, PTH123 (descriptors, for as long as the process lives)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = _exit_code(entry, cli)
    except BaseException:  # noqa: BLE001 (a fork must not return into the server)
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    connection.sendall(str(code).encode())
    os._exit(code)


def _exit_code(entry: Any, cli: Any) -> int:
    try:
        entry.main(cli)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


if __name__ == "__main__":
    main()
