"""Run the embedded Firestore: `python -m atom_emulator.firestore [--port N] [--ready-file PATH] [--history FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from atom_emulator.firestore.history import History
from atom_emulator.firestore.server import FirestoreServer
from atom_emulator.loopback_owner import SUPPORTED
from atom_emulator.ready_file import write_ready_file
from atom_emulator.sqlite_file import SqliteFileError

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Serve until SIGTERM or SIGINT.

    Prints the address first, in one line of JSON.
    """
    parser = argparse.ArgumentParser(prog="python -m atom_emulator.firestore", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--ready-file", type=Path, help="also write the JSON line to this file once the server listens")
    parser.add_argument("--same-user", action="store_true", help="refuse processes of other users (Linux only)")
    parser.add_argument("--history", type=Path, metavar="FILE", help="keep the documents in this SQLite file")
    parser.add_argument(
        "--afresh", action="store_true", help="with --history: begin without its documents, and keep only those of runs"
    )
    options = parser.parse_args()
    try:
        history = None if options.history is None else History(options.history, afresh=options.afresh)
    except SqliteFileError as error:
        sys.exit(f"{error}")
    # Signals are blocked before any thread starts, then waited for: with a handler, one could arrive just before the
    # wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    server = FirestoreServer(options.port, same_user=options.same_user and SUPPORTED, history=history)
    where: dict[str, Any] = {"host": f"127.0.0.1:{server.port}", "port": server.port, "pid": os.getpid()}
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    if options.ready_file:
        write_ready_file(options.ready_file, **where)
    signal.sigwait(_ENDS)
    server.stop()
    if history is not None:
        history.close()


if __name__ == "__main__":
    main()
