"""`python -m atom_emulator.task_runner`: run the mock Task Runner on a local port."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from atom_emulator.task_runner.journal import InvalidJournal
from atom_emulator.task_runner.script_file import InvalidScript
from atom_emulator.task_runner.server import ServerOptions, run


def main() -> None:
    """Run the server with the options of the command line."""
    parser = argparse.ArgumentParser(prog="atom_emulator.task_runner", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    parser.add_argument("--ready-file", type=Path, help='file that receives {"port": N} once the server listens')
    parser.add_argument("--script", type=Path, help="YAML or JSON file that scripts the jobs")
    parser.add_argument("--log", type=Path, help="file that receives one JSON line per call")
    parser.add_argument("--journal", type=Path, help="file that keeps accepted jobs for a restarted server")
    parser.add_argument(
        "--hints",
        type=Path,
        help='file that contains {"url": "…/topics/jobs:publish"}, to which jobs that notify are reported',
    )
    parser.add_argument("--default-duration", dest="default_duration_s", type=float, default=0.0)
    parser.add_argument(
        "--verify-tokens", dest="certs_url", metavar="CERTS_URL", help="refuse calls without a valid token"
    )
    parser.add_argument("--audience", default="", help="the audience that tokens must have; with --verify-tokens")
    parser.add_argument(
        "--invoker",
        dest="invokers",
        action="append",
        default=[],
        help="account that may call, may be repeated; anyone if not given",
    )
    try:
        run(ServerOptions(**vars(parser.parse_args())))
    except (InvalidScript, InvalidJournal, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
