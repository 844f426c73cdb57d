"""`python -m chaos`: one storm on each kind of servers that is asked for, and its report."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chaos.report import report
from chaos.storm import Plan, play


def main(arguments: Sequence[str] | None = None) -> int:
    """Play; 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults last (default: 60)")
    parser.add_argument("--runs", type=int, default=50, help="in flight all the while (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="what chance starts from (default: 1)")
    parser.add_argument("--emulators", choices=("embedded", "google"), action="append", help="(default: embedded)")
    parser.add_argument("--logs", type=Path, help="where they are kept (default: a new folder)")
    options = parser.parse_args(arguments)
    folder = options.logs or Path(tempfile.mkdtemp(prefix="chaos-"))
    bad = 0
    for emulators in options.emulators or ["embedded"]:
        plan = Plan(seconds=options.seconds, runs=options.runs, seed=options.seed, emulators=emulators)
        result = play(plan, folder / emulators)
        bad += bool(result.problems)
        sys.stdout.write("\n".join(report(result)) + f"\nlogs: {folder / emulators}\n")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
