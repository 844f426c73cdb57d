"""Run the embedded Firestore: `python -m atom_emulator.firestore [--port N] [--ready-file PATH] [--same-user]`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from atom_emulator.firestore.server import FirestoreServer
from atom_emulator.loopback_owner import SUPPORTED
from atom_emulator.ready_file import write_ready_file

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Serve until SIGTERM or SIGINT.

    Prints the address first, in one line of JSON.
    """
    parser = argparse.ArgumentParser(prog="python -m atom_emulator.firestore", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--ready-file", type=Path, help="also write the JSON line to this file once the server listens")
    parser.add_argument("--same-user", action="store_true", help="refuse processes of other users (Linux only)")
    options = parser.parse_args()
    # Signals are blocked before any thread starts, then waited for: with a handler, one could arrive just before the
    # wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    server = FirestoreServer(options.port, same_user=options.same_user and SUPPORTED)
    where: dict[str, Any] = {"host": f"127.0.0.1:{server.port}", "port": server.port, "pid": os.getpid()}
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    if options.ready_file:
        write_ready_file(options.ready_file, **where)
    signal.sigwait(_ENDS)
    server.stop()


if __name__ == "__main__":
    main()
