"""`python -m chaos`: one storm on each kind of servers that is asked for, and its report."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from atom_emulator.platform.errors import EmulatorsMissing, PlatformError
from atom_emulator.platform.options import Emulators
from atom_workflows.closed_pipe import exit_with
from chaos.page import PAGE, with_report
from chaos.report import report
from chaos.storm import Plan, play
from chaos.workloads import SHAPES

LONGEST_S: Final = 86_400
MOST_RUNS: Final = 500

GOOD, BAD, UNABLE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the storms and return how they went.

    `BAD` if anything was not as it should be.
    """
    options = _options(arguments)
    folder = options.logs or Path(tempfile.mkdtemp(prefix="chaos-"))
    ending = _play(options, folder)
    if options.logs is None and ending != BAD:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stderr.write(f"logs: {folder}\n")
    return ending


def _play(options: argparse.Namespace, folder: Path) -> int:
    try:
        problems = [_problems(options, emulators, folder) for emulators in options.emulators or ["embedded"]]
    except EmulatorsMissing as error:
        sys.stderr.write(f"chaos: {error}\n")
        return UNABLE
    except PlatformError as error:
        sys.stderr.write(f"chaos: {error}\n")
        return BAD
    except KeyboardInterrupt:
        sys.stderr.write("chaos: interrupted; everything is stopped\n")
        return INTERRUPTED
    return BAD if any(problems) else GOOD


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults last (default: 60)")
    parser.add_argument("--runs", type=int, default=50, help="in flight all the while (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="what chance starts from (default: 1)")
    parser.add_argument("--emulators", choices=("embedded", "google"), action="append", help="(default: embedded)")
    parser.add_argument("--logs", type=Path, help="where they are kept (default: nowhere, unless something is wrong)")
    parser.add_argument("--write", action="store_true", help="bring the report in docs/explanation/chaos.md up to date")
    options = parser.parse_args(arguments)
    if not 1 <= options.seconds <= LONGEST_S:
        parser.error(f"--seconds must be between 1 and {LONGEST_S}")
    if not len(SHAPES) <= options.runs <= MOST_RUNS:
        parser.error(f"--runs must be between {len(SHAPES)}, one of each shape, and {MOST_RUNS}")
    return options


def _problems(options: argparse.Namespace, emulators: Emulators, folder: Path) -> int:
    """Play one storm, print its report and return its problems' count."""
    plan = Plan(seconds=options.seconds, runs=options.runs, seed=options.seed, emulators=emulators)
    result = play(plan, folder / emulators)
    lines = list(report(result))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    if options.write:
        PAGE.write_text(with_report(PAGE.read_text(encoding="utf-8"), emulators, lines), encoding="utf-8")
    return len(result.problems)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Whoever ends it leaves nothing behind.
    exit_with(main)
