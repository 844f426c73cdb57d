"""`python -m simulation`: play many seeds and report, or play one seed and print its story."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence

from atom_workflows.closed_pipe import exit_with
from simulation import report
from simulation.arguments import INTERRUPTED, read_arguments
from simulation.campaign import Tally, play_all, quiet
from simulation.drawing import draw
from simulation.drawn import Drawn
from simulation.play import play
from simulation.shrink import shrink


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the seeds and report.

    Returns 1 if a rule was broken, or if seeds that should suffice never met a kind of fault or repair.
    """
    options = read_arguments(arguments)
    quiet()
    try:
        return _many(options) if options.drawn is None else _one(options.drawn)
    except KeyboardInterrupt:
        return INTERRUPTED


def _one(drawn: Drawn) -> int:
    one = play(drawn)
    _print(report.story(one))
    return bool(one.findings)


def _many(options: argparse.Namespace) -> int:
    tally, began = Tally(), time.monotonic()
    try:
        for one in play_all(range(options.first, options.first + options.seeds), options.processes):
            tally.add(one)
            if one.findings:
                _print(report.failure(one))
    finally:
        _print(report.summary(tally, time.monotonic() - began))
    if tally.failed:
        smallest = min(tally.failed, key=lambda one: one.steps)
        _print(report.failure(smallest))
        _print(report.shrunk(shrink(draw(smallest.seed), smallest.findings[0].rule)))
    return not tally.is_good


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    exit_with(main)
