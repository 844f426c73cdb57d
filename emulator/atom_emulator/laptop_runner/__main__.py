"""`python -m atom_emulator.laptop_runner`: a Task Runner that really runs jobs, on a local port."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from atom_emulator.laptop_runner.container_tool import NoContainerTool
from atom_emulator.laptop_runner.keepers import GRACE_S, MAX_LOG_BYTES
from atom_emulator.laptop_runner.server import LaptopOptions, WardenLost, run


def main() -> None:
    """Run the server with the options of the command line."""
    parser = argparse.ArgumentParser(prog="atom_emulator.laptop_runner", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the jobs' files are")
    parser.add_argument("--secret-file", type=Path, required=True, help="file with the secret that callers must send")
    parser.add_argument("--engine", choices=("process", "docker"), default="process")
    parser.add_argument("--tool", default="", metavar="PROGRAM", help="docker or podman; detected if not given")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    parser.add_argument("--ready-file", type=Path, help='file that receives {"port": N} once the server listens')
    parser.add_argument("--slots", type=int, default=0, help="how many jobs run at a time; 0 means one per core")
    parser.add_argument(
        "--grace",
        dest="grace_s",
        type=float,
        default=GRACE_S,
        help="seconds between asking a job to end and killing it",
    )
    parser.add_argument("--hints", type=Path, help="file with the address to which the end of each job is published")
    parser.add_argument("--log-bytes", type=int, default=MAX_LOG_BYTES, help="how long a job's log may be")
    parser.add_argument("--only-run", default="", metavar="RUN", help="refuse the jobs of other runs")
    try:
        run(LaptopOptions(**vars(parser.parse_args())))
    except WardenLost:
        sys.exit("the process that supervises the jobs was killed, and all jobs with it")
    except (OSError, NoContainerTool) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
