"""Run the embedded Firestore: `python -m atom_emulator.firestore [--port N] [--ready-file PATH]`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

from atom_emulator.firestore.server import FirestoreServer

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m atom_emulator.firestore", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="write the JSON line here, too, once it listens")
    return parser.parse_args()


def _announce(port: int, ready_file: Path | None) -> None:
    line = json.dumps({"host": f"127.0.0.1:{port}", "port": port, "pid": os.getpid()}) + "\n"
    sys.stdout.write(line)
    sys.stdout.flush()
    if ready_file:
        partial = ready_file.with_suffix(".partial")
        partial.write_text(line)
        partial.replace(ready_file)


def main() -> None:
    """Serve until SIGTERM or SIGINT, having said on stdout where, in one line of JSON."""
    arguments = _arguments()
    # Blocked before there are threads, and waited for: a handler may run just before the wait for it begins.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    server = FirestoreServer(arguments.port)
    _announce(server.port, arguments.ready_file)
    signal.sigwait(_ENDS)
    server.stop()


if __name__ == "__main__":
    main()
